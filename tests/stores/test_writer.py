import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.ports import LedgerUnavailable, LogQuery
from gateway.stores.commands import Command, Reply, beginning, settling
from gateway.stores.engine import open_engine
from gateway.stores.ledger_sql import open_ledger
from gateway.stores.place import Access
from gateway.stores.reader import Reader
from gateway.stores.writer import Ticket, Writer
from tests.stores.conftest import locked, spoil
from tests.stores.rows import attempt, request, request_id, result, settlement


@pytest.fixture
async def writer(url: str) -> AsyncIterator[Writer]:
    open_ledger(url, serve=False).close()
    made = Writer(open_engine(url, Access.WRITE, busy_ms=50), queue_limit=4, retry_s=0.1)
    yield made
    made.close(1.0)


def put(writer: Writer, command: Command) -> tuple[Ticket, "asyncio.Future[Reply]"]:
    done: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
    return writer.put(command, done), done


async def written(writer: Writer) -> None:
    async with asyncio.timeout(3):
        while writer.unwritten:  # noqa: ASYNC110  # it changes in a thread
            await asyncio.sleep(0.02)


async def test_a_full_queue_refuses_at_once(writer: Writer, url: str) -> None:
    with locked(url):
        waiting = [put(writer, settling(settlement(number)))[1] for number in range(4)]
        refusals: list[str] = []
        for number in range(4, 20):  # the thread may hold up to four in its hand, and puts them back
            try:
                waiting.append(put(writer, settling(settlement(number)))[1])
            except LedgerUnavailable as full:
                refusals.append(str(full))
    assert set(refusals) == {"the ledger's queue is full"}
    assert len(refusals) >= 12
    await asyncio.gather(*waiting)


async def test_a_settlement_that_failed_is_written_once_the_database_allows(
    writer: Writer, url: str, reader: Reader
) -> None:
    await put(writer, beginning(request(1), attempt(1)))[1]
    spoil(url, "ALTER TABLE requests RENAME TO elsewhere")
    with pytest.raises(LedgerUnavailable, match=r"could not commit: .*(no such table|does not exist)"):
        await put(writer, settling(settlement(1, result(1))))[1]
    assert writer.unwritten == 1
    await asyncio.sleep(0.25)  # it has been tried again meanwhile
    spoil(url, "ALTER TABLE elsewhere RENAME TO requests")
    await written(writer)
    seen = reader.find(request_id(1))
    assert seen is not None
    assert (seen.state, seen.attempts[0].state) == ("done", "ended")


async def test_nothing_new_begins_while_a_settlement_is_kept(writer: Writer, url: str) -> None:
    spoil(url, "ALTER TABLE requests RENAME TO elsewhere")
    with pytest.raises(LedgerUnavailable):
        await put(writer, settling(settlement(1)))[1]
    with pytest.raises(LedgerUnavailable):
        await put(writer, beginning(request(2), attempt(2)))[1]
    spoil(url, "ALTER TABLE elsewhere RENAME TO requests")
    await written(writer)
    await put(writer, beginning(request(2), attempt(2)))[1]


async def test_close_says_how_many_settlements_are_lost(writer: Writer, url: str) -> None:
    spoil(url, "ALTER TABLE requests RENAME TO elsewhere")
    for number in range(3):
        with pytest.raises(LedgerUnavailable):
            await put(writer, settling(settlement(number)))[1]
    assert writer.close(0.5) == 3


async def test_a_begin_given_up_while_it_is_committed_is_voided(writer: Writer, reader: Reader) -> None:
    ticket, done = put(writer, beginning(request(1), attempt(1)))
    await done
    assert ticket.taken
    writer.give_up(ticket)
    await put(writer, settling(settlement(2)))[1]
    seen = reader.find(request_id(1))
    assert seen is not None
    (tried,) = seen.attempts
    assert (tried.state, tried.outcome, tried.detail) == ("ended", "not_sent", "ledger_timeout")


async def test_close_during_a_lock_ends_in_time(writer: Writer, url: str, reader: Reader) -> None:
    with locked(url):
        _, done = put(writer, beginning(request(1), attempt(1)))
        assert writer.close(0.3) == 0
        with pytest.raises(LedgerUnavailable):
            await done
    assert reader.page(LogQuery()) == []
