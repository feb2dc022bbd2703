"""The events of a streamed answer: what kind each is, and what all of them together have told.

Rules: a kind follows from the event's type, which stands in its data and, for most upstreams, in its name too. An error
is recognised wherever it stands, since a client's SDK does so. What an event contains is read by the codec; here it is
only added up. Pure, and nothing here judges: whether a stream is a delivery is ``core/failures.py``.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from gateway.core.seen import Reading, StreamFacts
from gateway.core.types import ErrorBody, ImageFacts, JsonObject, JsonValue, Surface

DONE_WORD: Final = b"[DONE]"
_OPENING: Final = frozenset({"response.created", "response.queued", "response.in_progress"})
_ENDING: Final = frozenset({"response.completed", "response.incomplete", "response.cancelled"})
_ITEM_DONE: Final = "response.output_item.done"
_FAILED: Final = "response.failed"
_ERROR: Final = "error"


class EventKind(StrEnum):
    """What an event is to the gateway."""

    OPENING = "opening"  # says that work began; fallback is still right after it
    CONTENT = "content"  # part of the answer
    PARTIAL = "partial"  # a preview
    PICTURE = "picture"  # a final picture of an images stream
    ITEM = "item"  # a finished item of a Response
    END = "end"  # a Response, whole
    FAILED = "failed"  # a Response that reports its own failure
    ERROR = "error"
    DONE = "done"  # the end mark of other surfaces; means nothing here
    BROKEN = "broken"  # no JSON object


class Event(Struct, frozen=True, kw_only=True):
    """One event, whole: its name, and its data with each long payload replaced by its placeholder.

    ``document`` is absent when the data is no JSON object. ``pictures[i]`` are the facts of payload ``i``.
    """

    name: str
    data: bytes
    document: JsonObject | None
    pictures: tuple[ImageFacts | None, ...] = ()


class Heard(Struct, frozen=True, kw_only=True):
    """One event, understood. ``sequence`` is its ``sequence_number``; ``reading`` what the codec read in it."""

    kind: EventKind
    sequence: int | None = None
    reading: Reading | None = None


def kind_of(surface: Surface, event: Event) -> EventKind:
    """Say what an event of an answer on ``surface`` is."""
    document = event.document
    if document is None:
        return EventKind.DONE if event.data.strip() == DONE_WORD else EventKind.BROKEN
    told = document.get("type")
    word = told if isinstance(told, str) else event.name
    if document.get("error") or _ERROR in (word, event.name):
        return EventKind.ERROR
    return _of_response(word) if surface is Surface.RESPONSES else _of_images(word)


def _of_images(word: str) -> EventKind:
    if word.endswith(".partial_image"):
        return EventKind.PARTIAL
    return EventKind.PICTURE if word.endswith(".completed") else EventKind.OPENING


def _of_response(word: str) -> EventKind:
    if word in _OPENING:
        return EventKind.OPENING
    if word in _ENDING:
        return EventKind.END
    if word == _FAILED:
        return EventKind.FAILED
    if word == _ITEM_DONE:
        return EventKind.ITEM
    return EventKind.PARTIAL if word.endswith(".partial_image") else EventKind.CONTENT


def sequence_of(event: Event) -> int | None:
    """Give an event's place in its stream, where its surface numbers them."""
    number = event.document.get("sequence_number") if event.document is not None else None
    return number if isinstance(number, int) and not isinstance(number, bool) else None


class Tally:
    """What the events of one answer have told so far. ``expected`` is how many pictures end an images stream."""

    __slots__ = ("_error", "_expected", "_last", "_pictures", "_surface", "_url_count", "facts")

    def __init__(self, surface: Surface, expected: int) -> None:
        self._surface = surface
        self._expected = expected
        self._last = Reading()  # of the newest event that had one: usage, ids, status
        self._pictures: tuple[ImageFacts, ...] = ()
        self._url_count = 0
        self._error: ErrorBody | None = None
        self.facts = StreamFacts(has_content=False, is_ended=False)

    @property
    def is_over(self) -> bool:
        """Whether nothing that comes now can be of interest: the upstream said that it failed."""
        return self._error is not None

    def add(self, heard: Heard) -> None:
        """Take one more event into account."""
        reading = heard.reading
        if heard.kind is EventKind.ERROR:
            self._error = reading.error if reading and reading.error else ErrorBody(message="")
        elif reading is not None:
            self._read(heard.kind, reading)
        self._count(heard.kind)

    def reading(self) -> Reading:
        """Give what the whole answer contains, as far as it came."""
        return replace(
            self._last,
            shaped=self.facts.is_ended,
            error=self._error or self._last.error,
            pictures=self._pictures,
            url_count=self._url_count,
        )

    def _read(self, kind: EventKind, reading: Reading) -> None:
        if kind is EventKind.ITEM:  # one item of a Response; its end repeats them all
            self._pictures += reading.pictures
            return
        if kind is EventKind.PICTURE:
            self._pictures += reading.pictures
            self._url_count += reading.url_count
            self._last = _joined(self._last, reading)
            return
        if kind in (EventKind.END, EventKind.FAILED) and reading.pictures:
            self._pictures = reading.pictures
        self._last = reading

    def _count(self, kind: EventKind) -> None:
        facts = self.facts
        is_ended = facts.is_ended or kind in (EventKind.END, EventKind.FAILED)
        if kind is EventKind.PICTURE:
            self._expected -= 1
            is_ended = is_ended or self._expected == 0
        is_partial = kind is EventKind.PARTIAL
        is_content = is_partial or kind in (EventKind.CONTENT, EventKind.ITEM, EventKind.END)
        self.facts = StreamFacts(
            has_content=facts.has_content or is_content or (kind is EventKind.PICTURE and self._has_picture),
            is_ended=is_ended,
            partial_images=facts.partial_images + is_partial,
        )

    @property
    def _has_picture(self) -> bool:
        return bool(self._pictures) or self._url_count > 0


def _joined(before: Reading, now: Reading) -> Reading:
    """Join the readings of two pictures: each event reports the usage of its own."""
    return replace(
        now,
        usage=_sum(before.usage or {}, now.usage or {}) or None,
        output_tokens=_total(before.output_tokens, now.output_tokens),
        image_tokens=_total(before.image_tokens, now.image_tokens),
        served_model=now.served_model or before.served_model,
    )


def _total(one: int | None, other: int | None) -> int | None:
    return other if one is None else one + (other or 0)


def _sum(one: JsonObject, other: JsonObject) -> JsonObject:
    return {name: _added(one.get(name), other.get(name)) for name in {**one, **other}}


def _added(one: JsonValue, other: JsonValue) -> JsonValue:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return _sum(one, other)
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return one + other
    return one if other is None else other
