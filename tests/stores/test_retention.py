"""How kept pictures end, over a real ledger and real files: in time, in size, and never one that is still wanted."""

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.bodies.spool import Held
from gateway.core.assets import Asset, AssetId, Verdict
from gateway.core.types import ImageFacts, RequestId
from gateway.pictures.retention import GRACE, ORPHANED, Retention, RetentionMeans, Swept
from gateway.ports import AssetQuery, Settlement
from gateway.stores.asset_ends_sql import SqlAssetEnds
from gateway.stores.assets_file import FileBlobs
from gateway.stores.assets_sql import SqlAssets, open_assets
from gateway.stores.ledger_sql import SqlLedger, open_ledger

START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)


@dataclass
class Given:
    """A clock that stands where a test puts it."""

    at: datetime = START

    def monotonic(self) -> float:
        return 0.0

    def now(self) -> datetime:
        return self.at


@dataclass
class House:
    """A ledger, a store, and pictures in both."""

    ledger: SqlLedger
    books: SqlAssets
    blobs: FileBlobs
    clock: Given = field(default_factory=Given)
    count: int = 0

    async def keep(self, sha256: str, ttl: timedelta = DAY, length: int = 100) -> AssetId:
        self.count += 1
        await self.blobs.keep(sha256, Held(b"x" * length), "image/png")
        os.utime(self.blobs.place(sha256), (self.clock.at.timestamp(), self.clock.at.timestamp()))
        asset_id, request_id = AssetId(f"ast_{self.count:032x}"), RequestId(f"req_{self.count:032x}")
        asset = Asset(
            asset_id=asset_id,
            request_id=request_id,
            scope="",
            time=self.clock.at,
            expires=self.clock.at + ttl,
            image=ImageFacts(sha256=sha256, bytes=length, format="png"),
            path=self.blobs.place(sha256),
        )
        settlement = Settlement(
            request_id=request_id,
            time=self.clock.at,
            endpoint="images/generations",
            asked_model="m",
            owner=None,
            channel=None,
            status=200,
            failure=None,
            record={},
            assets=(asset,),
        )
        await self.ledger.settle(settlement)
        return asset_id

    async def sweep(self, most_bytes: int = 10**9, *, dry: bool = False) -> Swept:
        means = RetentionMeans(
            books=SqlAssetEnds(self.books), blobs=self.blobs, clock=self.clock, most_bytes=most_bytes, dry=dry
        )
        return await Retention(means).round()

    async def there(self) -> list[AssetId]:
        return [one.asset_id for one in self.books.pages(AssetQuery())][::-1]

    def on_disk(self, sha256: str) -> bool:
        return Path(self.blobs.place(sha256)).exists()


@pytest.fixture
async def house(url: str, tmp_path: Path) -> AsyncIterator[House]:
    ledger, books, blobs = open_ledger(url, serve=True), open_assets(url), FileBlobs(tmp_path / "assets")
    yield House(ledger=ledger, books=books, blobs=blobs)
    blobs.close()
    books.close()
    ledger.close()


def sha(letter: str) -> str:
    return letter * 64


async def test_a_picture_ends_when_its_time_is_over_and_its_bytes_after_a_grace(house: House) -> None:
    old, new = await house.keep(sha("a")), await house.keep(sha("b"), ttl=3 * DAY)
    house.clock.at += 2 * DAY
    assert (await house.sweep(dry=True)).expired == 1
    assert await house.there() == [old, new]
    assert await house.sweep() == Swept(expired=1)
    assert await house.there() == [new]
    assert house.on_disk(sha("a"))
    house.clock.at += GRACE + timedelta(seconds=1)
    assert await house.sweep() == Swept(blobs=1, bytes=100)
    assert not house.on_disk(sha("a"))
    assert house.on_disk(sha("b"))
    assert await house.sweep() == Swept()


async def test_bytes_stay_while_any_picture_has_them(house: House) -> None:
    await house.keep(sha("a"), ttl=DAY)
    second = await house.keep(sha("a"), ttl=9 * DAY)
    house.clock.at += 2 * DAY
    await house.sweep()
    house.clock.at += DAY
    assert await house.sweep() == Swept()
    assert await house.there() == [second]
    assert house.on_disk(sha("a"))


async def test_bytes_that_are_wanted_again_stay(house: House) -> None:
    first = await house.keep(sha("a"))
    assert await house.books.remove(first, house.clock.at)
    house.clock.at += GRACE * 2
    again = await house.keep(sha("a"))
    assert await house.sweep() == Swept()
    assert await house.there() == [again]
    assert house.on_disk(sha("a"))


async def test_over_its_size_the_oldest_go_first_and_accepted_ones_last(house: House) -> None:
    names = [await house.keep(sha(letter)) for letter in "abcd"]
    await house.books.judge(names[0], Verdict.ACCEPTED, house.clock.at)
    assert (await house.sweep(250, dry=True)).evicted == 2
    assert (await house.sweep(250)).evicted == 2
    assert await house.there() == [names[0], names[3]]
    assert (await house.sweep(150)).evicted == 1
    assert await house.there() == [names[0]]
    assert (await house.sweep(50)).evicted == 1
    assert await house.there() == []


async def test_shared_bytes_count_once_and_are_free_when_all_who_share_them_go(house: House) -> None:
    for _ in range(3):
        await house.keep(sha("a"))
    last = await house.keep(sha("b"))
    assert (await house.sweep(200)).evicted == 0
    assert (await house.sweep(150)).evicted == 3
    assert await house.there() == [last]


async def test_bytes_that_no_book_knows_go_after_a_day(house: House) -> None:
    await house.keep(sha("b"), ttl=9 * DAY)
    await house.blobs.keep(sha("a"), Held(b"orphan"), "image/png")
    os.utime(house.blobs.place(sha("a")), (START.timestamp(), START.timestamp()))
    house.clock.at += timedelta(hours=23)
    assert await house.sweep() == Swept()
    house.clock.at = START + ORPHANED + timedelta(seconds=1)
    assert await house.sweep(dry=True) == Swept(orphans=1, bytes=6)
    assert await house.sweep() == Swept(orphans=1, bytes=6)
    assert not house.on_disk(sha("a"))
    assert house.on_disk(sha("b"))


async def test_a_verdict_is_on_its_request_and_outlives_the_picture(house: House) -> None:
    name = await house.keep(sha("a"))
    assert await house.books.judge(name, Verdict.REJECTED, house.clock.at)
    assert await house.books.judge(name, Verdict.ACCEPTED, house.clock.at)
    assert not await house.books.judge("ast_none", Verdict.ACCEPTED, house.clock.at)
    house.clock.at += 2 * DAY
    await house.sweep()
    assert not await house.books.judge(name, None, house.clock.at)
    rows = house.books.read(
        lambda connection: connection.exec_driver_sql(
            "SELECT requests.verdict, assets.verdict, gone_us FROM requests JOIN assets USING (request_id)"
        ).all()
    )
    ((whole, own, gone_us),) = rows
    assert (whole, own) == ("accepted", "accepted")
    assert gone_us is not None


async def test_a_page_of_several_filters_says_where_to_go_on_when_it_looked_far_enough(house: House) -> None:
    names = [await house.keep(sha(letter)) for letter in "abcd"]
    await house.books.judge(names[0], Verdict.REJECTED, house.clock.at)
    page = await house.books.page(AssetQuery(scope="", model="other", limit=2))
    assert (list(page.data), page.next) == ([], None)
    first = await house.books.page(AssetQuery(scope="", limit=3))
    rest = await house.books.page(AssetQuery(scope="", limit=3, before=first.next))
    assert [one.asset_id for one in (*first.data, *rest.data)] == names[::-1]
    assert (len(first.data), first.next, rest.next) == (3, names[1], None)
    assert [one.asset_id for one in (await house.books.page(AssetQuery(verdict=Verdict.REJECTED, scope=""))).data] == [
        names[0]
    ]
