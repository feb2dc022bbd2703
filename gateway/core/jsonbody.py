"""A JSON body read as its bytes pass: long inline pictures are measured and left out, the rest is parsed strictly.

In JSON a quote that no backslash precedes and that ``data:`` follows always begins a string, and so does the one after
``"result":``, where a turn gives earlier pictures back; the next quote that is not escaped ends it; so pictures are
found without reading everything. Rules: only the inside of such a string is left out, and only as far as it is plain
base64, so that what is no JSON stays no JSON; offsets are those of the body as it came; slices of any length give the
same result. Must never keep a picture and never repeat input in a message.
"""

import re
from bisect import bisect_right
from collections.abc import Mapping

from msgspec import Struct, field

from gateway.core.dataurl import PayloadMeter, read_data_url
from gateway.core.jsontext import JsonFault, locate, moved, offsets_of, parse, refused
from gateway.core.types import FieldPlace, ImageFacts, JsonObject

__all__ = ["InlinePicture", "JsonFault", "RequestJson", "RequestScan", "parse"]

MAX_SKELETON = 8 * 1024 * 1024  # bytes of a body without its long inline pictures
LONG = 4 * 1024  # bytes of a string from which on it is left out

_START = re.compile(rb'"(?<!\\")(?:(?=[dD][aA][tT][aA]:)|(result)"[ \t\r\n]{0,32}:[ \t\r\n]{0,32}")')
_UNDECIDED = 80  # bytes that may yet become a start
_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)  # up to its closing quote
_HEAD = re.compile(
    rb"data:(?:[!#-+\x2d-\[\]-~]|\\/|\\u00[2-7][0-9a-f]){0,256}?;base64,",
    re.IGNORECASE,
)
_BARE = re.compile(rb"(?=[A-Za-z0-9+/]{64})")  # how a picture begins that has no head
_ESCAPE = 6  # bytes of the longest escape
_PAYLOAD = re.compile(rb"[A-Za-z0-9+/=]*+(?:\\(?:[/nrt]|u00[2-7][0-9A-Fa-f])[A-Za-z0-9+/=]*+)*+")
_SHORT_ESCAPES = ((rb"\/", b"/"), (rb"\n", b""), (rb"\r", b""), (rb"\t", b""))
_LONG_ESCAPE = re.compile(rb"\\u00([2-7][0-9A-Fa-f])")


class InlinePicture(Struct, frozen=True, kw_only=True):
    """A long inline picture. ``placeholder`` is the text that stands for it in the document.

    ``image`` is ``None`` when it was no whole base64.
    """

    placeholder: str
    image: ImageFacts | None


class RequestJson(Struct, frozen=True, kw_only=True):
    """A whole JSON body. Ranges are bytes of the body as it came; strings with their quotes.

    ``model``: the top-level string or null, ``None`` when it is absent or else; ``tool_models``: those of image tools.
    ``data_urls``: the long inline pictures in order; ``by_text``: their facts by placeholder. ``fields``: the places of
    the options that may be changed.
    """

    document: JsonObject
    model: tuple[int, int] | None
    insert_at: int
    tool_models: tuple[tuple[int, int], ...]
    data_urls: tuple[InlinePicture, ...] = ()
    by_text: Mapping[str, ImageFacts | None] = field(default_factory=dict)
    fields: Mapping[str, FieldPlace] = field(default_factory=dict)

    def picture(self, text: str) -> ImageFacts | None:
        """Give the facts of an inline picture by its text in the document, be it a placeholder or a data URL."""
        return self.by_text[text] if text in self.by_text else read_data_url(text)


class RequestScan:
    """Takes a JSON body slice by slice, then gives it."""

    def __init__(self) -> None:
        self._skeleton = bytearray()
        self._fault: JsonFault | None = None
        self._data = b""  # the last byte that was understood, and what follows
        self._at = 0  # of what follows
        self._is_head = False  # within a string that may be a long inline picture
        self._is_bare = False  # and that needs no head
        self._meter: PayloadMeter | None = None  # within one that is
        self._left_out = 0  # its bytes so far
        self._found: list[InlinePicture] = []
        self._ends: list[int] = []  # offsets in the skeleton after each placeholder
        self._shifts: list[int] = [0]  # what to add to a skeleton's offset: before the first of them, after it, ...

    def feed(self, chunk: bytes) -> JsonFault | None:
        """Take the next bytes; a fault says that no more need to come."""
        if self._fault is not None:
            return self._fault
        self._data += chunk
        while self._advance():
            pass
        understood = max(self._at - 1, 0)
        self._data = self._data[understood:]
        self._at -= understood
        return self._check()

    def finish(self) -> RequestJson | JsonFault:
        """Give the body, whole; to be asked once."""
        if self._fault is not None:
            return self._fault
        if self._meter is not None:
            self._leave_out(None)
        self._skeleton += self._data[self._at :]
        fault = self._check()
        if fault is not None:
            return fault
        found = locate(bytes(self._skeleton))
        if isinstance(found, JsonFault):
            return found
        if not self._found:  # nothing was left out: the places are those of the body as it came
            return RequestJson(
                document=found.document,
                model=found.model,
                insert_at=found.insert_at,
                tool_models=found.tool_models,
                fields=found.fields,
            )
        return RequestJson(
            document=found.document,
            model=self._original(found.model) if found.model is not None else None,
            insert_at=found.insert_at,
            tool_models=tuple(self._original(place) for place in found.tool_models),
            data_urls=tuple(self._found),
            by_text={picture.placeholder: picture.image for picture in self._found},
            fields={path: self._original_place(place) for path, place in found.fields.items()},
        )

    def _check(self) -> JsonFault | None:
        if len(self._skeleton) > MAX_SKELETON:
            self._skeleton.clear()
            self._fault = refused(f"Without its inline pictures it must have at most {MAX_SKELETON} bytes.")
        return self._fault

    def _advance(self) -> bool:
        """Take one stretch of what there is; whether the next can be taken."""
        if self._meter is not None:
            return self._take_payload(self._meter)
        return self._judge_head() if self._is_head else self._take_text()

    def _take_text(self) -> bool:
        start = _START.search(self._data, self._at)
        end = start.end() if start is not None else max(self._at, len(self._data) - _UNDECIDED)
        self._skeleton += self._data[self._at : end]
        self._at = end
        self._is_head = start is not None
        self._is_bare = start is not None and start[1] is not None
        return self._is_head

    def _judge_head(self) -> bool:
        """Decide whether a string is left out: when it is long and says, or is, base64."""
        window = min(len(self._data), self._at + LONG + 1)
        string = _STRING.match(self._data, self._at, window)
        is_closed = string is not None and self._data.startswith(b'"', string.end(), window)
        if not is_closed and window <= self._at + LONG:
            return False
        self._is_head = False
        head = None if is_closed else _HEAD.match(self._data, self._at)
        if head is None and self._is_bare and not is_closed:
            head = _BARE.match(self._data, self._at)
        if head is None:
            return self._take_text()
        self._meter = PayloadMeter()
        self._left_out = head.end() - self._at
        self._at = head.end()
        return True

    def _take_payload(self, meter: PayloadMeter) -> bool:
        payload = _PAYLOAD.match(self._data, self._at)
        end = payload.end() if payload is not None else self._at
        meter.feed(_unescaped(self._data[self._at : end]))
        self._left_out += end - self._at
        self._at = end
        following = self._data[end : end + _ESCAPE]
        if not following or (following.startswith(b"\\") and len(following) < _ESCAPE):
            return False
        self._leave_out(meter.facts() if following.startswith(b'"') else None)
        return True

    def _leave_out(self, image: ImageFacts | None) -> None:
        placeholder = f"data:;waybill={len(self._found)},{image.sha256 if image is not None else ''}"
        self._found.append(InlinePicture(placeholder=placeholder, image=image))
        self._skeleton += placeholder.encode("ascii")
        self._ends.append(len(self._skeleton))
        self._shifts.append(self._shifts[-1] + self._left_out - len(placeholder))
        self._meter = None

    def _original(self, place: tuple[int, int]) -> tuple[int, int]:
        """Give the range in the body as it came for one in the skeleton."""
        return self._original_at(place[0]), self._original_at(place[1])

    def _original_place(self, place: FieldPlace) -> FieldPlace:
        return moved(place, {at: self._original_at(at) for at in offsets_of(place)})

    def _original_at(self, at: int) -> int:
        return at + self._shifts[bisect_right(self._ends, at)]


def _unescaped(payload: bytes) -> bytes:
    """Give what a stretch of a JSON string stands for; its escapes are only those of ``_PAYLOAD``."""
    if b"\\" not in payload:
        return payload
    for escape, text in _SHORT_ESCAPES:
        payload = payload.replace(escape, text)
    return _LONG_ESCAPE.sub(lambda escape: bytes((int(escape[1], 16),)), payload)
