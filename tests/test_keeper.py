"""The keeper between a store, a shelf and the books, any of which may be slow, full or away."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.bodies.spool import Held, Spool, SpooledBody
from gateway.core.assets import Asset, AssetId, Verdict
from gateway.core.principal import Principal
from gateway.core.signing import KEY_BYTES, Signer
from gateway.core.types import (
    BodyMap,
    Directives,
    Facts,
    ImageFacts,
    InputFacts,
    InputRole,
    JsonObject,
    RequestId,
    Surface,
)
from gateway.pictures.keeper import Fate, Keeper, KeeperMeans
from gateway.ports import AssetPage, AssetQuery, Job, LedgerUnavailable, NoRoom, Picture, Replayable, StoreUnavailable
from gateway.stores.assets_file import FileBlobs

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
DATA = b"a picture" * 1000
SHA = hashlib.sha256(DATA).hexdigest()
IMAGE = ImageFacts(sha256=SHA, bytes=len(DATA), format="png")


class Moment:
    def monotonic(self) -> float:
        return 0.0

    def now(self) -> datetime:
        return NOW


@dataclass
class Books:
    """Remembers what it was told; ``away``: nobody answers."""

    mine: Mapping[str, Sequence[AssetId]] = field(default_factory=dict)
    away: bool = False
    asked: list[tuple[str, Sequence[str]]] = field(default_factory=list)
    late: list[str] = field(default_factory=list)

    async def known(self, scope: str, hashes: Sequence[str]) -> Mapping[str, Sequence[AssetId]]:
        if self.away:
            raise LedgerUnavailable("away")
        self.asked.append((scope, hashes))
        return self.mine

    async def stored(self, sha256: str, at: datetime) -> None:
        if self.away:
            raise LedgerUnavailable("away")
        self.late.append(sha256)

    async def find(self, asset_id: str) -> Asset | None:
        raise NotImplementedError

    async def children(self, ids: Sequence[str]) -> Mapping[str, Sequence[AssetId]]:
        raise NotImplementedError

    async def page(self, query: AssetQuery) -> AssetPage:
        raise NotImplementedError

    async def judge(self, asset_id: str, verdict: Verdict | None, at: datetime) -> bool:
        raise NotImplementedError

    async def remove(self, asset_id: str, at: datetime) -> bool:
        raise NotImplementedError


class Store(FileBlobs):
    """A store that waits, or raises, before it does as it should."""

    trouble: StoreUnavailable | None = None
    gate: asyncio.Event | None = None

    async def keep(self, sha256: str, body: Replayable, media_type: str) -> None:
        if self.gate is not None:
            await self.gate.wait()
        if self.trouble is not None:
            raise self.trouble
        await super().keep(sha256, body, media_type)


@dataclass
class Log:
    lines: list[JsonObject] = field(default_factory=list)

    def emit(self, event: JsonObject) -> None:
        self.lines.append(event)


@dataclass
class House:
    store: Store
    shelf: Store
    spool: Spool
    books: Books = field(default_factory=Books)
    log: Log = field(default_factory=Log)
    count: int = 0

    def keeper(self, wait_s: float = 5.0) -> Keeper:
        means = KeeperMeans(
            blobs=self.store,
            shelf=self.shelf,
            books=self.books,
            signer=lambda: Signer([b"k" * KEY_BYTES]),
            clock=Moment(),
            events=self.log,
            new_asset_id=self.new_id,
            ttl=timedelta(days=1),
            public_url="https://images.example.com/base",
        )
        return Keeper(means, wait_s=wait_s)

    def new_id(self) -> AssetId:
        self.count += 1
        return AssetId(f"ast_{self.count:032x}")

    def picture(self) -> Picture:
        body = SpooledBody(self.spool, 64)
        body.append(DATA)
        body.seal()
        lease = body.lease()
        body.close()
        return Picture(image=IMAGE, body=lease)

    def left_in_spool(self, folder: Path) -> int:
        return len(list((folder / "spool").iterdir()))


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    yield House(store=Store(tmp_path / "assets"), shelf=Store(tmp_path / "late"), spool=Spool(tmp_path / "spool"))
    assert list((tmp_path / "spool").iterdir()) == []  # every body was given back


def job(*given: InputFacts) -> Job:
    return Job(
        request_id=RequestId("req_1"),
        time=NOW,
        started=0.0,
        facts=Facts(surface=Surface.EDITS, asked_model="m", inputs=given),
        directives=Directives(),
        body=Held(b""),
        body_map=BodyMap(content_type="application/json", length=0, model=None, insert_at=0),
        prompt="",
        origin="http://elsewhere",
        principal=Principal(key_id="key_1"),
    )


async def test_a_picture_that_is_kept_has_an_address_at_the_public_url(house: House) -> None:
    kept = await house.keeper().keep(job(), [house.picture()])
    (asset,) = kept.assets
    assert asset is not None
    assert (asset.scope, asset.request_id, asset.expires) == ("key_1", "req_1", NOW + timedelta(days=1))
    assert asset.url is not None
    assert asset.url.startswith("https://images.example.com/base/assets/")
    assert kept.links == (asset.url,)


async def test_two_pictures_of_the_same_bytes_are_two_assets_of_one_blob(house: House) -> None:
    pictures = [house.picture(), Picture(image=IMAGE, body=None), house.picture()]
    kept = await house.keeper().keep(job(), pictures)
    assert [one is not None and one.asset_id for one in kept.assets] == [f"ast_{at:032x}" for at in (1, 2, 3)]


async def test_a_slow_store_is_waited_for_a_while_and_told_of_later(house: House) -> None:
    house.store.gate = asyncio.Event()
    keeper = house.keeper(wait_s=0.05)
    kept = await keeper.keep(job(), [house.picture()])
    (asset,) = kept.assets
    assert asset is not None
    assert not asset.is_stored
    assert kept.links == (None,)
    house.store.gate.set()
    await keeper.close()
    await keeper.close()
    assert await house.store.size(SHA) == len(DATA)
    assert house.books.late == [SHA]
    assert keeper.counts["late"] == 1


async def test_what_is_not_stored_when_the_process_ends_waits_for_the_next_one(house: House) -> None:
    house.store.gate = asyncio.Event()
    keeper = house.keeper(wait_s=0.05)
    await keeper.keep(job(), [house.picture()])
    await keeper.close()
    assert await house.store.size(SHA) is None
    assert await house.shelf.size(SHA) == len(DATA)


async def test_what_the_store_refuses_waits_on_the_shelf_until_it_takes_it(house: House) -> None:
    house.store.trouble = StoreUnavailable("down")
    keeper = house.keeper()
    (asset,) = (await keeper.keep(job(), [house.picture()])).assets
    assert asset is not None
    assert not asset.is_stored
    assert house.log.lines[0]["fate"] == Fate.MISSING
    running = asyncio.ensure_future(keeper.run())
    await asyncio.sleep(0.05)
    assert await house.shelf.size(SHA) == len(DATA)
    house.store.trouble = None
    async with asyncio.timeout(5):
        while not house.books.late:
            keeper.nudge()
            await asyncio.sleep(0.01)
        while await house.shelf.size(SHA) is not None:  # noqa: ASYNC110 - what is waited for is a file
            await asyncio.sleep(0.01)
    running.cancel()
    assert await house.store.size(SHA) == len(DATA)


async def test_what_nobody_takes_is_lost_and_said_to_be(house: House) -> None:
    house.store.trouble = house.shelf.trouble = StoreUnavailable("down")
    keeper = house.keeper()
    assert (await keeper.keep(job(), [house.picture()])).assets == (None,)
    assert keeper.counts["lost"] == 1


async def test_the_ledgers_disk_is_not_filled_from_the_shelf_either(house: House) -> None:
    house.store.trouble = NoRoom("full")
    keeper = house.keeper()
    assert (await keeper.keep(job(), [house.picture()])).assets == (None,)
    assert await house.shelf.size(SHA) is None
    assert keeper.counts["no_room"] == 1


async def test_given_pictures_are_looked_up_for_their_own_caller_only(house: House) -> None:
    names = (AssetId("ast_new"), AssetId("ast_old"))
    house.books.mine = {SHA: names}
    given = InputFacts(role=InputRole.IMAGE, source="upload", image=IMAGE)
    kept = await house.keeper().keep(job(given), [house.picture()])
    assert house.books.asked == [("key_1", (SHA,))]
    assert kept.assets[0] is not None
    assert [parent.asset_id for parent in kept.assets[0].parents] == list(names)


async def test_books_that_are_away_cost_lineage_and_nothing_else(house: House) -> None:
    house.books.away = True
    given = InputFacts(role=InputRole.IMAGE, source="upload", image=IMAGE)
    (asset,) = (await house.keeper().keep(job(given), [house.picture()])).assets
    assert asset is not None
    assert asset.is_stored
    assert asset.parents == ()
