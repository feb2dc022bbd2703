"""The pictures of an images answer, and where in its text the two members stand that give them.

The answer is looked at as a *skeleton*: its text, with a short placeholder for each picture (``core/extract``). It is
known to be one JSON object; still nothing is found where two parsers might disagree (a member that stands twice), or
where the text is so long that looking costs more than it gives. Offsets are bytes of the skeleton.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from gateway.core.extract import placeholder, placeholder_json
from gateway.core.types import ImageFacts, JsonObject

MOST_SKELETON: Final = 1024 * 1024  # bytes; the answers of image models have some hundred
URL: Final = "url"
B64_JSON: Final = "b64_json"

_SPACE = rb"[ \t\n\r]*+"
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_KEY: Final = re.compile(_SPACE + rb"[,{]" + _SPACE + rb"(" + _STRING + rb")" + _SPACE + rb":" + _SPACE, re.DOTALL)
_GAP: Final = re.compile(rb"[, \t\n\r]*+")
_SCALAR: Final = re.compile(_STRING + rb'|[^"\[{}\], \t\n\r]++', re.DOTALL)
_TO_BRACKET: Final = re.compile(rb'[^"\[\]{}]*+(?:' + _STRING + rb'[^"\[\]{}]*+)*+', re.DOTALL)
_PLACEHOLDER: Final = re.compile(re.escape(placeholder_json(0)[:-1]) + rb'([0-9]{1,4})"')
_EMPTY = b'""'
_LENIENT: Final = json.JSONDecoder(strict=False)


class Member(Struct, frozen=True, kw_only=True):
    """A member of an object: ``start`` is its key's, ``value:end`` its value.

    ``lead``: where the member before it ends, for the first one after the brace. ``follow``: where the next one begins,
    for the last its own end.
    """

    start: int
    value: int
    end: int
    lead: int
    follow: int


class Item(Struct, frozen=True, kw_only=True):
    """One element of ``data``: where ``b64_json`` and ``url`` stand, those that are there, and what they hold.

    ``payload``: the picture inside the answer, by the index of its placeholder. ``has_base64``: ``b64_json`` holds
    something. ``link``: ``url`` holds an address, the upstream's own; ``has_url``: or a data URL.
    """

    members: Mapping[str, Member]
    payload: int | None = None
    has_base64: bool = False
    link: str | None = None
    has_url: bool = False


def are_plain(document: JsonObject, pictures: Sequence[ImageFacts | None]) -> bool:
    """Whether the items of an answer are its pictures, as ``b64_json`` and nothing else; by its parsed skeleton.

    Then there is nothing to be read of them that the pictures do not say, unless one of them is to change its form.
    """
    data = document.get("data")
    if not isinstance(data, list) or len(data) != len(pictures) or not data:
        return False
    for index, (item, picture) in enumerate(zip(data, pictures, strict=True)):
        is_plain = isinstance(item, dict) and item.get(B64_JSON) == placeholder(index) and not item.get(URL)
        if picture is None or not is_plain:
            return False
    return True


def read_items(skeleton: bytes) -> Sequence[Item]:
    """Find the pictures of an answer that is one JSON object; those elements of ``data`` that are objects."""
    if len(skeleton) > MOST_SKELETON:
        return ()
    found = _members(skeleton, skeleton.index(b"{"), ("data",))
    data = found.get("data") if found is not None else None
    if data is None or not skeleton.startswith(b"[", data.value):
        return ()
    items = [_item(skeleton, at) for at in _elements(skeleton, data) if skeleton.startswith(b"{", at)]
    whole = [item for item in items if item is not None]
    return whole if len(whole) == len(items) else ()


def _item(skeleton: bytes, at: int) -> Item | None:
    """Read the object that begins at ``at``; ``None`` when a member stands twice."""
    members = _members(skeleton, at, (URL, B64_JSON))
    if members is None:
        return None
    inline, linked = (_text(skeleton, members.get(name)) for name in (B64_JSON, URL))
    payloads = [found for found in (_payload(inline), _payload(linked)) if found is not None]
    told = _decoded(linked) if linked is not None else ""
    return Item(
        members=members,
        payload=payloads[0] if payloads else None,
        has_base64=inline is not None,
        link=told if told and not told.startswith("data:") else None,
        has_url=linked is not None,
    )


def _text(skeleton: bytes, member: Member | None) -> bytes | None:
    """Give a member's string with its quotes; nothing for one that is empty, or no string."""
    value = b"" if member is None else skeleton[member.value : member.end]
    return value if value.startswith(b'"') and value != _EMPTY else None


def _payload(value: bytes | None) -> int | None:
    found = None if value is None else _PLACEHOLDER.search(value)
    return None if found is None else int(found[1])


def _decoded(value: bytes) -> str:
    """Give the text that a JSON string stands for; most have no escape in them."""
    text = value.decode("utf-8", "replace")
    return text[1:-1] if "\\" not in text else str(_LENIENT.decode(text))


def _elements(skeleton: bytes, array: Member) -> Iterator[int]:
    """Yield where each element of an array begins."""
    at = _after_gap(skeleton, array.value + 1)
    while at < array.end and not skeleton.startswith(b"]", at):
        yield at
        at = _after_gap(skeleton, _value_end(skeleton, at))


def _after_gap(skeleton: bytes, at: int) -> int:
    gap = _GAP.match(skeleton, at)
    return at if gap is None else gap.end()


def _members(skeleton: bytes, at: int, wanted: Sequence[str]) -> Mapping[str, Member] | None:
    """Find the wanted members of the object that begins at ``at``; ``None`` when one of them stands twice."""
    found: dict[str, Member] = {}
    last, lead = "", at + 1
    while token := _KEY.match(skeleton, at):
        if last:
            found[last] = replace(found[last], follow=token.start(1))
        name = _decoded(token[1])
        at = _value_end(skeleton, token.end())
        last = name if name in wanted else ""
        if last in found:
            return None
        if last:
            found[last] = Member(start=token.start(1), value=token.end(), end=at, lead=lead, follow=at)
        lead = at
    return found


def _value_end(skeleton: bytes, at: int) -> int:
    """Give where the value ends that begins at ``at``."""
    scalar = _SCALAR.match(skeleton, at)
    if scalar is not None:
        return scalar.end()
    depth = 0
    while run := _TO_BRACKET.match(skeleton, at):
        at = run.end() + 1
        depth += 1 if skeleton[run.end() : at] in (b"[", b"{") else -1
        if depth <= 0:
            break
    return at
