"""What flights saved and lost, in the sums of usage: told of the request that bought, the same on every server."""

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from tests.fakes.gateway import NO_TLS, running_gateway
from tests.fakes.script import reply
from tests.fakes.upstream import FakeUpstream
from tests.flights.airport import Airport, routes, slow
from tests.servers.postgres import Postgres

NAMES = ("requests", "rescued_images", "rescued_micro", "lost_requests", "lost_micro")
CENTS = {"unit": "per_image", "amount": 0.05, "currency": "USD"}
LATE = reply(504, {"error": {"message": "late"}}, delay_s=0.2)


def priced(upstream: FakeUpstream, window: str, database: str, pictures: Path) -> str:
    document = yaml.safe_load(routes(upstream, window))
    for row in document["channels"]["A"]["rows"].values():
        row["price"] = CENTS
    return yaml.safe_dump({**document, "storage": {"database": database, "assets": f"file:{pictures}"}})


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'waybill.db'}"
    return str(request.getfixturevalue("postgres").new_database())


@asynccontextmanager
async def servers(
    directory: Path, database: str, *, count: int = 1, window: str = "off"
) -> AsyncIterator[list[Airport]]:
    async with AsyncExitStack() as running:
        upstream = await running.enter_async_context(FakeUpstream(key="sk-A", default=slow(0.3)))
        client = await running.enter_async_context(httpx2.AsyncClient(timeout=30, trust_env=False, verify=NO_TLS))
        file = priced(upstream, window, database, directory / "pictures")
        found = []
        for number in range(count):
            gateway = await running.enter_async_context(running_gateway(file, directory / str(number)))
            found.append(Airport(gateway=gateway, upstream=upstream, client=client, directory=directory))
        yield found


async def usage(at: Airport, by: str = "owner") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await at.client.get(f"{at.gateway.url}/api/usage?by={by}")).json()["data"]
    return found


async def told(at: Airport, *expected: int, by: str = "owner") -> None:
    """Wait until usage says so: a figure is written a moment after its answer is."""
    seen: list[object] = []
    for _ in range(300):
        seen = [row[name] for row in await usage(at, by) if row[by] is not None for name in NAMES]
        if seen == list(expected):
            return
        await asyncio.sleep(0.02)
    raise AssertionError(seen)


async def left(at: Airport, records: int) -> None:
    """Leave a request behind, and wait until it has landed."""
    await at.leave_behind()
    await at.records(records)


async def test_a_picture_that_was_left_and_fetched_is_rescued(tmp_path: Path, database: str) -> None:
    async with servers(tmp_path, database) as [at]:
        assert (await at.generate()).status_code == 200
        await told(at, 1, 0, 0, 0, 0)
        await left(at, 2)
        assert (await at.generate()).status_code == 200
        await told(at, 2, 1, 50_000, 0, 0)
        assert at.upstream.count == 2
        text = (await at.client.get(f"{at.gateway.url}/metrics")).text
        assert "waybill_pictures_rescued_total 1.0" in text
        assert 'waybill_money_rescued_total{currency="USD"} 0.05' in text
        await told(at, 3, 1, 50_000, 0, 0, by="day")  # the answer that was given again is a request too


async def test_who_comes_back_after_the_window_counts_once(tmp_path: Path, database: str) -> None:
    async with servers(tmp_path, database, window="100ms") as [at]:
        key = {"idempotency-key": "order-1"}
        answers = [await at.generate(**key) for _ in range(5)]
        assert {answer.status_code for answer in answers} == {200, 503}
        await told(at, 1, 1, 50_000, 0, 0)
        assert at.upstream.count == 1


async def test_what_has_no_answer_is_lost_and_never_rescued(tmp_path: Path, database: str) -> None:
    async with servers(tmp_path, database) as [at]:
        at.upstream.play(LATE, LATE)
        assert (await at.generate()).status_code == 504
        await told(at, 1, 0, 0, 1, 50_000)
        await left(at, 2)
        assert (await at.generate()).status_code == 504
        await told(at, 2, 0, 0, 2, 100_000)
        text = (await at.client.get(f"{at.gateway.url}/metrics")).text
        assert "waybill_flights_rescued_total 0.0" in text
        assert "waybill_money_rescued_total{" not in text


async def test_a_table_has_the_figures_too(tmp_path: Path, database: str) -> None:
    async with servers(tmp_path, database) as [at]:
        await left(at, 1)
        await at.generate()
        await told(at, 1, 1, 50_000, 0, 0)
        table = await at.client.get(f"{at.gateway.url}/api/usage", headers={"accept": "text/csv"})
        rows = [row for row in csv.DictReader(io.StringIO(table.text.lstrip("\ufeff"))) if row["owner"]]
        assert [[row[name] for name in NAMES] for row in rows] == [["1", "1", "50000", "0", "0"]]


@pytest.mark.parametrize("keyed", [False, True])
async def test_what_the_other_server_gives_is_rescued_for_the_one_that_bought(
    tmp_path: Path, postgres: Postgres, keyed: bool
) -> None:
    async with servers(tmp_path, postgres.new_database(), count=2) as [one, other]:
        headers = {"idempotency-key": "order-1"} if keyed else {}
        await one.leave_behind(**headers)
        await one.records(1)
        answer = await other.generate(**headers, x_stainless_retry_count="1")
        assert json.loads(answer.content)["data"]
        assert one.upstream.count == 1
        for server in (one, other):
            await told(server, 1, 1, 50_000, 0, 0)
        again = await other.generate(**headers)
        assert again.status_code == 200
        await told(one, 1 if keyed else 2, 1, 50_000, 0, 0)
