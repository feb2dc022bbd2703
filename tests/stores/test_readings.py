"""The operator's readings, on both kinds of database."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from gateway.core.spend import Dimension, UsageQuery
from gateway.ports import LedgerUnavailable
from gateway.ports.readings import RequestQuery, Standing
from gateway.stores.ledger_sql import SqlLedger
from gateway.stores.listing import Reach, find_ids
from gateway.stores.readings import SqlReadings, open_readings
from tests.stores.conftest import beside
from tests.stores.rows import NOON, attempt, request, result, settlement


@pytest.fixture
async def readings(ledger: SqlLedger, url: str) -> AsyncIterator[SqlReadings]:
    """Twelve requests, a minute from each other: owners by turns, every third failed, the last one under way."""
    for number in range(12):
        moment = NOON + timedelta(minutes=number)
        name = (round(moment.timestamp() * 1000) << 80) + number
        owner = "acme" if number % 2 else "other"
        await ledger.begin(replace(request(name), time=moment), attempt(name, owner=owner, channel=owner))
        if number < 11:
            bad = number % 3 == 0
            ended = settlement(
                name, result(name), owner=owner, status=502 if bad else 200, failure="timeout" if bad else None
            )
            tags = {"number": str(number), "parity": str(number % 2)}
            record = {**ended.record, "n": number, "tags": tags, "key_id": f"key_{number % 4}", "team": "blue"}
            await ledger.settle(replace(ended, time=moment, record=record))
    opened = open_readings(url)
    yield opened
    opened.close()


async def numbers(readings: SqlReadings, query: RequestQuery) -> list[object]:
    found: list[object] = []
    while True:
        page = await readings.requests(query)
        found += [record.get("n", "open") for record in page.data]
        if page.next is None:
            return found
        query = replace(query, before=page.next)


@pytest.mark.parametrize("limit", [1, 5, 500])
async def test_every_filter_alone_and_with_others(readings: SqlReadings, limit: int) -> None:
    since, until = NOON + timedelta(minutes=2), NOON + timedelta(minutes=7)
    for query, expected in (
        (RequestQuery(), ["open", *range(10, -1, -1)]),
        (RequestQuery(owner="acme"), ["open", 9, 7, 5, 3, 1]),
        (RequestQuery(channel="direct"), [*range(10, -1, -1)]),
        (RequestQuery(failure="timeout"), [9, 6, 3, 0]),
        (RequestQuery(status=502, owner="acme"), [9, 3]),
        (RequestQuery(status=200, failure="timeout"), []),
        (RequestQuery(key="key_1"), [9, 5, 1]),
        (RequestQuery(key="key_1", owner="other"), []),
        (RequestQuery(tags=("parity=1",)), [9, 7, 5, 3, 1]),
        (RequestQuery(tags=("parity=1", "number=3")), [3]),
        (RequestQuery(tags=("parity=1",), failure="timeout"), [9, 3]),
        (RequestQuery(since=since, until=until), [6, 5, 4, 3, 2]),
        (RequestQuery(since=since, until=until, owner="acme", status=200), [5]),
        (RequestQuery(standing=Standing.OPEN), ["open"]),
        (RequestQuery(standing=Standing.FAILED, owner="other"), [6, 0]),
        (RequestQuery(standing=Standing.INTERRUPTED), []),
        (RequestQuery(model="gpt-image-1", owner="acme", standing=Standing.OPEN), ["open"]),
        (RequestQuery(model="another"), []),
    ):
        assert await numbers(readings, replace(query, limit=limit)) == expected, query


async def test_a_walk_that_ends_goes_on(readings: SqlReadings, url: str) -> None:
    query, found = RequestQuery(owner="acme", status=502), 0
    with beside(url) as connection:
        for _ in range(30):
            ids, before = find_ids(connection, query, Reach(rows=1, entries=2))
            found += len(ids)
            if before is None:
                break
            query = replace(query, before=before)
    assert found == 2


async def test_one_request_and_sums(readings: SqlReadings) -> None:
    page = await readings.requests(RequestQuery(limit=1))
    name = str(page.data[0]["request_id"])
    assert await readings.request(name) == page.data[0]
    assert page.data[0]["state"] == "open"
    assert await readings.request("req_none") is None
    rows = await readings.usage(UsageQuery(by=(Dimension.KEY, Dimension.TEAM)))
    assert [(row.group, row.requests) for row in rows] == [
        (("key_0", "blue"), 3),
        (("key_1", "blue"), 3),
        (("key_2", "blue"), 3),
        (("key_3", "blue"), 2),
    ]


async def test_many_at_once_wait_their_turn(readings: SqlReadings) -> None:
    pages = await asyncio.gather(*(readings.requests(RequestQuery(limit=3)) for _ in range(40)))
    assert {len(page.data) for page in pages} == {3}


async def test_reading_goes_on_while_another_writes(readings: SqlReadings, url: str) -> None:
    with beside(url) as connection:
        connection.exec_driver_sql("UPDATE requests SET team = 'red'")
        assert len((await readings.requests(RequestQuery())).data) == 12


async def test_a_ledger_that_is_gone_is_said_to_be(database: Path) -> None:
    database.parent.mkdir(parents=True)
    database.write_bytes(b"this is no database, whatever it is called" * 100)
    readings = open_readings(f"sqlite:///{database}")
    with pytest.raises(LedgerUnavailable):
        await readings.requests(RequestQuery())
    with pytest.raises(LedgerUnavailable):
        await readings.usage(UsageQuery(by=(Dimension.OWNER,)))
    readings.close()
