"""Keeps what was delivered: the picture into the store, its facts and its lineage onto the record.

Rules: a picture is in the store before its request is settled; the store has ``WAIT_S`` for it. One that the store does
not take in time is no error for the client: its bytes go to a shelf on this machine's disk and are tried again until
they are in, also after a restart. When the disk is nearly full nothing is kept, so that the ledger can write on. What a
request brought along is looked up among its own caller's pictures only. Must never change an answer.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Protocol

from msgspec import Struct
from msgspec.structs import replace

from gateway.core.assets import Asset, AssetId, given_hashes, media_type_of, parents_of, with_ids
from gateway.core.record import Record, timestamp
from gateway.core.signing import Signer
from gateway.core.types import Facts, ImageFacts
from gateway.ports import (
    AssetBooks,
    Blobs,
    Clock,
    Events,
    Job,
    LedgerUnavailable,
    NoRoom,
    Picture,
    Replayable,
    StoreUnavailable,
)

WAIT_S: Final = 4.0  # for the store, of a request that is otherwise over
RETRY_S: Final = 10.0


class Fate(StrEnum):
    """What became of a picture that was to be kept."""

    KEPT = "kept"
    LATE = "late"  # put in the store by a later try
    MISSING = "missing"  # not in the store when its request ended; it is tried again
    NO_ROOM = "no_room"  # the rest of the disk is the ledger's
    LOST = "lost"  # neither the store nor the disk took it


class Shelf(Blobs, Protocol):
    """A store on this machine that gives its blobs as bodies, so that another store can take them."""

    def body(self, sha256: str) -> Replayable:
        """Give a blob as a body."""
        ...


class Kept(Struct, frozen=True, kw_only=True):
    """What a request's pictures have become. ``known``: the caller's assets, by the hashes of what was given."""

    assets: tuple[Asset | None, ...] = ()
    known: Mapping[str, Sequence[AssetId]]

    @property
    def links(self) -> tuple[str | None, ...]:
        """Give the address of each picture; ``None`` for one that cannot be had there now."""
        return tuple([None if one is None or not one.is_stored else one.url for one in self.assets])

    def onto(self, record: Record) -> Record:
        """Write it onto the record."""
        facts = record.facts
        return replace(
            record,
            facts=None if facts is None else with_ids(facts, self.known),
            result=replace(record.result, assets=self.assets),
        )


NOTHING_KEPT: Final = Kept(known={})


class KeeperMeans(Struct, frozen=True, kw_only=True):
    """What the keeper works with. ``ttl``: how long a picture is kept; ``public_url``: how clients reach us."""

    blobs: Blobs
    shelf: Shelf
    books: AssetBooks
    signer: Callable[[], Signer]
    clock: Clock
    events: Events
    new_asset_id: Callable[[], AssetId]
    ttl: timedelta
    public_url: str | None = None


class _Storing(Struct, eq=False):
    """A picture on its way into the store. ``fate`` is what its request is told, perhaps before it is there."""

    image: ImageFacts
    body: Replayable
    fate: asyncio.Future[Fate]


def _give_up(storing: Iterable[_Storing]) -> None:
    for one in storing:
        if not one.fate.done():
            one.fate.set_result(Fate.MISSING)


class Keeper:
    """Keeps pictures. One instance serves all requests of the process."""

    def __init__(self, means: KeeperMeans, *, wait_s: float = WAIT_S) -> None:
        self._means = means
        self._wait_s = wait_s
        self._under_way: dict[asyncio.Future[None], _Storing] = {}
        self._chores: set[asyncio.Future[None]] = set()
        self._nudged = asyncio.Event()
        self.fates: Counter[Fate] = Counter()

    async def keep(self, job: Job, pictures: Sequence[Picture]) -> Kept:
        """Keep the pictures of one answer; takes their bodies over. Never raises for what a store may do."""
        storing = self._store_all(pictures)
        known = await self._known(job, job.facts)
        fates = await self._fates(storing) if storing else {}
        return Kept(
            assets=tuple([self._asset(job, one.image, fates.get(one.image.sha256), known) for one in pictures]),
            known=known,
        )

    async def keep_new(self, job: Job, pictures: Sequence[Picture]) -> tuple[Kept, list[ImageFacts]]:
        """Keep those that the caller has not, as ``keep`` does: what is asked for again is not another picture.

        Gives what they have become, and which of them those are.
        """
        try:
            known = await self._means.books.known(job.principal.scope, [one.image.sha256 for one in pictures])
        except LedgerUnavailable:
            known = {}
        fresh = [one for one in pictures if one.image.sha256 not in known]
        for one in pictures:
            if one.image.sha256 in known and one.body is not None:
                one.body.close()
        return await self.keep(job, fresh), [one.image for one in fresh]

    def url(self, asset: Asset, origin: str = "") -> str | None:
        """Give the address at which a picture can be had until it expires; ``origin``: how we are reached."""
        return self._address(asset.asset_id, asset.expires, origin)

    @property
    def counts(self) -> Mapping[str, int]:
        """Count what became of pictures, by the words of ``Fate``."""
        return {fate.value: self.fates[fate] for fate in Fate}

    async def run(self) -> None:
        """Try again what the store did not take, until cancelled."""
        while True:
            await self._retry()
            self._nudged.clear()
            try:
                async with asyncio.timeout(RETRY_S):
                    await self._nudged.wait()
            except TimeoutError:
                continue

    async def close(self) -> None:
        """Wait for what is being stored now; what is not stored in time goes to the shelf, for the next start."""
        for works in (self._under_way, self._chores):
            if works:
                _, late = await asyncio.wait(works, timeout=self._wait_s)
                for work in late:
                    work.cancel()
                await asyncio.gather(*late, return_exceptions=True)
        while self._chores:  # what they left behind
            await asyncio.wait(self._chores)

    def nudge(self) -> None:
        """Try again now."""
        self._nudged.set()

    async def _known(self, job: Job, facts: Facts) -> Mapping[str, Sequence[AssetId]]:
        hashes = given_hashes(facts)
        try:
            return await self._means.books.known(job.principal.scope, hashes) if hashes else {}
        except LedgerUnavailable:
            return {}

    def _store_all(self, pictures: Sequence[Picture]) -> dict[str, _Storing]:
        storing: dict[str, _Storing] = {}
        for one in pictures:
            if one.body is None:
                continue
            if one.image.sha256 in storing:
                one.body.close()
            else:
                storing[one.image.sha256] = self._begin(one.image, one.body)
        return storing

    def _begin(self, image: ImageFacts, body: Replayable) -> _Storing:
        """Have the store take one picture, which is given back when it has."""
        storing = _Storing(image=image, body=body, fate=asyncio.get_running_loop().create_future())
        work = asyncio.ensure_future(self._means.blobs.keep(image.sha256, body, media_type_of(image)))
        self._under_way[work] = storing
        work.add_done_callback(self._stored)
        return storing

    async def _fates(self, storing: Mapping[str, _Storing]) -> dict[str, Fate]:
        """Say what becomes of pictures, of the slow ones that they are not there yet."""
        alarm = asyncio.get_running_loop().call_later(self._wait_s, _give_up, storing.values())
        try:
            return {sha256: await one.fate for sha256, one in storing.items()}
        finally:
            alarm.cancel()

    def _stored(self, work: asyncio.Future[None]) -> None:
        """Take what the store says of a picture; what it does not take goes onto the shelf."""
        storing = self._under_way.pop(work)
        refused = StoreUnavailable("stopped") if work.cancelled() else work.exception()
        if refused is None:
            self.fates[Fate.KEPT] += 1
            self._end(storing, Fate.KEPT)
        elif isinstance(refused, NoRoom):
            self._end(storing, self._told(Fate.NO_ROOM, storing.image.sha256, "no_room"))
        elif isinstance(refused, StoreUnavailable):
            self._chore(self._shelve(storing, str(refused)))
        else:
            storing.body.close()
            storing.fate.set_exception(refused)

    async def _shelve(self, storing: _Storing, why: str) -> None:
        sha256 = storing.image.sha256
        try:
            await self._means.shelf.keep(sha256, storing.body, media_type_of(storing.image))
        except StoreUnavailable:
            self._end(storing, self._told(Fate.LOST, sha256, why))
        else:
            self._end(storing, self._told(Fate.MISSING, sha256, why))

    def _end(self, storing: _Storing, fate: Fate) -> None:
        storing.body.close()
        if not storing.fate.done():
            storing.fate.set_result(fate)
        elif fate is Fate.KEPT:  # its request was settled without it
            self._chore(self._note_late(storing.image.sha256))

    def _chore(self, work: Coroutine[None, None, None]) -> None:
        """Do what no request waits for itself."""
        task = asyncio.ensure_future(work)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)

    def _told(self, fate: Fate, sha256: str, reason: str) -> Fate:
        self.fates[fate] += 1
        self._means.events.emit(
            {
                "event": "asset.not_stored",
                "time": timestamp(self._means.clock.now()),
                "sha256": sha256,
                "fate": fate,
                "reason": reason,
            }
        )
        return fate

    async def _note_late(self, sha256: str) -> None:
        try:
            await self._means.books.stored(sha256, self._means.clock.now())
        except LedgerUnavailable:
            return  # the next round of the retention job looks for itself
        self.fates[Fate.LATE] += 1

    def _asset(
        self, job: Job, image: ImageFacts, fate: Fate | None, known: Mapping[str, Sequence[AssetId]]
    ) -> Asset | None:
        if fate not in (Fate.KEPT, Fate.MISSING):
            return None
        asset_id, expires = self._means.new_asset_id(), self._means.clock.now() + self._means.ttl
        return Asset(
            asset_id=asset_id,
            request_id=job.request_id,
            scope=job.principal.scope,
            time=job.time,
            expires=expires,
            image=image,
            path=self._means.blobs.place(image.sha256),
            model=job.facts.asked_model or job.default_model,
            url=self._address(asset_id, expires, job.origin),
            is_stored=fate is Fate.KEPT,
            parents=parents_of(job.facts, known),
        )

    def _address(self, asset_id: AssetId, expires: datetime, origin: str) -> str | None:
        base = self._means.public_url or origin
        try:
            token = self._means.signer().sign(asset_id, expires)
        except LedgerUnavailable:  # no key was ever read: nothing can be signed, and nothing is lost
            return None
        return f"{base.rstrip('/')}/assets/{token}" if base else None

    async def _retry(self) -> None:
        """Bring what lies on the shelf into the store, until the store refuses."""
        shelf = self._means.shelf
        try:
            async for blob in shelf.found(""):
                await self._means.blobs.keep(blob.sha256, shelf.body(blob.sha256), "application/octet-stream")
                await self._means.books.stored(blob.sha256, self._means.clock.now())
                await shelf.delete(blob.sha256)
                self.fates[Fate.LATE] += 1
        except (StoreUnavailable, LedgerUnavailable):
            return
