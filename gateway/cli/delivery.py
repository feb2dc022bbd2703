"""What a gateway answered to a request for pictures: the pictures themselves, the events, the usage, or the error.

All three surfaces, as JSON or as a stream of events. Must never raise for what an answer holds: a part that cannot be
read is not there.
"""

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping, Sequence

import orjson
from msgspec import Struct, field
from msgspec.structs import replace

from gateway.cli.client import EVENT_STREAM, Answer
from gateway.cli.commission import facts_of
from gateway.core.sse import Splitter, read_block
from gateway.core.types import ImageFacts, JsonObject, JsonValue

_PREVIEWS = frozenset(
    {
        "image_generation.partial_image",
        "image_edit.partial_image",
        "response.image_generation_call.partial_image",
    }
)
_DRAWN = frozenset({"image_generation.completed", "image_edit.completed"})
_TURN_ENDS = frozenset({"response.completed", "response.incomplete", "response.failed"})


class Picture(Struct, frozen=True, kw_only=True):
    """One picture that came."""

    data: bytes
    facts: ImageFacts

    @classmethod
    def of(cls, data: bytes) -> "Picture":
        """Take a picture's bytes, and what they say of it."""
        return cls(data=data, facts=facts_of(data))


class Complaint(Struct, frozen=True, kw_only=True):
    """An error of the gateway, or of an upstream through it. ``tried``: a line for each attempt."""

    message: str
    code: str | None = None
    type: str | None = None
    param: str | None = None
    tried: tuple[str, ...] = ()


class Delivery(Struct, frozen=True, kw_only=True):
    """One answer. ``links``: pictures that came as addresses; ``document``: the answer, or a stream's last event."""

    status: int
    headers: Mapping[str, str]
    took_s: float
    document: JsonObject
    pictures: tuple[Picture, ...] = ()
    links: tuple[str, ...] = ()
    previews: int = 0
    events: tuple[str, ...] = ()
    usage: JsonObject | None = None
    complaint: Complaint | None = None

    @property
    def request_id(self) -> str | None:
        """The gateway's id of the request."""
        return self.headers.get("x-request-id")

    def with_pictures(self, pictures: tuple[Picture, ...], complaint: Complaint | None) -> "Delivery":
        """Give the same delivery with the pictures that its links led to."""
        return replace(self, pictures=pictures, complaint=complaint)

    def after_s(self) -> float | None:
        """Give after how many seconds the same request may be sent again; ``None``: it may not."""
        if self.complaint is None or self.headers.get("x-should-retry") != "true":
            return None
        told = self.headers.get("retry-after", "")
        return float(told) if told.isascii() and told.isdigit() else 1.0


class Ear(Struct, kw_only=True):
    """Listens to a stream of events; ``on_preview`` is told the number and the bytes of each preview, as it comes."""

    on_preview: Callable[[int, bytes], None]
    events: list[JsonObject] = field(default_factory=list)
    previews: int = 0
    _splitter: Splitter = field(default_factory=Splitter)
    _held: bytearray = field(default_factory=bytearray)

    def listen(self, data: bytes) -> None:
        """Take the next bytes."""
        for piece in self._splitter.feed(data):
            self._take(piece.data, ends=piece.ends)

    def finish(self) -> None:
        """Say that nothing more comes."""
        rest = self._splitter.finish()
        if rest is not None:
            self._take(rest.data, ends=rest.ends)

    def _take(self, data: bytes, *, ends: bool) -> None:
        self._held += data
        if not ends:
            return
        block = read_block(bytes(self._held))
        self._held.clear()
        event = _object(block.data or b"")
        if event is None:
            return
        self.events.append(event)
        if _kind(event) in _PREVIEWS:
            self.previews += 1
            self.on_preview(self.previews, _decoded(event.get("b64_json") or event.get("partial_image_b64")) or b"")


def deliver(answer: Answer, ear: Ear) -> Delivery:
    """Read an answer; ``ear`` has listened to it if it was a stream."""
    if answer.headers.get("content-type", "").startswith(EVENT_STREAM):
        ear.finish()
        return _heard(answer, ear)
    document = answer.document or {}
    error = document.get("error") if answer.status >= 400 else None
    pictures, links = _pictures(document)
    return Delivery(
        status=answer.status,
        headers=answer.headers,
        took_s=answer.took_s,
        document=document,
        pictures=pictures,
        links=links,
        usage=_usage(document),
        complaint=_complaint(error, f"the gateway answered {answer.status}") if answer.status >= 400 else None,
    )


def member(document: JsonObject, *path: str) -> JsonValue:
    """Give what stands under a path of names, or nothing."""
    value: JsonValue = document
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def items(value: JsonValue) -> tuple[JsonObject, ...]:
    """Give the objects of a list; anything else is none."""
    listed = value if isinstance(value, Sequence) and not isinstance(value, str) else ()
    return tuple(one for one in listed if isinstance(one, Mapping))


def text(value: JsonValue) -> str | None:
    """Give a value that is text, or nothing."""
    return value if isinstance(value, str) else None


def _kind(document: JsonObject) -> str:
    return text(document.get("type")) or "unnamed"


def _heard(answer: Answer, ear: Ear) -> Delivery:
    last = ear.events[-1] if ear.events else {}
    whole = last.get("response") if _kind(last) in _TURN_ENDS else None
    found = [_pictures(event) for event in ear.events if _kind(event) in _DRAWN]
    document: JsonObject = whole if isinstance(whole, Mapping) else last
    if isinstance(whole, Mapping):
        found = [_pictures(whole)]
    pictures = tuple(one for made, _ in found for one in made)
    return Delivery(
        status=answer.status,
        headers=answer.headers,
        took_s=answer.took_s,
        document=document,
        pictures=pictures,
        links=tuple(one for _, links in found for one in links),
        previews=ear.previews,
        events=tuple(_kind(event) for event in ear.events),
        usage=_usage(document) if isinstance(whole, Mapping) else _sum(ear.events),
        complaint=_broken(last, is_whole=bool(pictures) or isinstance(whole, Mapping)),
    )


def _broken(last: JsonObject, *, is_whole: bool) -> Complaint | None:
    """Give the error with which a stream ended."""
    kind = _kind(last)
    if kind == "error":
        nested = last.get("error")
        return _complaint(nested if isinstance(nested, Mapping) else last, "the stream ended in an error")
    if kind == "response.failed":
        return _complaint(member(last, "response", "error"), "the Response failed")
    return None if is_whole else Complaint(message="the stream ended before a picture came")


def _pictures(document: JsonObject) -> tuple[tuple[Picture, ...], tuple[str, ...]]:
    """Give the pictures and the links of an answer, or of a stream's event."""
    drawn = items(document.get("data")) or ((document,) if _kind(document) in _DRAWN else ())
    words = [text(one.get("b64_json")) for one in drawn]
    words += [text(one.get("result")) for one in items(document.get("output"))]
    datas = [_decoded(word) for word in words if word]
    links = tuple(str(one["url"]) for one in drawn if text(one.get("url")) and not one.get("b64_json"))
    return tuple(Picture.of(data) for data in datas if data is not None), links


def _usage(document: JsonObject) -> JsonObject | None:
    usage, tool = document.get("usage"), document.get("tool_usage")
    if not isinstance(usage, Mapping):
        return None
    return {**usage, "tool_usage": tool} if isinstance(tool, Mapping) else usage


def _sum(events: Sequence[JsonObject]) -> JsonObject | None:
    """Add up the usages of an images stream: each picture's last event may have its own."""
    found = [_usage(event) for event in events if _kind(event) in _DRAWN]
    told = [one for one in found if one is not None]
    if len(told) < 2:
        return told[0] if told else None
    counts: dict[str, JsonValue] = {}
    for one in told:
        for name, value in one.items():
            before = counts.get(name, 0)
            if isinstance(value, int) and isinstance(before, int):
                counts[name] = before + value
    return counts


def _complaint(error: JsonValue, otherwise: str) -> Complaint:
    words: JsonObject = error if isinstance(error, Mapping) else {}
    tried = tuple(_tried(one) for one in items(words.get("attempts")))
    return Complaint(
        message=text(words.get("message")) or otherwise,
        code=text(words.get("code")),
        type=text(words.get("type")),
        param=text(words.get("param")),
        tried=tried,
    )


def _tried(attempt: JsonObject) -> str:
    seen = attempt.get("class") or "delivered"
    status = attempt.get("status")
    return f"{attempt.get('channel')}: {str(seen).replace('_', ' ')}{f' ({status})' if status else ''}"


def _decoded(word: JsonValue) -> bytes | None:
    try:
        return base64.b64decode(word, validate=True) if isinstance(word, str) else None
    except (binascii.Error, ValueError):
        return None


def _object(data: bytes) -> JsonObject | None:
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) else None


def kinds(events: Sequence[str]) -> Iterator[str]:
    """Give a stream's event types in order, each run of one type once."""
    before = None
    for event in events:
        if event != before:
            yield event
        before = event
