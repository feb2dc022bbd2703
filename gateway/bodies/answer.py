"""An upstream's whole answer, kept until the client has it: pictures decoded in the spool, the rest in memory.

Rules: what is given back is exactly what came, byte for byte, unless it was rewritten; then all of it that was not. A
picture is stored decoded and encoded again on its way out; hash and header are read in the pass that stores. A small
answer is kept as it came, and taken apart in one go when it is here. The document is parsed once, without its pictures,
by a parser that takes numbers of any length; what is no JSON object is no document, and still given back as it came.
"""

import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Final

import orjson
from msgspec import Struct

from gateway.bodies.block import Block
from gateway.bodies.inlay import Inlay
from gateway.bodies.spool import PIECE, Spool, SpooledBody, SpoolFull
from gateway.core.extract import (
    Closed,
    Decoded,
    Extractor,
    Opened,
    Piece,
    Raw,
    Seen,
    Text,
    placeholder_json,
    take_apart,
)
from gateway.core.picture import PictureMeter, measured
from gateway.core.reshape import Piece as NewPiece
from gateway.core.reshape import Span
from gateway.core.seen import AnswerFacts
from gateway.core.sse import read_block
from gateway.core.stream_events import Event
from gateway.core.types import Cause, ImageFacts, JsonObject, JsonValue
from gateway.ports import Replayable

MEMORY_ITEM: Final = 4 * 1024 * 1024  # of one picture, before it goes to disk
MEMORY_LEFT: Final = 56 * 1024 * 1024  # of the spool's, for requests: pictures leave so much
MEMORY_KNOWN: Final = 16 * 1024 * 1024  # of one picture, when it is known how long it is at most
SMALL_CHUNK: Final = 64 * 1024  # of an answer on its way out: what is smaller is put together
SMALL: Final = PIECE  # of an answer that is kept as it came
MOST_TEXT: Final = 16 * 1024 * 1024  # of an answer, outside its pictures


class _Arriving:
    """The payload that comes in at the moment."""

    __slots__ = ("body", "meter", "picture")

    def __init__(self, body: SpooledBody) -> None:
        self.body = body
        self.picture = Inlay(body)
        self.meter = PictureMeter()


class Payload(Struct, frozen=True, kw_only=True):
    """A picture that stands in an answer as base64, and what leases its bytes."""

    image: ImageFacts
    lease: Callable[[], Replayable]


class AnswerSpool:
    """An upstream's whole answer: its pictures decoded in the spool, the rest in memory; implements ``AnswerBody``.

    ``memory_item``: bytes of a picture that may be in memory; ``expected``: of the answer, if that is known.
    """

    def __init__(self, spool: Spool, memory_item: int = MEMORY_ITEM, expected: int | None = None) -> None:
        self._spool = spool
        self._memory_item = memory_item
        self._expected = expected
        self._extractor = Extractor()
        # The answer as far as it is here, while it is small; otherwise it has gone through the extractor.
        self._early: list[bytes] | None = [] if memory_item >= SMALL and (expected or 0) <= SMALL else None
        self._whole: bytes | None = None  # a small answer, as it came
        self._parts: list[bytes | Inlay] = []
        self._facts: list[ImageFacts | None] = []
        self._text: bytes | None = None  # the skeleton, once it was asked for
        self._text_bytes = 0
        self._came = 0
        self._passed = 0  # of it, what has gone through the extractor
        self._arriving: _Arriving | None = None
        self._added: list[Inlay] = []
        self._rewritten: list[bytes | Inlay] | None = None
        self._is_closed = False

    @property
    def length(self) -> int:
        """Bytes that are given back."""
        if self._rewritten is None:
            return self._came
        return sum(len(part) if isinstance(part, bytes) else part.length for part in self._rewritten)

    @property
    def whole(self) -> bytes | None:
        """All that is given back, when it is small and in memory anyway."""
        return self._whole if self._rewritten is None else None

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the answer. Raises ``SpoolFull``."""
        self._came += len(chunk)
        if self._early is None:
            self._pass(chunk)
            return
        self._early.append(chunk)
        if self._came > SMALL:
            self._pass_early(self._early)

    def finish(self) -> AnswerFacts:
        """Say that the answer is here whole; gives what it contains. Raises ``SpoolFull``."""
        self._end()
        return AnswerFacts(bytes=self._came, document=_document(self.skeleton()), pictures=tuple(self._facts))

    def finish_event(self) -> Event | None:
        """Say that what was fed is one event of a stream; ``None`` when it carries no data. Raises ``SpoolFull``."""
        self._end()
        block = read_block(self.skeleton())
        if block.data is None:
            return None
        return Event(name=block.name, data=block.data, document=_document(block.data), pictures=tuple(self._facts))

    def pictures(self) -> Iterator[tuple[ImageFacts, Callable[[], Replayable]]]:
        """Give every picture that is here whole, with what leases its bytes."""
        for picture in self._pictures():
            if picture.facts is not None:
                yield picture.facts, picture.lease

    async def stock(self) -> AsyncIterator[bytes | Payload]:
        """Give the parts it is put together from: pictures that are all base64, and text, which is anything else."""
        for part in self._parts if self._rewritten is None else self._rewritten:
            if isinstance(part, bytes):
                yield part
            elif part.facts is not None and part.raw == 0 and part.encoded == part.facts.bytes:
                yield Payload(image=part.facts, lease=part.lease)
            else:
                yield b"".join(part.characters())

    def facts(self, index: int) -> ImageFacts | None:
        """Give what is known of a payload, or of a picture that was attached; ``None``: it was no picture's."""
        return self._facts[index] if index < len(self._facts) else None

    def attach(self, body: SpooledBody, image: ImageFacts) -> int:
        """Take over a picture that did not come with the answer; gives its index, after those that did."""
        self._added.append(Inlay(body, image))
        self._facts.append(image)
        return len(self._facts) - 1

    def rewrite(self, pieces: Sequence[NewPiece]) -> None:
        """From now on give these pieces back: spans of the skeleton, new text, and pictures by their index."""
        pictures = self._pictures()
        self._rewritten = []
        for piece in pieces:
            if isinstance(piece, Span):
                self._rewritten += self._within(piece)
            else:
                self._rewritten.append(piece if isinstance(piece, bytes) else pictures[piece])

    def skeleton(self) -> bytes:
        """Give the text, with a placeholder for each payload; it is put together once, when all of it is here."""
        if self._text is None:
            self._text = b"".join([text for text, _ in self._skeleton()])
        return self._text

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield exactly the bytes that came, in pieces of at most 256 KiB; no more than one is held at a time."""
        if self.whole:
            yield self.whole
            return
        held = b""  # small pieces, until they are worth one
        for part in self._parts if self._rewritten is None else self._rewritten:
            for piece in _text(part) if isinstance(part, bytes) else part.characters():
                if held and len(held) + len(piece) > PIECE:
                    yield held
                    held = b""
                held += piece
                if len(held) >= SMALL_CHUNK:
                    del piece
                    yield held
                    held = b""
        if held:
            yield held

    def close(self) -> None:
        """Give memory and files back; idempotent."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._whole is not None:
            self._spool.give_back(len(self._whole), 0)
        self._whole = self._early = None
        for picture in self._pictures():
            picture.close()

    def _pictures(self) -> list[Inlay]:
        return [part for part in (*self._parts, *self._added) if isinstance(part, Inlay)]

    def _within(self, span: Span) -> Iterator[bytes | Inlay]:
        """Give what lies within a span of the skeleton."""
        at = 0
        for text, picture in self._skeleton():
            start, end = max(span.start - at, 0), min(span.end - at, len(text))
            if start < end:
                yield text[start:end] if picture is None else picture
            at += len(text)

    def _end(self) -> None:
        """Take what is left, now that all of it is here."""
        early = self._early
        if early is not None and self._keep_whole(early[0] if len(early) == 1 else b"".join(early)):
            self._early = None
            return
        if early is not None:
            self._pass_early(early)
        self._take(self._extractor.finish())

    def _keep_whole(self, whole: bytes) -> bool:
        """Take a small answer apart in one go; ``False``: it is not plain enough, or there is no memory for it."""
        payloads = take_apart(whole)
        if payloads is None:
            return False
        size = len(whole) + sum([len(payload.data) for payload in payloads])
        if not self._spool.take_memory(size, MEMORY_LEFT):
            return False
        text, at = b"", 0
        for index, payload in enumerate(payloads):
            before, facts = whole[at : payload.start], measured(payload.data)
            self._facts.append(facts)
            self._parts += [before, Inlay(Block(self._spool, payload.data), facts)]
            text += before + placeholder_json(index)
            at = payload.end
        self._parts.append(whole[at:])
        self._text = text + whole[at:]
        self._whole = whole
        return True

    def _pass_early(self, early: list[bytes]) -> None:
        self._early = None
        for chunk in early:
            self._pass(chunk)

    def _pass(self, chunk: bytes) -> None:
        self._take(self._extractor.feed(chunk))
        self._passed += len(chunk)

    def _take(self, pieces: list[Piece]) -> None:
        for piece in pieces:
            if isinstance(piece, Text):
                self._text_bytes += len(piece.data)
                if self._text_bytes > MOST_TEXT:
                    raise SpoolFull("the answer's text is over its cap", Cause.TOO_LARGE)
                self._parts.append(piece.data)
            elif isinstance(piece, Opened):
                self._arriving = self._opened()
                self._parts.append(self._arriving.picture)
            elif self._arriving is not None:  # text never comes inside a payload
                self._take_payload(self._arriving, piece)

    def _opened(self) -> _Arriving:
        body = SpooledBody(self._spool, self._memory_item, MEMORY_LEFT)
        if self._expected is not None:
            body.expect(max(0, self._expected - self._passed) // 4 * 3, MEMORY_KNOWN)
        return _Arriving(body)

    def _take_payload(self, arriving: _Arriving, piece: Decoded | Raw | Seen | Closed) -> None:
        picture = arriving.picture
        if isinstance(piece, Decoded):
            arriving.body.append(piece.data)
            picture.encoded += len(piece.data)
            arriving.meter.feed(piece.data)
        elif isinstance(piece, Raw):
            arriving.body.append(piece.data)
            picture.raw += len(piece.data)
        elif isinstance(piece, Seen):
            arriving.meter.feed(piece.data)
            if picture.seen is None:
                picture.seen = SpooledBody(self._spool, self._memory_item, MEMORY_LEFT)
            picture.seen.append(piece.data)
        else:
            arriving.body.seal()
            picture.facts = arriving.meter.facts() if piece.whole else None
            self._facts.append(picture.facts)
            self._arriving = None

    def _skeleton(self) -> Iterator[tuple[bytes, Inlay | None]]:
        index = 0
        for part in self._parts:
            if isinstance(part, bytes):
                yield part, None
            else:
                yield placeholder_json(index), part
                index += 1


def _text(part: bytes) -> Iterator[bytes]:
    for at in range(0, len(part), PIECE):
        yield part[at : at + PIECE]


def expected_of(headers: Mapping[str, str]) -> int | None:
    """Say how long an answer will be, by its headers."""
    said = headers.get("content-length", "")
    return int(said) if said.isascii() and said.isdigit() else None


def _document(skeleton: bytes) -> JsonObject | None:
    """Parse an answer's skeleton once; what is no JSON object is ``None``. Numbers of any length do no harm."""
    try:
        parsed: JsonValue = orjson.loads(skeleton)
    except orjson.JSONDecodeError:
        parsed = _tolerant(skeleton)
    return parsed if isinstance(parsed, dict) else None


def _tolerant(skeleton: bytes) -> JsonValue:
    try:
        parsed: JsonValue = json.loads(skeleton.decode(), parse_int=_integer)
    except (ValueError, RecursionError):
        return None
    return parsed


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= 1_000 else float("inf")
