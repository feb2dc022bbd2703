"""Flights on file, on both kinds of database: what was not committed in time is not there afterwards."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from gateway.core.flights import FlightId, FlightState
from gateway.ports import LedgerUnavailable
from gateway.ports.journal import Entry, Written
from gateway.stores.flights_sql import SqlJournal, open_journal
from gateway.stores.ledger_sql import SqlLedger
from tests.stores.conftest import locked

ANSWER = Written(status=200, content_type="application/json", head=(), parts=["{}"])


@pytest.fixture
async def journal(url: str, hasty: SqlLedger) -> SqlJournal:
    return open_journal(url, hasty.write, "srv_1")


def flight(number: int, state: FlightState, key: str | None = None) -> Entry:
    now = datetime.now(UTC)
    return Entry(
        flight_id=FlightId(f"fl_{number:032x}"),
        scope="key_1",
        endpoint="images/generations",
        request_id=f"req_{number:032x}",
        key_hash=key,
        body_hash="b",
        looks="l",
        state=state,
        created=now,
        expires=now + timedelta(minutes=15),
    )


async def on_file(journal: SqlJournal, entry: Entry) -> Entry | None:
    return await journal.find(entry.scope, entry.flight_id, datetime.now(UTC))


async def all_written(ledger: SqlLedger) -> None:
    async with asyncio.timeout(5):
        while ledger.queued:  # noqa: ASYNC110 - a thread writes
            await asyncio.sleep(0.02)


async def test_a_key_that_was_not_filed_in_time_is_free(url: str, hasty: SqlLedger, journal: SqlJournal) -> None:
    first, second = (flight(number, FlightState.HELD, key="k") for number in (1, 2))
    with locked(url), pytest.raises(LedgerUnavailable):
        await journal.open(first, 0.2)
    assert await journal.open(second) == second  # at once: whatever is still under way
    await all_written(hasty)
    assert await on_file(journal, first) is None
    assert await on_file(journal, second) is not None


@pytest.mark.parametrize("state", [FlightState.SENT, FlightState.LATE])
async def test_a_flight_that_was_not_filed_in_time_is_not_filed_later(
    url: str, hasty: SqlLedger, journal: SqlJournal, state: FlightState
) -> None:
    entry = flight(1, state)
    filing = journal.depart(entry) if state is FlightState.SENT else journal.land(replace(entry, answer=ANSWER))
    with locked(url), pytest.raises(LedgerUnavailable):
        await filing
    await all_written(hasty)
    assert await on_file(journal, entry) is None


async def test_an_answer_on_file_stays_whatever_is_written_after_it(journal: SqlJournal) -> None:
    """A batch that was held up by a server that fell silent is written when everything else has been."""
    await journal.land(replace(flight(1, FlightState.LATE), answer=ANSWER))
    await journal.depart(flight(1, FlightState.SENT))
    found = await on_file(journal, flight(1, FlightState.LATE))
    assert found is not None
    assert (found.state, found.answer) == (FlightState.LATE, ANSWER)
