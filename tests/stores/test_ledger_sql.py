import asyncio
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from gateway.core.types import JsonObject
from gateway.ports import LedgerUnavailable, LogQuery
from gateway.stores.ledger_sql import SqlLedger, open_ledger
from gateway.stores.place import Place
from gateway.stores.reader import LogRow, Reader
from gateway.stores.refusals import LedgerBusy, LedgerRefused
from tests.stores.conftest import locked
from tests.stores.rows import NOON, attempt, attempt_id, request, request_id, result, settlement


def row(reader: Reader, number: int) -> LogRow:
    found = reader.find(request_id(number))
    assert found is not None
    return found


def never_sent(reader: Reader, number: int) -> bool:
    """Whether a begin that nobody waited for left nothing, or was corrected: a server may have had it in hand."""
    found = reader.find(request_id(number))
    return found is None or [(tried.outcome, tried.detail) for tried in found.attempts] == [
        ("not_sent", "ledger_timeout")
    ]


async def test_an_intent_is_visible_as_soon_as_begin_returns(ledger: SqlLedger, reader: Reader) -> None:
    await ledger.begin(request(1), attempt(1))
    seen = row(reader, 1)
    assert (seen.state, seen.owner, seen.channel, seen.record, seen.config_version) == (
        "open",
        "acme",
        "direct",
        None,
        "c1",
    )
    assert seen.time == NOON
    (tried,) = seen.attempts
    assert (tried.state, tried.outcome, tried.n, tried.region) == ("sent", None, 1, "eu")
    assert tried.started == NOON


async def test_a_settlement_ends_the_request_and_every_attempt(ledger: SqlLedger, reader: Reader) -> None:
    await ledger.begin(request(1), attempt(1))
    await ledger.begin(None, attempt(1, 2, owner="beta", channel="spare"))
    assert (row(reader, 1).owner, row(reader, 1).channel) == ("beta", "spare")
    record: JsonObject = {"request_id": request_id(1), "usage": {"total_tokens": 7}}
    lost = result(1, 1, failure="connection_lost", outcome="unknown")
    await ledger.settle(settlement(1, lost, result(1, 2), owner="beta", record=record))
    seen = row(reader, 1)
    assert (seen.state, seen.status, seen.failure, seen.owner, seen.record) == ("done", 200, None, "beta", record)
    assert [(tried.state, tried.outcome, tried.failure, tried.detail) for tried in seen.attempts] == [
        ("ended", "unknown", "connection_lost", "reset"),
        ("ended", "delivered", None, None),
    ]


async def test_a_request_refused_before_routing_gets_its_row(ledger: SqlLedger, reader: Reader) -> None:
    await ledger.settle(settlement(1, status=400, owner=None))
    seen = row(reader, 1)
    assert (seen.state, seen.status, seen.attempts, seen.config_version) == ("done", 400, (), None)


async def test_the_first_settlement_stands(ledger: SqlLedger, reader: Reader) -> None:
    await ledger.begin(request(1), attempt(1))
    await ledger.settle(settlement(1, result(1)))
    before = row(reader, 1)
    await ledger.settle(settlement(1, result(1)))
    await ledger.settle(settlement(1, result(1, failure="timeout", outcome="unknown"), status=504, failure="timeout"))
    assert row(reader, 1) == before


@pytest.mark.parametrize(
    "usage",
    [10**30, -(2**63) - 1, 10**6000, "\ud800", float("nan")],
    ids=["long", "negative", "very long", "half a character", "not a number"],
)
async def test_no_odd_value_in_a_record_loses_the_settlement(
    ledger: SqlLedger, reader: Reader, usage: float | str
) -> None:
    await ledger.begin(request(1), attempt(1))
    await ledger.settle(settlement(1, result(1), record={"usage": {"odd": usage}}))
    assert row(reader, 1).state == "done"


async def test_200_at_once_are_all_written_and_share_transactions(ledger: SqlLedger, reader: Reader, url: str) -> None:
    async def whole(number: int) -> None:
        await ledger.begin(request(number), attempt(number))
        await ledger.settle(settlement(number, result(number)))

    with locked(url):
        tasks = [asyncio.ensure_future(whole(number)) for number in range(200)]
        await asyncio.sleep(0.05)
    await asyncio.gather(*tasks)
    assert ledger.commits <= 10
    seen = reader.page(LogQuery(limit=500))
    assert [line.request_id for line in seen] == [request_id(number) for number in reversed(range(200))]
    assert {line.state for line in seen} == {"done"}
    assert {tried.state for line in seen for tried in line.attempts} == {"ended"}


async def test_a_command_the_database_refuses_fails_alone(ledger: SqlLedger, reader: Reader, url: str) -> None:
    await ledger.begin(request(1), attempt(1))
    with locked(url):
        begins = [ledger.begin(request(number), attempt(number)) for number in (1, 2, 3)]
        orphan = ledger.begin(None, attempt(99, 2))
        together = asyncio.gather(*begins, orphan, ledger.settle(settlement(1, result(1))), return_exceptions=True)
        await asyncio.sleep(0.05)
    outcomes = await together
    assert [type(outcome) for outcome in outcomes] == [
        LedgerUnavailable,
        type(None),
        type(None),
        LedgerUnavailable,
        type(None),
    ]
    assert [row(reader, number).state for number in (1, 2, 3)] == ["done", "open", "open"]
    assert reader.find(request_id(99)) is None


async def test_a_number_the_database_cannot_hold_fails_alone(ledger: SqlLedger, reader: Reader, url: str) -> None:
    with locked(url):
        together = asyncio.gather(
            ledger.settle(settlement(1, status=2**70)), ledger.settle(settlement(2)), return_exceptions=True
        )
        await asyncio.sleep(0.05)
    first, second = await together
    assert isinstance(first, LedgerUnavailable)
    assert second is None
    assert ledger.unwritten == 0
    assert row(reader, 2).state == "done"


async def test_commands_wait_while_another_process_holds_the_lock(ledger: SqlLedger, reader: Reader, url: str) -> None:
    with locked(url):
        waiting = asyncio.ensure_future(ledger.begin(request(1), attempt(1)))
        await asyncio.sleep(1.0)
        assert not waiting.done()
    await waiting
    assert row(reader, 1).state == "open"


async def test_a_begin_that_timed_out_leaves_nothing_and_a_settlement_arrives_late(
    hasty: SqlLedger, reader: Reader, url: str
) -> None:
    await hasty.begin(request(1), attempt(1))
    with locked(url):
        together = asyncio.gather(
            hasty.begin(request(2), attempt(2)), hasty.settle(settlement(1, result(1))), return_exceptions=True
        )
        outcomes = await together
        assert [str(outcome) for outcome in outcomes] == ["the ledger did not commit within 0.4 s"] * 2
        assert hasty.unwritten <= 1
    await hasty.begin(request(3), attempt(3))
    await soon(lambda: row(reader, 1).state == "done")
    await soon(lambda: never_sent(reader, 2))


async def soon(holds: Callable[[], bool]) -> None:
    """Wait until something holds: on a server several threads write, each in its own time."""
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - there is nobody to say so
            await asyncio.sleep(0.02)


async def test_a_cancelled_begin_is_not_written(hasty: SqlLedger, reader: Reader, url: str) -> None:
    with locked(url):
        leaving = asyncio.ensure_future(hasty.begin(request(1), attempt(1)))
        await asyncio.sleep(0.05)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
    await hasty.begin(request(2), attempt(2))
    await soon(lambda: never_sent(reader, 1))


async def test_a_cancelled_settlement_is_written(hasty: SqlLedger, reader: Reader, url: str) -> None:
    await hasty.begin(request(1), attempt(1))
    with locked(url):
        leaving = asyncio.ensure_future(hasty.settle(settlement(1, result(1))))
        await asyncio.sleep(0.05)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
    await hasty.begin(request(2), attempt(2))
    await soon(lambda: row(reader, 1).state == "done")


def test_every_connection_syncs_each_commit(ledger: SqlLedger, database: Path) -> None:
    with ledger._writer._trunk.engine.connect() as connection:
        values = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert values == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 250}


def test_only_its_owner_may_read_the_database(ledger: SqlLedger, database: Path) -> None:
    modes = {path.name: path.stat().st_mode & 0o777 for path in database.parent.iterdir()}
    assert set(modes.values()) == {0o600}, modes


async def test_recover_marks_what_an_earlier_run_left(url: str, reader: Reader) -> None:
    first = open_ledger(url, serve=True)
    await first.begin(request(1), attempt(1))
    await first.settle(settlement(1, result(1)))
    await first.begin(request(2), attempt(2))
    await first.begin(None, attempt(2, 2))
    first.close()
    second = open_ledger(url, serve=True)
    assert second.recover() == 1
    assert second.recover() == 0
    assert row(reader, 1).state == "done"
    left = row(reader, 2)
    assert (left.state, left.record) == ("interrupted", None)
    assert [(tried.state, tried.outcome) for tried in left.attempts] == [("interrupted", "unknown")] * 2
    await second.begin(request(3), attempt(3))
    with pytest.raises(RuntimeError):
        second.recover()
    second.close()


async def test_only_a_server_recovers(ledger: SqlLedger, url: str, reader: Reader) -> None:
    await ledger.begin(request(1), attempt(1))
    beside = open_ledger(url, serve=False)
    with pytest.raises(RuntimeError):
        beside.recover()
    beside.close()
    assert row(reader, 1).state == "open"


def test_a_second_server_is_refused_by_the_first_ones_pid(ledger: SqlLedger, url: str, database: Path) -> None:
    with pytest.raises(LedgerBusy, match=f"process {os.getpid()}") as refused:
        open_ledger(url, serve=True)
    assert refused.value.pid == os.getpid()
    ledger.close()
    open_ledger(url, serve=True).close()


async def test_a_closed_ledger_refuses_and_closing_twice_is_harmless(ledger: SqlLedger) -> None:
    assert ledger.close() == 0
    assert ledger.close() == 0
    with pytest.raises(LedgerUnavailable, match="closed"):
        await ledger.begin(request(1), attempt(1))


async def test_close_writes_what_waits(url: str, reader: Reader) -> None:
    ledger = open_ledger(url, serve=True)
    settling = [asyncio.ensure_future(ledger.settle(settlement(number))) for number in range(20)]
    await asyncio.sleep(0)
    assert ledger.close() == 0
    await asyncio.gather(*settling)
    assert len(reader.page(LogQuery())) == 20


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ("nonsense", "not a URL"),
        ("sqlite://", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
        ("sqlite:///file:x?uri=true", "needs a file"),
        ("mysql://u:secret@h/d", "not something this version knows"),
    ],
)
def test_a_url_that_names_no_file_is_refused_without_repeating_it(bad: str, says: str) -> None:
    with pytest.raises(LedgerRefused, match=says) as refused:
        open_ledger(bad, serve=True)
    assert "secret" not in str(refused.value)


def test_a_file_that_is_no_database_is_refused_and_the_lock_given_back(database: Path, url: str) -> None:
    database.parent.mkdir()
    database.write_bytes(b"not a database at all" * 100)
    for _ in range(2):
        with pytest.raises(LedgerRefused, match="not a database") as refused:
            open_ledger(url, serve=True)
        assert not isinstance(refused.value, LedgerBusy)


def test_a_database_in_a_path_with_odd_characters(tmp_path: Path) -> None:
    odd = tmp_path / "a b?c#d%41é" / "w.db"
    odd.parent.mkdir()
    with closing(sqlite3.connect(odd)) as there:
        there.execute("CREATE TABLE other (a)")
    path = SqlLedger(Place(url=make_url("sqlite://"), file=odd))
    path.close()
    assert sorted(entry.name for entry in odd.parent.iterdir()) == ["w.db"]


async def test_times_keep_their_microseconds(ledger: SqlLedger, reader: Reader) -> None:
    await ledger.begin(request(1), attempt(1))
    assert row(reader, 1).time - NOON == timedelta(0)
    assert row(reader, 1).attempts[0].attempt_id == attempt_id(1)
