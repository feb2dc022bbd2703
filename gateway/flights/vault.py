"""Whole answers in the store of pictures: the text as it is, every picture under its hash, put together again exactly.

Rules: what is given back is what was kept, byte for byte, by as many readers as come. A picture that is kept as an
asset lies here once for both; one that is nothing else is found by nobody else, and the store clears it up a day after
it was last kept. Must never give half an answer: whether all of it is there is asked before the first byte.
"""

import hashlib
from collections.abc import AsyncIterator, Sequence
from typing import Final

import pybase64

from gateway.bodies.answer import AnswerSpool, Payload
from gateway.bodies.spool import Held, Spool
from gateway.core.assets import media_type_of
from gateway.ports import AnswerBody, Blobs
from gateway.ports.journal import Kept

INLINE: Final = 64 * 1024  # bytes of one text that stand in the row itself
_TEXT: Final = "application/octet-stream"


class Vault:
    """Keeps answers. One instance serves all requests of the process."""

    def __init__(self, blobs: Blobs, spool: Spool) -> None:
        self._blobs = blobs
        self._spool = spool

    async def keep(self, body: AnswerBody) -> Sequence[str | Kept]:
        """Store a whole answer; gives what it is put together from. Raises ``StoreUnavailable`` and ``SpoolFull``."""
        if isinstance(body, AnswerSpool):  # its pictures are at hand: nothing is decoded or hashed again
            return [await self._part(part) async for part in body.stock()]
        answer = AnswerSpool(self._spool)
        try:
            async for piece in body.chunks():
                answer.feed(piece)
            answer.finish()
            return [await self._part(part) async for part in answer.stock()]
        finally:
            answer.close()

    async def _part(self, part: bytes | Payload) -> str | Kept:
        if isinstance(part, bytes):
            return part.decode("latin-1") if len(part) <= INLINE else await self._text(part)
        lease, image = part.lease(), part.image
        try:
            await self._blobs.keep(image.sha256, lease, media_type_of(image))
        finally:
            lease.close()
        return Kept(sha256=image.sha256, bytes=image.bytes, encoded=True)

    async def _text(self, part: bytes) -> Kept:
        name = hashlib.sha256(part).hexdigest()
        await self._blobs.keep(name, Held(part), _TEXT)
        return Kept(sha256=name, bytes=len(part), encoded=False)

    async def has(self, parts: Sequence[str | Kept]) -> bool:
        """Whether all of an answer is there. Raises ``StoreUnavailable``."""
        kept = {part.sha256: part.bytes for part in parts if isinstance(part, Kept)}
        return all([await self._blobs.size(name) == length for name, length in kept.items()])

    def open(self, parts: Sequence[str | Kept]) -> AnswerBody:
        """Give an answer that is there."""
        return _Stored(self._blobs, parts)


class _Stored:
    """An answer in the store; implements ``ports.AnswerBody``."""

    def __init__(self, blobs: Blobs, parts: Sequence[str | Kept]) -> None:
        self._blobs = blobs
        self._parts = parts

    @property
    def length(self) -> int:
        """Bytes in all."""
        return sum(len(part) if isinstance(part, str) else _length(part) for part in self._parts)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the answer. Raises ``StoreUnavailable`` when the store goes away in the middle."""
        for part in self._parts:
            if isinstance(part, str):
                yield part.encode("latin-1")
            elif part.encoded:
                async for piece in self._encoded(part):
                    yield piece
            else:
                async for piece in self._blobs.read(part.sha256):
                    yield piece

    async def _encoded(self, part: Kept) -> AsyncIterator[bytes]:
        rest = b""
        async for piece in self._blobs.read(part.sha256):
            held = rest + piece
            whole = len(held) // 3 * 3
            rest = held[whole:]
            if whole:
                yield pybase64.b64encode(held[:whole])
        if rest:
            yield pybase64.b64encode(rest)

    def close(self) -> None:
        """Nothing is held."""


def _length(part: Kept) -> int:
    return (part.bytes + 2) // 3 * 4 if part.encoded else part.bytes
