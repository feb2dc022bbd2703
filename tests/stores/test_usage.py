"""The sums of a real ledger."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path

import pytest
from msgspec.structs import replace

from gateway.core.money import Cost, billed, exposed, line, nothing
from gateway.core.prices import Item
from gateway.core.spend import Dimension, Usage, UsageQuery
from gateway.stores.engine import open_engine
from gateway.stores.ledger_sql import SqlLedger, open_ledger
from gateway.stores.place import Access
from gateway.stores.refusals import LedgerRefused
from gateway.stores.sqlite import create_private
from gateway.stores.usage import read_usage
from tests.stores.rows import NOON, attempt, request, result, settlement

OWNER = (Dimension.OWNER,)


def cost(micro: int, currency: str = "USD") -> Cost:
    return billed([line(Item.IMAGE_OUT, 1, Fraction(micro), currency, "p")], unit="tokens", exact=True)


def money(row: Usage) -> list[tuple[str, str, int, int]]:
    return [(one.currency, one.state.value, one.amount_micro, one.exposure_micro) for one in row.cost]


async def served(ledger: SqlLedger, number: int, micro: int, owner: str = "acme") -> None:
    await ledger.begin(request(number), attempt(number, owner=owner))
    ended = replace(result(number), cost=cost(micro))
    await ledger.settle(replace(settlement(number, ended, owner=owner), images=2))


async def test_usage_by_owner_counts_requests_and_adds_money(ledger: SqlLedger, url: str) -> None:
    await served(ledger, 1, 100)
    await served(ledger, 2, 50)
    await served(ledger, 3, 7, owner="other")
    await ledger.settle(replace(settlement(4, owner=None, status=400), channel=None))
    rows = read_usage(url, UsageQuery(by=OWNER))
    assert [(row.group, row.requests, row.images, row.failed) for row in rows] == [
        (("acme",), 2, 4, 0),
        (("other",), 1, 2, 0),
        ((None,), 1, 0, 1),
    ]
    assert [money(row) for row in rows] == [[("USD", "exact", 150, 0)], [("USD", "exact", 7, 0)], []]


async def test_money_belongs_to_whom_the_attempt_was_sent_to(ledger: SqlLedger, url: str) -> None:
    await ledger.begin(request(1), attempt(1, owner="first", channel="a"))
    await ledger.begin(None, attempt(1, 2, owner="second", channel="b"))
    lost = replace(result(1, failure="timeout", outcome="unknown"), cost=exposed(cost(70)))
    await ledger.settle(settlement(1, lost, replace(result(1, 2), cost=cost(30)), owner="second"))
    rows = read_usage(url, UsageQuery(by=(Dimension.OWNER, Dimension.CHANNEL)))
    assert [(row.group, row.requests, money(row), row.waste) for row in rows] == [
        (("first", "a"), 0, [("USD", "estimated", 70, 70)], {"USD": 70}),
        (("second", "b"), 0, [("USD", "exact", 30, 0)], {}),
        (("second", "direct"), 1, [], {}),
    ]


async def test_a_killed_server_leaves_the_exposure_of_what_it_had_sent(url: str) -> None:
    ledger = open_ledger(url, serve=True)
    await ledger.begin(request(1), replace(attempt(1), quote=exposed(cost(70))))
    await ledger.begin(request(2), attempt(2))
    assert read_usage(url, UsageQuery(by=OWNER)) == []  # under way: not counted
    ledger.close()
    again = open_ledger(url, serve=True)
    assert again.recover() == 2
    (row,) = read_usage(url, UsageQuery(by=OWNER))
    assert (money(row), row.missing, row.failed) == ([("USD", "estimated", 70, 70)], 1, 2)
    again.close()


async def test_an_attempt_nobody_waited_for_costs_nothing(ledger: SqlLedger, url: str) -> None:
    await ledger.begin(request(1), replace(attempt(1), quote=exposed(cost(70))))
    await ledger.settle(settlement(1, replace(result(1, outcome="refused", failure="overloaded"), cost=nothing())))
    (row,) = read_usage(url, UsageQuery(by=OWNER))
    assert (money(row), row.missing, row.attempts) == ([], 0, 1)


async def test_usage_by_day_and_model_and_between_two_days(ledger: SqlLedger, url: str) -> None:
    start = round(NOON.timestamp() * 1000)
    for day in range(3):
        number = (start + day * 86_400_000) << 80
        moment = NOON + timedelta(days=day)
        await ledger.begin(replace(request(number), time=moment), attempt(number))
        await ledger.settle(replace(settlement(number, replace(result(number), cost=cost(day + 1))), time=moment))
    rows = read_usage(url, UsageQuery(by=(Dimension.DAY, Dimension.MODEL)))
    assert [(row.group, money(row)[0][2]) for row in rows] == [
        (("2026-11-20", "gpt-image-1"), 1),
        (("2026-11-21", "gpt-image-1"), 2),
        (("2026-11-22", "gpt-image-1"), 3),
    ]
    query = UsageQuery(
        by=(Dimension.DAY,), since=datetime(2026, 11, 21, tzinfo=UTC), until=datetime(2026, 11, 22, tzinfo=UTC)
    )
    assert [(row.group, row.requests) for row in read_usage(url, query)] == [(("2026-11-21",), 1)]


def test_no_ledger_and_an_empty_file_read_as_nothing(url: str, database: Path) -> None:
    assert read_usage(url, UsageQuery(by=OWNER)) == []
    create_private(database)
    open_engine(f"sqlite:///{database}", Access.WRITE, busy_ms=100).dispose()
    assert read_usage(url, UsageQuery(by=OWNER)) == []


def test_what_is_no_database_is_refused(url: str, database: Path) -> None:
    database.parent.mkdir(parents=True)
    database.write_bytes(b"this is no database, whatever it is called" * 100)
    with pytest.raises(LedgerRefused, match="cannot be read"):
        read_usage(url, UsageQuery(by=OWNER))
