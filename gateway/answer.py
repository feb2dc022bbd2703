"""An upstream's whole answer, kept until the client has it: pictures decoded in the spool, the rest in memory.

Rules: what is given back is exactly what came, byte for byte; a picture is stored decoded and encoded again on its way
out. Hash and header are read in the pass that stores. The document is parsed once, without its pictures, by a parser
that takes numbers of any length; what is no JSON object is no document, and still given back as it came.
"""

import json
from collections.abc import AsyncIterator
from typing import Final, cast

import orjson
import pybase64

from gateway.core.extract import Closed, Decoded, Extractor, Opened, Piece, Raw, Seen, Text, placeholder_json
from gateway.core.picture import PictureMeter
from gateway.core.seen import AnswerFacts
from gateway.core.sse import read_block
from gateway.core.stream_events import Event
from gateway.core.types import Cause, ImageFacts, JsonObject, JsonValue
from gateway.spool import PIECE, Spool, SpooledBody, SpoolFull

MEMORY_ITEM: Final = 256 * 1024  # of one picture, before it goes to disk
ENCODE_PIECE: Final = 192 * 1024  # a multiple of three, so that pieces of base64 join
MOST_TEXT: Final = 16 * 1024 * 1024  # of an answer, outside its pictures


class _Picture:
    """One payload: its decoded bytes, then the characters that did not decode; and the facts of the picture."""

    __slots__ = ("body", "encoded", "meter", "raw")

    def __init__(self, spool: Spool, memory_item: int) -> None:
        self.body = SpooledBody(spool, memory_item)
        self.encoded = 0  # bytes of the body that are sent as base64
        self.raw = 0  # bytes of the body, after those, that are sent as they are
        self.meter = PictureMeter()


class AnswerSpool:
    """An upstream's whole answer: its pictures decoded in the spool, the rest in memory; implements ``AnswerBody``."""

    def __init__(self, spool: Spool, memory_item: int = MEMORY_ITEM) -> None:
        self._spool = spool
        self._memory_item = memory_item
        self._extractor = Extractor()
        self._parts: list[bytes | _Picture] = []
        self._facts: list[ImageFacts | None] = []
        self._text_bytes = 0
        self._came = 0

    @property
    def length(self) -> int:
        """Bytes that came."""
        return self._came

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the answer. Raises ``SpoolFull``."""
        self._came += len(chunk)
        self._take(self._extractor.feed(chunk))

    def finish(self) -> AnswerFacts:
        """Say that the answer is here whole; gives what it contains. Raises ``SpoolFull``."""
        self._take(self._extractor.finish())
        return AnswerFacts(bytes=self._came, document=_document(self._skeleton()), pictures=tuple(self._facts))

    def finish_event(self) -> Event | None:
        """Say that what was fed is one event of a stream; ``None`` when it carries no data. Raises ``SpoolFull``."""
        self._take(self._extractor.finish())
        block = read_block(self._skeleton())
        if block.data is None:
            return None
        return Event(name=block.name, data=block.data, document=_document(block.data), pictures=tuple(self._facts))

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield exactly the bytes that came, in pieces of at most 256 KiB."""
        held = b""
        for part in self._parts:
            pieces = self._text(part) if isinstance(part, bytes) else self._payload(part)
            async for piece in pieces:
                if len(held) + len(piece) <= PIECE:
                    held += piece
                    continue
                if held:
                    yield held
                held = piece
        if held:
            yield held

    def close(self) -> None:
        """Give memory and files back; idempotent."""
        for part in self._parts:
            if isinstance(part, _Picture):
                part.body.close()

    @staticmethod
    async def _text(part: bytes) -> AsyncIterator[bytes]:
        for at in range(0, len(part), PIECE):
            yield part[at : at + PIECE]

    @staticmethod
    async def _payload(picture: _Picture) -> AsyncIterator[bytes]:
        for at in range(0, picture.encoded, ENCODE_PIECE):
            yield pybase64.b64encode(picture.body.at(at, min(at + ENCODE_PIECE, picture.encoded)))
        async for piece in picture.body.read(picture.encoded):
            yield piece

    def _take(self, pieces: list[Piece]) -> None:
        for piece in pieces:
            if isinstance(piece, Text):
                self._text_bytes += len(piece.data)
                if self._text_bytes > MOST_TEXT:
                    raise SpoolFull("the answer's text is over its cap", Cause.TOO_LARGE)
                self._parts.append(piece.data)
            elif isinstance(piece, Opened):
                self._parts.append(_Picture(self._spool, self._memory_item))
            else:
                self._take_payload(cast("_Picture", self._parts[-1]), piece)  # text never comes inside a payload

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
        else:
            picture.body.seal()
            self._facts.append(picture.meter.facts() if piece.whole else None)

    def _skeleton(self) -> bytes:
        index, parts = 0, []
        for part in self._parts:
            if isinstance(part, bytes):
                parts.append(part)
            else:
                parts.append(placeholder_json(index))
                index += 1
        return b"".join(parts)


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
