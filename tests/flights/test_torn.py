"""What ends while its flight is being filed, bound or joined: it is on record, and nothing of it is left behind."""

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fakes.script import reply
from tests.flights.airport import GENERATION, airport

TURN = json.dumps(
    {
        "id": "resp_68af4030592c81938ec0a5fbab4a3e9f05",
        "object": "response",
        "status": "completed",
        "model": "chat",
        "output": [],
        "usage": {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7},
    }
).encode()


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Let nobody write to the ledger."""
    database = sqlite3.connect(directory / "data" / "waybill.db", isolation_level=None)
    database.execute("BEGIN IMMEDIATE")
    yield
    database.execute("ROLLBACK")
    database.close()


async def test_a_request_that_is_torn_away_while_its_key_is_filed_is_on_record(tmp_path: Path) -> None:
    async with airport(tmp_path) as all_:
        with locked(tmp_path):
            asking = asyncio.ensure_future(all_.generate(idempotency_key="k"))
            await asyncio.sleep(0.3)
            ending = asyncio.ensure_future(all_.gateway.gateway.airport.flights.close())
            await asyncio.sleep(0.1)
        await ending
        assert (await asking).status_code == 502
        [record] = await all_.records(1)
        assert (record["result"]["status"], "attempts" in record) == (502, False)
        assert all_.upstream.count == 0
        assert [row.state for row in all_.ledger()] == ["done"]


async def test_a_turn_that_is_torn_away_while_it_is_bound_is_settled(tmp_path: Path) -> None:
    async with airport(tmp_path) as all_:
        all_.upstream.play(reply(200, TURN, delay_s=0.3))
        asking = asyncio.ensure_future(all_.post("responses", {"model": "chat", "input": "x"}))
        await all_.upstream.counted(1)
        with locked(tmp_path):
            await asyncio.sleep(0.8)
            ending = asyncio.ensure_future(all_.gateway.gateway.airport.flights.close())
            await asyncio.sleep(0.1)
        await ending
        assert (await asking).status_code == 502
        [record] = await all_.records(1)
        assert [attempt["outcome"] for attempt in record["attempts"]] == ["delivered"]
        [row] = all_.ledger()
        assert row.state == "done"


async def test_who_joined_a_flight_that_is_torn_away_leaves_nothing_behind(tmp_path: Path) -> None:
    async with airport(tmp_path) as all_:
        spool = all_.gateway.gateway.spool
        free = spool.memory_left
        body = {**GENERATION, "prompt": "x" * 30_000}
        asking = [asyncio.ensure_future(all_.post("images/generations", body, idempotency_key="k")) for _ in range(3)]
        await all_.upstream.counted(1)
        await asyncio.sleep(0.1)
        await all_.gateway.gateway.airport.flights.close()
        assert [answer.status_code for answer in await asyncio.gather(*asking)] == [502] * 3
        assert spool.memory_left == free
