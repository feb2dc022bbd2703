"""An upstream's whole answer, kept until the client has it: pictures decoded in the spool, the rest in memory.

Rules: what is given back is exactly what came, byte for byte, unless it was rewritten; then all of it that was not. A
picture is stored decoded and encoded again on its way out. Hash and header are read in the pass that stores. The
document is parsed once, without its pictures, by a parser that takes numbers of any length; what is no JSON object is
no document, and still given back as it came.
"""

import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Final, cast

import orjson
import pybase64
from msgspec import Struct

from gateway.core.extract import Closed, Decoded, Extractor, Opened, Piece, Raw, Seen, Text, placeholder_json
from gateway.core.picture import PictureMeter
from gateway.core.reshape import Piece as NewPiece
from gateway.core.reshape import Span
from gateway.core.seen import AnswerFacts
from gateway.core.sse import read_block
from gateway.core.stream_events import Event
from gateway.core.types import Cause, ImageFacts, JsonObject, JsonValue
from gateway.ports import Replayable
from gateway.spool import PIECE, Lease, Spool, SpooledBody, SpoolFull

MEMORY_ITEM: Final = 4 * 1024 * 1024  # of one picture, before it goes to disk
MEMORY_LEFT: Final = 56 * 1024 * 1024  # of the spool's, for requests: pictures leave so much
MEMORY_KNOWN: Final = 16 * 1024 * 1024  # of one picture, when it is known how long it is at most
SMALL_CHUNK: Final = 64 * 1024  # of an answer on its way out: what is smaller is put together
ENCODE_PIECE: Final = 192 * 1024  # a multiple of three, so that pieces of base64 join
MOST_TEXT: Final = 16 * 1024 * 1024  # of an answer, outside its pictures


class _Picture:
    """One payload: its decoded bytes, then the characters that did not decode; and the facts of the picture."""

    __slots__ = ("body", "encoded", "facts", "meter", "raw", "seen")

    def __init__(self, spool: Spool, memory_item: int) -> None:
        self.body = SpooledBody(spool, memory_item, MEMORY_LEFT)
        self.encoded = 0  # bytes of the body that are sent as base64
        self.raw = 0  # bytes of the body, after those, that are sent as they are
        self.meter = PictureMeter()
        self.facts: ImageFacts | None = None  # once it has ended, if all of it was a picture
        self.seen: SpooledBody | None = None  # the picture's bytes after ``encoded``, when its characters are kept raw

    @property
    def length(self) -> int:
        """Characters of the payload."""
        return (self.encoded + 2) // 3 * 4 + self.raw

    def characters(self) -> Iterator[bytes]:
        """Yield the payload as it came, in pieces of at most 256 KiB."""
        yield from _encoded(self.body.pieces(0, self.encoded, ENCODE_PIECE))
        if self.raw:
            yield from self.body.pieces(self.encoded, self.body.length)

    def lease(self) -> Replayable:
        """Give the picture's own bytes, to be closed by whoever takes them."""
        if self.raw == 0 and self.seen is None:
            return self.body.lease()
        return _Joined(self.body.lease(), self.encoded, None if self.seen is None else self.seen.lease())

    def close(self) -> None:
        self.body.close()
        if self.seen is not None:
            self.seen.close()


class Payload(Struct, frozen=True, kw_only=True):
    """A picture that stands in an answer as base64, and what leases its bytes."""

    image: ImageFacts
    lease: Callable[[], Replayable]


class _Joined:
    """A picture whose characters were not all canonical base64: its bytes from two bodies."""

    def __init__(self, head: Lease, cut: int, tail: Lease | None) -> None:
        self._head, self._cut, self._tail = head, cut, tail
        self.length = cut + (0 if tail is None else tail.length)

    async def read(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        stop = self.length if end is None else min(end, self.length)
        if start < self._cut:
            async for piece in self._head.read(start, min(stop, self._cut)):
                yield piece
        if self._tail is not None and stop > self._cut:
            async for piece in self._tail.read(max(0, start - self._cut), stop - self._cut):
                yield piece

    def close(self) -> None:
        self._head.close()
        if self._tail is not None:
            self._tail.close()


class AnswerSpool:
    """An upstream's whole answer: its pictures decoded in the spool, the rest in memory; implements ``AnswerBody``.

    ``memory_item``: bytes of a picture that may be in memory; ``expected``: of the answer, if that is known.
    """

    def __init__(self, spool: Spool, memory_item: int = MEMORY_ITEM, expected: int | None = None) -> None:
        self._spool = spool
        self._memory_item = memory_item
        self._expected = expected
        self._extractor = Extractor()
        self._parts: list[bytes | _Picture] = []
        self._facts: list[ImageFacts | None] = []
        self._text: bytes | None = None  # the skeleton, once it was asked for
        self._text_bytes = 0
        self._came = 0
        self._before = 0  # of it, what came before the last chunk
        self._added: list[_Picture] = []
        self._rewritten: list[bytes | _Picture] | None = None

    @property
    def length(self) -> int:
        """Bytes that are given back."""
        if self._rewritten is None:
            return self._came
        return sum(len(part) if isinstance(part, bytes) else part.length for part in self._rewritten)

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the answer. Raises ``SpoolFull``."""
        self._before = self._came
        self._came += len(chunk)
        self._take(self._extractor.feed(chunk))

    def finish(self) -> AnswerFacts:
        """Say that the answer is here whole; gives what it contains. Raises ``SpoolFull``."""
        self._take(self._extractor.finish())
        return AnswerFacts(bytes=self._came, document=_document(self.skeleton()), pictures=tuple(self._facts))

    def finish_event(self) -> Event | None:
        """Say that what was fed is one event of a stream; ``None`` when it carries no data. Raises ``SpoolFull``."""
        self._take(self._extractor.finish())
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
        picture = _Picture(self._spool, self._memory_item)
        picture.close()
        picture.body, picture.encoded, picture.facts = body, body.length, image
        self._added.append(picture)
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
        for picture in self._pictures():
            picture.close()

    def _pictures(self) -> list[_Picture]:
        return [*[part for part in self._parts if isinstance(part, _Picture)], *self._added]

    def _within(self, span: Span) -> Iterator[bytes | _Picture]:
        """Give what lies within a span of the skeleton."""
        at = 0
        for text, picture in self._skeleton():
            start, end = max(span.start - at, 0), min(span.end - at, len(text))
            if start < end:
                yield text[start:end] if picture is None else picture
            at += len(text)

    def _take(self, pieces: list[Piece]) -> None:
        for piece in pieces:
            if isinstance(piece, Text):
                self._text_bytes += len(piece.data)
                if self._text_bytes > MOST_TEXT:
                    raise SpoolFull("the answer's text is over its cap", Cause.TOO_LARGE)
                self._parts.append(piece.data)
            elif isinstance(piece, Opened):
                self._parts.append(self._opened())
            else:
                self._take_payload(cast("_Picture", self._parts[-1]), piece)  # text never comes inside a payload

    def _opened(self) -> _Picture:
        picture = _Picture(self._spool, self._memory_item)
        if self._expected is not None:
            picture.body.expect(max(0, self._expected - self._before) // 4 * 3, MEMORY_KNOWN)
        return picture

    def _take_payload(self, picture: _Picture, piece: Decoded | Raw | Seen | Closed) -> None:
        if isinstance(piece, Decoded):
            picture.body.append(piece.data)
            picture.encoded += len(piece.data)
            picture.meter.feed(piece.data)
        elif isinstance(piece, Raw):
            picture.body.append(piece.data)
            picture.raw += len(piece.data)
        elif isinstance(piece, Seen):
            picture.meter.feed(piece.data)
            if picture.seen is None:
                picture.seen = SpooledBody(self._spool, self._memory_item, MEMORY_LEFT)
            picture.seen.append(piece.data)
        else:
            picture.body.seal()
            picture.facts = picture.meter.facts() if piece.whole else None
            self._facts.append(picture.facts)

    def _skeleton(self) -> Iterator[tuple[bytes, _Picture | None]]:
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


def _encoded(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Give base64 of pieces of any length; none of them is held while what became of it is looked at."""
    rest = b""  # what makes no whole quantum
    for piece in pieces:
        data = rest + piece if rest else piece
        whole = len(data) - len(data) % 3
        rest = data[whole:]
        encoded = pybase64.b64encode(memoryview(data)[:whole])
        del piece, data
        yield encoded
    if rest:
        yield pybase64.b64encode(rest)


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
