"""A request's JSON, read strictly, and where in its text the words stand that routing may replace.

Rules: whatever two parsers might read in two ways is refused: a key that stands twice in one object, numbers that JSON
has not, half of a surrogate pair, a byte order mark, more depth, digits or values than any request needs. The top level
is walked here, so that places are found in the same pass that reads the values. Must never repeat the caller's input
in a message; a key is named only when it is short and plain.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gateway.core.types import JsonObject, JsonValue

MAX_DEPTH = 64  # objects and arrays within each other, the outermost included
MAX_DIGITS = 1_000  # of an integer
MAX_VALUES = 400_000  # bounds the values by the number of commas and colons, those of texts too

_IMAGE_TOOL = "image_generation"
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_SPACE = r"[ \t\n\r]*+"
_OPEN = re.compile(rf"{_SPACE}(\{{){_SPACE}")
_KEY = re.compile(rf'("[^"\\\x00-\x1f]*+(?:\\.[^"\\\x00-\x1f]*+)*+"){_SPACE}:{_SPACE}')
_NEXT = re.compile(rf"{_SPACE}([,}}]){_SPACE}")
_EMPTY = re.compile(rf"{_SPACE}\{{{_SPACE}\}}{_SPACE}")
_GAP = re.compile(r"[\[, \t\n\r]*+")  # before an array's element, in text known to be JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonFault:
    """Why a body is not taken: a sentence for the caller, and the key at fault when it can be named."""

    message: str
    param: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonText:
    """A strict JSON object and its places, as byte ranges of its text.

    ``model`` is the string of that key at the top level, with its quotes; ``None`` when it is absent or no string.
    ``tool_models`` are those of ``tools[i].model`` of image tools, in order. ``insert_at`` is after the first brace.
    """

    document: JsonObject
    insert_at: int
    model: tuple[int, int] | None = None
    tool_models: tuple[tuple[int, int], ...] = ()


class _Member(NamedTuple):
    key: str
    value: JsonValue
    start: int
    end: int


class _Refused(Exception):
    """Carries a fault out of the library's parser."""

    def __init__(self, fault: JsonFault) -> None:
        super().__init__(fault.message)
        self.fault = fault


def refused(reason: str, param: str | None = None) -> JsonFault:
    """Say that a body is not taken; ``reason`` is a sentence."""
    return JsonFault(message=f"We could not parse the JSON body of your request. {reason}", param=param)


def parse(text: bytes) -> JsonObject | JsonFault:
    """Read one strict JSON object."""
    found = locate(text)
    return found if isinstance(found, JsonFault) else found.document


def locate(text: bytes) -> JsonText | JsonFault:
    """Read one strict JSON object and find its places."""
    if text.count(b",") + text.count(b":") > MAX_VALUES:
        return refused(f"It must have at most {MAX_VALUES} values.")
    try:
        return _located(text.decode("utf-8"))
    except _Refused as stopped:
        return stopped.fault
    except UnicodeDecodeError:
        return refused("It must be UTF-8.")
    except UnicodeEncodeError:
        return refused("Its texts must not hold half of a surrogate pair.")
    except RecursionError:
        return _too_deep()
    except ValueError:
        return refused("It must be one JSON object and nothing else.")


def _located(text: str) -> JsonText:
    if text.startswith("\ufeff"):
        raise _Refused(refused("It must not begin with a byte order mark."))
    members, end = _members(text, 0)
    document = _unique([(member.key, member.value) for member in members])
    if end != len(text):
        raise ValueError
    if text.count("{") + text.count("[") > MAX_DEPTH and _is_deep(document):
        raise _Refused(_too_deep())
    if "\\ud" in text or "\\uD" in text:
        json.dumps(document, ensure_ascii=False).encode("utf-8")
    return _placed(text, members, document)


def _placed(text: str, members: Sequence[_Member], document: JsonObject) -> JsonText:
    model: tuple[int, int] | None = None
    tools: list[tuple[int, int]] = []
    for member in members:
        if member.key == "model" and isinstance(member.value, str):
            model = (member.start, member.end)
        elif member.key == "tools" and isinstance(member.value, list):
            tools = _tool_models(text, member.start, member.value)
    insert_at = text.index("{") + 1
    if not text.isascii():
        offsets = _byte_offsets(text, {at for place in (*tools, model or (0, 0)) for at in place})
        model = (offsets[model[0]], offsets[model[1]]) if model else None
        tools = [(offsets[start], offsets[end]) for start, end in tools]
    return JsonText(document=document, insert_at=insert_at, model=model, tool_models=tuple(tools))


def _tool_models(text: str, at: int, tools: Sequence[JsonValue]) -> list[tuple[int, int]]:
    """Find the places within the array that begins at ``at``; nothing is read again unless one is there."""
    wanted = [_names_image_model(tool) for tool in tools]
    found: list[tuple[int, int]] = []
    for is_wanted in wanted if any(wanted) else ():
        at = _gap_end(text, at)
        if is_wanted:
            members, at = _members(text, at)
            found += [(member.start, member.end) for member in members if member.key == "model"]
        else:
            _, at = _value(text, at)
    return found


def _names_image_model(tool: JsonValue) -> bool:
    return isinstance(tool, dict) and tool.get("type") == _IMAGE_TOOL and isinstance(tool.get("model"), str)


def _byte_offsets(text: str, places: Collection[int]) -> Mapping[int, int]:
    """Give the byte offset of each character offset, in one pass."""
    offsets: dict[int, int] = {}
    passed = counted = 0
    for at in sorted(places):
        counted += len(text[passed:at].encode("utf-8"))
        passed = at
        offsets[at] = counted
    return offsets


def _gap_end(text: str, at: int) -> int:
    gap = _GAP.match(text, at)
    return gap.end() if gap is not None else at


def _members(text: str, at: int) -> tuple[list[_Member], int]:
    """Walk the object that begins at ``at``; also give the offset after it and the space that follows."""
    members: list[_Member] = []
    token = _OPEN.match(text, at)
    while token is not None:
        key = _KEY.match(text, token.end())
        if key is None:
            break
        value, end = _value(text, key.end())
        members.append(_Member(_key(key[1]), value, key.end(), end))
        token = _NEXT.match(text, end)
        if token is not None and token[1] == "}":
            return members, token.end()
    closed = None if members else _EMPTY.match(text, at)
    if closed is None:
        raise ValueError
    return members, closed.end()


def _key(token: str) -> str:
    key = _value(token, 0)[0] if "\\" in token else token[1:-1]
    return key if isinstance(key, str) else ""


def _value(text: str, at: int) -> tuple[JsonValue, int]:
    return _DECODER.raw_decode(text, at)


def _is_deep(document: JsonObject) -> bool:
    level: list[JsonValue] = [document]
    for _ in range(MAX_DEPTH):
        level = [child for node in level for child in _inner(node)]
    return bool(level)


def _inner(node: JsonValue) -> list[JsonValue]:
    """Give the objects and arrays that stand directly in one."""
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return [child for child in children if isinstance(child, (dict, list))]


def _too_deep() -> JsonFault:
    return refused(f"It must not nest deeper than {MAX_DEPTH} levels.")


def _unique(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    found = dict(pairs)
    if len(found) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        twice = next(key for key in counts if counts[key] > 1)
        plain = twice if _PLAIN_KEY.fullmatch(twice) else None
        raise _Refused(refused("A key stands twice in one object.", plain))
    return found


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise _Refused(refused(f"An integer must have at most {MAX_DIGITS} digits."))
    return int(digits)


def _decimal(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise _Refused(refused("A number is too large."))
    return number


def _no_constant(_: str) -> None:
    raise _Refused(refused("NaN and Infinity are no JSON."))


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=_integer, parse_float=_decimal, parse_constant=_no_constant
)
