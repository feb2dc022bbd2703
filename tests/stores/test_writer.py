import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable

import pytest
from sqlalchemy import Connection, event
from sqlalchemy.exc import OperationalError

from gateway.ports import LedgerUnavailable, LogQuery
from gateway.stores.commands import Command, Reply, Rescue, beginning, settling
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


async def test_what_was_begun_finds_room_in_a_full_queue(writer: Writer, url: str, reader: Reader) -> None:
    await put(writer, beginning(request(50), attempt(50)))[1]
    with locked(url):
        refused = 0
        for number in range(12):
            try:
                put(writer, settling(settlement(number, status=503)))
            except LedgerUnavailable:
                refused += 1
            await asyncio.sleep(0.01)  # the thread takes some in its hand; they count all the same
        assert refused >= 8
        assert writer.depth <= 4
        _, done = put(writer, settling(settlement(50, result(50))))
    await done
    seen = reader.find(request_id(50))
    assert seen is not None
    assert (seen.state, seen.attempts[0].state) == ("done", "ended")


class Troubled(Exception):
    """What the driver of a troubled database raises."""


def troubled(url: str, trouble: Callable[[], bool], threads: int, retry_s: float) -> Writer:
    """A writer whose transactions cannot begin while ``trouble``, which is asked by the thread that wants to."""
    open_ledger(url, serve=False).close()
    engine = open_engine(url, Access.WRITE, busy_ms=50)

    def begins(_: Connection) -> None:
        if trouble():
            raise OperationalError("BEGIN", None, Troubled())

    event.listen(engine, "begin", begins, insert=True)
    return Writer(engine, threads=threads, retry_s=retry_s)


def writers_alive() -> int:
    return sum(thread.name.startswith("ledger-writer") for thread in threading.enumerate())


async def test_a_thread_that_finds_nothing_to_write_goes_on(url: str) -> None:
    """Two threads try again in one moment while much is in hand: the one that is later finds nothing left."""
    is_down, slow, together = threading.Event(), threading.Event(), threading.Barrier(2)
    is_down.set()
    lone = threading.local()

    def trouble() -> bool:
        if not slow.is_set():  # the first batch: much is in hand for as long as it takes
            slow.set()
            lone.is_slow = True
            time.sleep(1.5)
        elif is_down.is_set() and not hasattr(lone, "is_slow"):
            time.sleep(0.05)
            with contextlib.suppress(threading.BrokenBarrierError):
                together.wait(0.2)
            return True
        return False

    before = writers_alive()
    writer = troubled(url, trouble, threads=4, retry_s=0.3)
    for _ in range(8):
        put(writer, Rescue(request_id=request_id(1), pictures=1))
    while not slow.is_set():  # noqa: ASYNC110 - a thread sets it
        await asyncio.sleep(0.002)
    for number in (2, 3):
        put(writer, Rescue(request_id=request_id(number), pictures=1))
        await asyncio.sleep(0.02)
    await asyncio.sleep(1.2)
    is_down.clear()
    await written(writer)
    assert writers_alive() - before == 4
    assert writer.close(1.0) == 0


@pytest.mark.parametrize("threads", [1, 4])
async def test_what_fails_while_it_closes_is_tried_once_more(url: str, threads: int) -> None:
    times, began = [0.3], threading.Event()

    def trouble() -> bool:
        if not times:
            return False
        began.set()
        time.sleep(times.pop())
        return True

    writer = troubled(url, trouble, threads=threads, retry_s=60)
    _, done = put(writer, settling(settlement(1)))
    await asyncio.to_thread(began.wait, 5)
    assert await asyncio.to_thread(writer.close, 5.0) == 0
    with pytest.raises(LedgerUnavailable):
        await done
