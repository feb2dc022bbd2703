"""Keys and their books on both databases: what the door learns and when, and what no order of commands can break."""

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace
from sqlalchemy import select

from gateway.core.keys import BudgetTerms, NewKey, digest_of
from gateway.core.principal import KeyScope
from gateway.ports import Capture, Hold, LedgerUnavailable, Refused
from gateway.stores import holds
from gateway.stores.commands import epoch_us
from gateway.stores.keys_sql import SqlKeyDesk, SqlKeys, count_keys, open_key_desk, open_keys
from gateway.stores.ledger_sql import SqlLedger
from gateway.stores.schema import entries
from tests.stores.conftest import beside, spoil
from tests.stores.rows import NOON, attempt, attempt_id, request, result, settlement

APP = NewKey(name="app", credits=10)
LATER = NOON + timedelta(days=36_500)  # the sweep goes by the real clock


@pytest.fixture
def desk(ledger: SqlLedger, url: str) -> SqlKeyDesk:
    assert ledger.queued == 0
    return open_key_desk(url)


@pytest.fixture
def known(ledger: SqlLedger, url: str) -> Iterator[SqlKeys]:
    assert ledger.queued == 0
    opened = open_keys(url)
    yield opened
    opened.close()


def hold(amount: int | None = 4, micro: int | None = None, window_no: int = 0) -> Hold:
    currency = None if micro is None else "USD"
    return Hold(key_id="k", expires=LATER, credits=amount, micro=micro, currency=currency, window_no=window_no)


def balance(desk: SqlKeyDesk) -> tuple[int | None, int]:
    [row] = desk.listed(NOON)
    return row.terms.credits, row.credits_held


def journal(url: str) -> list[tuple[str, int, int]]:
    with beside(url) as connection:
        said = select(entries.c.kind, entries.c.attempt, entries.c.amount).order_by(entries.c.request_id.desc())
        return [(kind, n, amount) for kind, n, amount in connection.execute(said)]


async def test_the_door_learns_of_a_key_and_of_its_end_within_a_second(desk: SqlKeyDesk, known: SqlKeys) -> None:
    assert not await known.exist()
    assert await known.find(digest_of("wb-1")) is None
    desk.create("k", "wb-1", replace(APP, scopes=frozenset({KeyScope.USE, KeyScope.ADMIN})), NOON)
    made = time.monotonic()
    while await known.find(digest_of("wb-1")) is None:
        assert time.monotonic() - made < 1.0
        await asyncio.sleep(0.01)
    assert await known.exist()
    assert await known.rule()
    found = await known.find(digest_of("wb-1"))
    assert found is not None
    assert found.is_good(NOON)
    desk.revoke("k", NOON)
    ended = time.monotonic()
    while (now := await known.find(digest_of("wb-1"))) is None or now.is_good(NOON):
        assert time.monotonic() - ended < 1.0
        await asyncio.sleep(0.01)
    assert await known.exist()
    assert not await known.rule()


async def test_keys_that_cannot_be_read_let_nobody_in(desk: SqlKeyDesk, known: SqlKeys, url: str) -> None:
    desk.create("k", "wb-1", APP, NOON)
    while not await known.exist():  # noqa: ASYNC110 - another thread reads
        await asyncio.sleep(0.01)
    spoil(url, "ALTER TABLE keys RENAME TO elsewhere")
    await asyncio.sleep(1.0)
    asked = time.monotonic()
    with pytest.raises(LedgerUnavailable):
        await known.exist()
    with pytest.raises(LedgerUnavailable):
        await known.find(digest_of("wb-1"))
    assert time.monotonic() - asked < 2.0
    spoil(url, "ALTER TABLE elsewhere RENAME TO keys")
    await asyncio.sleep(0.6)
    assert await known.find(digest_of("wb-1")) is not None


async def test_what_was_not_found_is_kept_within_bounds(known: SqlKeys) -> None:
    for number in range(300):
        assert await known.find(digest_of(f"wb-{number}")) is None
    assert len(known._absent) == 300
    assert known._absent.maxsize == 10_000


def test_keys_are_counted_by_what_they_open(desk: SqlKeyDesk, url: str) -> None:
    for number in range(3):
        desk.create(f"k{number}", f"wb-{number}", replace(APP, expires_s=60 if number else None), NOON)
    desk.revoke("k0", NOON)
    assert (count_keys(url, NOON).made, count_keys(url, NOON).good) == (3, 2)
    assert count_keys(url, NOON + timedelta(seconds=61)).good == 0


async def test_a_hold_is_captured_for_what_was_delivered_and_the_rest_goes_back(
    desk: SqlKeyDesk, ledger: SqlLedger, url: str
) -> None:
    desk.create("k", "wb-1", APP, NOON)
    assert await ledger.begin(request(1), attempt(1), hold()) is None
    assert balance(desk) == (6, 4)
    ended = replace(settlement(1, result(1)), capture=Capture(credits=3, micro=None))
    for _ in range(2):  # a settlement that comes again changes nothing
        await ledger.settle(ended)
        assert balance(desk) == (7, 0)
    assert sorted(journal(url)) == [("capture", 1, 3), ("grant", 0, 10), ("hold", 1, 4), ("void", 1, 1)]


async def test_a_refused_hold_writes_nothing_and_spoils_nothing(desk: SqlKeyDesk, ledger: SqlLedger, url: str) -> None:
    desk.create("k", "wb-1", APP, NOON)
    begun = [ledger.begin(request(number), attempt(number), hold(7)) for number in range(1, 5)]
    replies = await asyncio.gather(*begun, ledger.begin(request(9), attempt(9)))
    assert sorted(reply is None for reply in replies[:4]) == [False, False, False, True]
    assert {reply for reply in replies if reply is not None} == {Refused(code="insufficient_credits", left=3)}
    assert replies[4] is None
    assert balance(desk) == (3, 7)
    with beside(url) as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM requests").scalar() == 2


async def test_what_came_dearer_takes_what_is_left_and_no_more(desk: SqlKeyDesk, ledger: SqlLedger, url: str) -> None:
    desk.create("k", "wb-1", APP, NOON)
    await ledger.begin(request(1), attempt(1), hold(4))
    await ledger.settle(replace(settlement(1, result(1)), capture=Capture(credits=25, micro=None)))
    assert balance(desk) == (0, 0)
    assert sorted(journal(url)) == [("capture", 1, 10), ("grant", 0, 10), ("hold", 1, 4), ("hold", 2, 6)]


async def test_a_budget_counts_what_is_held_and_what_was_spent_in_its_window(
    desk: SqlKeyDesk, ledger: SqlLedger
) -> None:
    budget = BudgetTerms(amount_micro=100, currency="USD", window_s=3600)
    desk.create("k", "wb-1", NewKey(name="app", budget=budget), NOON)
    assert await ledger.begin(request(1), attempt(1), hold(None, 60)) is None
    assert await ledger.begin(request(2), attempt(2), hold(None, 41)) == Refused(code="budget_exceeded", left=40)
    await ledger.settle(replace(settlement(1, result(1)), capture=Capture(credits=0, micro=90)))
    [row] = desk.listed(NOON)
    assert (row.spent_micro, row.reserved_micro, row.terms.credits) == (90, 0, None)
    assert await ledger.begin(request(3), attempt(3), hold(None, 11)) == Refused(code="budget_exceeded", left=10)
    assert await ledger.begin(request(4), attempt(4), hold(None, 100, window_no=1)) is None  # the next hour
    [row] = desk.listed(NOON + timedelta(hours=1))
    assert (row.spent_micro, row.reserved_micro) == (0, 100)


async def test_a_server_whose_clock_is_behind_does_not_bring_a_window_back(desk: SqlKeyDesk, ledger: SqlLedger) -> None:
    budget = BudgetTerms(amount_micro=100, currency="USD", window_s=3600)
    desk.create("k", "wb-1", NewKey(name="app", budget=budget), NOON)
    assert await ledger.begin(request(1), attempt(1), hold(None, 90, window_no=1)) is None
    await ledger.settle(replace(settlement(1, result(1)), capture=Capture(credits=0, micro=90)))
    refused = await ledger.begin(request(2), attempt(2), hold(None, 11, window_no=0))
    assert refused == Refused(code="budget_exceeded", left=10)
    assert await ledger.begin(request(3), attempt(3), hold(None, 10, window_no=0)) is None
    [row] = desk.listed(NOON + timedelta(hours=1))
    assert (row.spent_micro, row.reserved_micro) == (90, 10)


async def test_keys_that_are_over_cost_no_reading(desk: SqlKeyDesk, known: SqlKeys) -> None:
    desk.create("k1", "wb-1", APP, NOON)
    desk.create("k2", "wb-2", replace(APP, expires_s=60), NOON)
    desk.revoke("k1", NOON)
    await asyncio.sleep(0.6)  # until that is known
    for digest in (digest_of("wb-1"), digest_of("wb-2")):
        found = await known.find(digest)
        assert found is not None
        assert not found.is_good(NOON + timedelta(seconds=61))
        assert known._found[digest] is found  # it is not looked up again


async def test_a_revoked_key_holds_nothing_more_and_what_it_held_is_settled(
    desk: SqlKeyDesk, ledger: SqlLedger
) -> None:
    desk.create("k", "wb-1", APP, NOON)
    await ledger.begin(request(1), attempt(1), hold())
    desk.revoke("k", NOON)
    assert await ledger.begin(request(2), attempt(2), hold()) == Refused(code="invalid_api_key")
    await ledger.settle(replace(settlement(1, result(1)), capture=Capture(credits=4, micro=None)))
    assert balance(desk) == (6, 0)


async def test_the_clock_gives_back_what_nobody_settles(desk: SqlKeyDesk, ledger: SqlLedger, url: str) -> None:
    budget = BudgetTerms(amount_micro=100, currency="USD", window_s=3600)
    desk.create("k", "wb-1", replace(APP, budget=budget), NOON)
    await ledger.begin(request(1), attempt(1), hold(4, 60))
    with beside(url) as connection:
        assert holds.expire(connection, epoch_us(LATER)) == 0
        assert holds.expire(connection, epoch_us(LATER) + 1) == 1
        assert holds.expire(connection, epoch_us(LATER) + 1) == 0
    assert balance(desk) == (10, 0)
    [row] = desk.listed(NOON)
    assert (row.spent_micro, row.reserved_micro) == (60, 0)  # it may be owed
    await ledger.settle(replace(settlement(1, result(1)), capture=Capture(credits=4, micro=60)))  # too late
    assert balance(desk) == (10, 0)


async def test_a_begin_that_nobody_waited_for_holds_nothing(desk: SqlKeyDesk, ledger: SqlLedger, url: str) -> None:
    desk.create("k", "wb-1", APP, NOON)
    await ledger.begin(request(1), attempt(1), hold())
    with beside(url) as connection:
        holds.release(connection, attempt_id(1))
        holds.release(connection, attempt_id(1))
        holds.release(connection, "att_unknown")
    assert balance(desk) == (10, 0)


async def test_credits_are_added_while_they_are_spent(desk: SqlKeyDesk, ledger: SqlLedger) -> None:
    desk.create("k", "wb-1", replace(APP, credits=None), NOON)
    assert await ledger.begin(request(1), attempt(1), hold(1)) == Refused(code="insufficient_credits", left=0)
    row = await asyncio.to_thread(desk.credit, "k", "grt_1", 5, datetime.now(UTC))
    assert row is not None
    assert row.terms.credits == 5
    assert await ledger.begin(request(2), attempt(2), hold(5)) is None
    assert desk.credit("nobody", "grt_2", 5, NOON) is None
    assert balance(desk) == (0, 5)
