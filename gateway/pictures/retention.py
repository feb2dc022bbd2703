"""How kept pictures end: when their time is over, when there are too many, and when nobody knows of their bytes.

Rules: a picture ends on the books first; its bytes go ``GRACE`` later, and only if no picture has them then and nobody
kept them since. So a picture that is being kept at the same moment, by this process or another, never loses its bytes.
When the store is over its size the oldest pictures go first, those that were accepted last of all. Bytes of which the
books know nothing (a crash came between the store and the books) go after ``ORPHANED``. Work is done in bounded pieces.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from gateway.core.assets import AssetId
from gateway.core.record import timestamp
from gateway.core.types import JsonObject
from gateway.ports import AssetEnds, Blobs, Clock, Events, LedgerUnavailable, Old, StoreUnavailable

EVERY_S: Final = 60.0
BATCH: Final = 500
MOST_BATCHES: Final = 20  # in one round: the rest waits for the next
GRACE: Final = timedelta(minutes=10)
ORPHANED: Final = timedelta(days=1)
_DIGITS: Final = 256


class Swept(Struct, frozen=True, kw_only=True):
    """What a round did. ``expired`` and ``evicted`` are pictures, ``blobs`` and ``orphans`` files, ``bytes`` theirs."""

    expired: int = 0
    evicted: int = 0
    blobs: int = 0
    orphans: int = 0
    bytes: int = 0

    def as_json(self) -> JsonObject:
        """Give it as JSON."""
        return {
            "expired": self.expired,
            "evicted": self.evicted,
            "blobs": self.blobs,
            "orphans": self.orphans,
            "bytes": self.bytes,
        }


class RetentionMeans(Struct, frozen=True, kw_only=True):
    """What retention works with. ``most_bytes``: of all pictures; ``dry``: only say what would be done."""

    books: AssetEnds
    blobs: Blobs
    clock: Clock
    most_bytes: int
    dry: bool = False


class Retention:
    """Ends pictures, round by round."""

    def __init__(self, means: RetentionMeans) -> None:
        self._means = means
        self._next = 0  # the first two digits whose orphans are looked for in the next round

    async def run(self, events: Events, every_s: float = EVERY_S) -> None:
        """Do a round now and then, until cancelled; what was done, and what could not be, is logged."""
        while True:
            await asyncio.sleep(every_s)
            try:
                swept = await self.round([f"{self._next:02x}"])
            except (LedgerUnavailable, StoreUnavailable) as down:
                events.emit({"event": "assets.sweep_failed", "time": self._said_at(), "reason": str(down)})
                continue
            self._next = (self._next + 1) % _DIGITS
            if swept != Swept():
                events.emit({"event": "assets.swept", "time": self._said_at(), **swept.as_json()})

    async def round(self, prefixes: Sequence[str] = ("",)) -> Swept:
        """Do one round; orphans among blobs whose hash begins with one of ``prefixes``.

        Raises ``LedgerUnavailable`` and ``StoreUnavailable``.
        """
        now = self._means.clock.now()
        swept = Swept(expired=await self._expire(now), evicted=await self._evict(now))
        swept = await self._delete_doomed(swept, now)
        for prefix in prefixes:
            swept = await self._delete_orphans(swept, prefix, now)
        return swept

    async def _expire(self, now: datetime) -> int:
        if self._means.dry:
            return len(await self._means.books.expired(now, BATCH * MOST_BATCHES))
        count = 0
        for _ in range(MOST_BATCHES):
            over = await self._means.books.expired(now, BATCH)
            count += await self._end(over, now)
            if len(over) < BATCH:
                break
        return count

    async def _evict(self, now: datetime) -> int:
        excess, count = await self._means.books.total() - self._means.most_bytes, 0
        for accepted in (False, True):
            for _ in range(MOST_BATCHES):
                if excess <= 0:
                    return count
                old = await self._means.books.oldest(BATCH, accepted=accepted)
                chosen, freed = first_of(old, excess)
                count += await self._end(chosen, now)
                excess -= freed
                if len(old) < BATCH or self._means.dry:
                    break
        return count

    async def _end(self, old: Sequence[Old], now: datetime) -> int:
        ids: list[AssetId] = [one.asset_id for one in old]
        return len(ids) if self._means.dry or not ids else await self._means.books.end(ids, now)

    async def _delete_doomed(self, swept: Swept, now: datetime) -> Swept:
        doomed = await self._means.books.doomed(now - GRACE, BATCH)
        for sha256, length in doomed.items():
            if self._means.dry or await self._delete(sha256, now):
                swept = replace(swept, blobs=swept.blobs + 1, bytes=swept.bytes + length)
        return swept

    async def _delete(self, sha256: str, now: datetime) -> bool:
        return await self._means.books.release(sha256) and await self._means.blobs.delete(sha256, now - GRACE)

    async def _delete_orphans(self, swept: Swept, prefix: str, now: datetime) -> Swept:
        before = now - ORPHANED
        old = {blob.sha256: blob.bytes async for blob in self._means.blobs.found(prefix) if blob.touched < before}
        for sha256 in await self._means.books.unknown(list(old)):
            if self._means.dry or await self._means.blobs.delete(sha256, before):
                swept = replace(swept, orphans=swept.orphans + 1, bytes=swept.bytes + old[sha256])
        return swept

    def _said_at(self) -> str:
        return timestamp(self._means.clock.now())


def first_of(old: Sequence[Old], excess: int) -> tuple[Sequence[Old], int]:
    """Choose as many as free ``excess`` bytes; bytes are free when all pictures that share them are chosen."""
    seen: Counter[str] = Counter()
    freed = 0
    for count, one in enumerate(old, start=1):
        seen[one.sha256] += 1
        if seen[one.sha256] == one.shared:
            freed += one.bytes
        if freed >= excess:
            return old[:count], freed
    return old, freed
