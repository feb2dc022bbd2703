"""The sums by day are what counting all requests anew gives, whatever happened to them and however often."""

from datetime import UTC, datetime, timedelta
from importlib import import_module

import pytest
from msgspec.structs import replace
from sqlalchemy import insert, select, true

from gateway.core.assets import Verdict
from gateway.core.money import exposed
from gateway.core.spend import Dimension, Usage, UsageQuery
from gateway.ports.readings import TooManyGroups
from gateway.stores import tally
from gateway.stores.assets_sql import open_assets
from gateway.stores.commands import Rescue, run, settling
from gateway.stores.ledger_sql import SqlLedger, open_ledger
from gateway.stores.recovery import recover_all
from gateway.stores.schema import assets, attempt_sums, request_sums
from gateway.stores.usage import MOST_GROUPS, read_usage, span_of
from tests.stores.conftest import beside
from tests.stores.rows import NOON, attempt, request, request_id, result, settlement
from tests.stores.test_usage import cost

DAY = timedelta(days=1)
MIDNIGHT = datetime(2026, 11, 20, tzinfo=UTC)
Sums = dict[tuple[object, ...], tuple[int, ...]]


def kept(url: str) -> tuple[Sums, Sums]:
    """Give what the tables of sums hold, over all shards, without what is nothing."""
    found = []
    with beside(url) as connection:
        for table in (request_sums, attempt_sums):
            group = [column.name for column in table.primary_key if column.name != "shard"]
            sums: Sums = {}
            for row in connection.execute(select(table)).mappings():
                key = tuple(row[name] for name in group)
                values = tuple(row[one.name] for one in table.columns if not one.primary_key)
                sums[key] = tuple(map(sum, zip(values, sums.get(key, (0,) * len(values)), strict=True)))
            found.append({key: values for key, values in sums.items() if any(values)})
    return found[0], found[1]


def counted(url: str) -> tuple[Sums, Sums]:
    """Count all requests anew."""
    found = []
    with beside(url) as connection:
        for table, counts in (
            (request_sums, tally.request_counts(true())),
            (attempt_sums, tally.attempt_counts(true())),
        ):
            names = [column.name for column in table.primary_key if column.name != "shard"]
            values = [column.name for column in table.columns if not column.primary_key]
            rows = connection.execute(counts).mappings().all()
            found.append({tuple(row[name] for name in names): tuple(row[name] for name in values) for row in rows})
    return found[0], found[1]


async def served(ledger: SqlLedger, number: int, micro: int = 100) -> None:
    await ledger.begin(request(number), attempt(number))
    await ledger.settle(replace(settlement(number, replace(result(number), cost=cost(micro))), images=1))


async def test_settled_once_or_twice_a_request_is_counted_once(ledger: SqlLedger, url: str) -> None:
    await served(ledger, 1)
    once = kept(url)
    await ledger.settle(settlement(1, replace(result(1), cost=cost(999)), status=500))
    assert kept(url) == once == counted(url)
    assert list(once[0].values()) == [(1, 1, 1, 0, 0, 0, 0, 0)]
    assert list(once[1].values()) == [(1, 0, 100, 0, 0, 0)]


async def test_ends_of_all_kinds_in_one_transaction_are_counted_once_each(ledger: SqlLedger, url: str) -> None:
    for number in range(1, 12):
        await ledger.begin(request(number), attempt(number))
    await ledger.settle(settlement(1, result(1)))
    with beside(url) as connection:
        connection.exec_driver_sql(f"UPDATE requests SET state = 'interrupted' WHERE request_id = '{request_id(2)}'")  # noqa: S608
        tally.put_in(connection, [request_id(2)])
    ends = [replace(settlement(number, replace(result(number), cost=cost(7))), images=1) for number in range(1, 12)]
    elsewhere = settlement(3, result(3), owner="other")  # than it began with
    unowned = settlement(4, result(4), status=400, owner=None)
    never_begun = settlement(99, status=400, owner=None)
    rescued = Rescue(request_id=request_id(1), pictures=1)
    settled = [*ends[:2], elsewhere, unowned, *ends[4:], ends[5], never_begun, never_begun]
    commands = [settling(one) for one in settled]
    with beside(url) as connection:
        assert set(run(connection, [*commands, rescued])) == {None}
    sums = kept(url)
    assert sums == counted(url)
    by_owner = {key[1]: row[0] for key, row in sums[0].items() if key[1] not in {"", "acme"}}
    assert by_owner == {"other": 1}
    assert sum(row[0] for row in sums[0].values()) == 12
    assert sum(row[0] for row in sums[1].values()) == 11


async def test_a_request_under_way_is_not_counted_and_an_interrupted_one_is(url: str) -> None:
    ledger = open_ledger(url, serve=True)
    await ledger.begin(request(1), attempt(1))
    assert kept(url) == ({}, {})
    with beside(url) as connection:
        tally.take_out(connection, [request_id(1), request_id(2)])  # nothing to take out
        tally.put_in(connection, [request_id(1), request_id(2)])  # and nothing to put in
    assert kept(url) == ({}, {}) == counted(url)
    ledger.close()


async def test_what_was_counted_as_interrupted_is_replaced_by_how_it_ended(ledger: SqlLedger, url: str) -> None:
    await ledger.begin(request(1), attempt(1))
    with beside(url) as connection:
        connection.exec_driver_sql("UPDATE attempts SET state = 'interrupted', outcome = 'unknown'")
        connection.exec_driver_sql("UPDATE requests SET state = 'interrupted'")
        tally.put_in(connection, [request_id(1)])
    assert [row.missing for row in read_usage(url, UsageQuery(by=()))] == [1]
    await ledger.settle(replace(settlement(1, replace(result(1), cost=cost(5))), images=2))
    assert kept(url) == counted(url)
    (row,) = read_usage(url, UsageQuery(by=()))
    assert (row.requests, row.delivered, row.images, row.missing) == (1, 1, 2, 0)


async def test_verdicts_are_counted_as_they_change(ledger: SqlLedger, url: str) -> None:
    await served(ledger, 1, 300)
    with beside(url) as connection:
        for number in range(3):
            ids = {"asset_id": f"ast_{number}", "request_id": request_id(1), "key_id": "", "time_us": 0}
            facts = {"expires_us": 2**62, "sha256": "ab", "bytes": 1, "format": "png", "path": "ab"}
            connection.execute(insert(assets).values(**ids, **facts))
    books = open_assets(url)
    for number, verdict in ((0, Verdict.ACCEPTED), (1, Verdict.ACCEPTED), (2, Verdict.REJECTED), (1, None)):
        assert await books.judge(f"ast_{number}", verdict, NOON)
        assert kept(url) == counted(url)
    books.close()
    (row,) = read_usage(url, UsageQuery(by=(Dimension.OWNER,)))
    assert (row.accepted, row.rejected, row.per_accepted_micro, row.currency) == (1, 1, 300, "USD")


async def test_what_was_rescued_is_counted_once_whether_settled_before_or_after(ledger: SqlLedger, url: str) -> None:
    await served(ledger, 1, 300)
    await ledger.write(Rescue(request_id=request_id(1), pictures=1))
    assert kept(url) == counted(url)
    await ledger.write(Rescue(request_id=request_id(1), pictures=4))  # said again
    await ledger.begin(request(2), attempt(2))
    await ledger.write(Rescue(request_id=request_id(2), pictures=2))
    await ledger.settle(replace(settlement(2, replace(result(2), cost=cost(50))), images=2))
    await ledger.write(Rescue(request_id=request_id(9), pictures=9))  # nobody's
    assert kept(url) == counted(url)
    (row,) = read_usage(url, UsageQuery(by=(Dimension.OWNER,)))
    assert (row.requests, row.rescued, row.rescued_micro, row.lost, row.lost_micro) == (2, 3, 350, 0, 0)


async def test_what_may_be_paid_for_and_has_no_answer_is_lost(ledger: SqlLedger, url: str) -> None:
    lost = result(1, failure="timeout", outcome="unknown")
    await ledger.begin(request(1), attempt(1))
    await ledger.settle(settlement(1, replace(lost, cost=exposed(cost(70))), status=504))
    free = result(2, failure="rate_limited", outcome="refused")
    await ledger.begin(request(2), attempt(2))
    await ledger.settle(settlement(2, free, status=429))
    await served(ledger, 3)
    await ledger.settle(settlement(4, status=400))
    assert kept(url) == counted(url)
    (row,) = read_usage(url, UsageQuery(by=()))
    assert (row.requests, row.lost, row.lost_micro, row.rescued) == (4, 1, 70, 0)


async def test_what_is_lost_of_two_currencies_is_not_added_up(ledger: SqlLedger, url: str) -> None:
    for number, currency in ((1, "USD"), (2, "EUR")):
        await ledger.begin(request(number), attempt(number))
        unknown = replace(result(number, failure="timeout", outcome="unknown"), cost=cost(70, currency))
        await ledger.settle(settlement(number, unknown, status=504))
    (row,) = read_usage(url, UsageQuery(by=()))
    assert (row.lost, row.lost_micro, row.gone) == (2, None, {"USD": 70, "EUR": 70})


async def test_an_interrupted_request_is_lost_until_its_server_settles_it(ledger: SqlLedger, url: str) -> None:
    await ledger.begin(request(1), replace(attempt(1), quote=exposed(cost(70))))
    with beside(url) as connection:
        recover_all(connection)
    (row,) = read_usage(url, UsageQuery(by=()))
    assert (row.lost, row.lost_micro) == (1, 70)
    await ledger.settle(replace(settlement(1, replace(result(1), cost=cost(60))), images=1))
    assert kept(url) == counted(url)
    (row,) = read_usage(url, UsageQuery(by=()))
    assert (row.lost, row.lost_micro) == (0, 0)


async def test_an_older_ledger_is_counted_anew_for_what_is_lost(ledger: SqlLedger, url: str) -> None:
    lost = result(1, failure="timeout", outcome="unknown")
    await ledger.begin(request(1), attempt(1))
    await ledger.settle(settlement(1, replace(lost, cost=exposed(cost(70))), status=504))
    await ledger.begin(request(2), replace(attempt(2), quote=exposed(cost(30))))
    await served(ledger, 3)
    with beside(url) as connection:
        recover_all(connection)
        connection.exec_driver_sql("UPDATE request_sums SET lost = 0")
        connection.exec_driver_sql("UPDATE attempt_sums SET lost_micro = 0")
        migration = import_module("gateway.stores.migrations.versions.0014_rescued")
        connection.exec_driver_sql(migration.REQUESTS)
        connection.exec_driver_sql(migration.ATTEMPTS)
    assert kept(url) == counted(url)
    (row,) = read_usage(url, UsageQuery(by=()))
    assert (row.lost, row.lost_micro) == (2, 100)


async def test_a_request_with_two_unknown_costs_is_counted_at_the_first(ledger: SqlLedger, url: str) -> None:
    await ledger.begin(request(1), attempt(1, owner="first"))
    await ledger.begin(None, attempt(1, 2, owner="second"))
    lost = result(1, failure="timeout", outcome="unknown")
    await ledger.settle(settlement(1, lost, replace(lost, attempt_id=result(1, 2).attempt_id), owner="second"))
    assert [row.missing for row in read_usage(url, UsageQuery(by=()))] == [1]
    assert {row.group: row.missing for row in read_usage(url, UsageQuery(by=(Dimension.OWNER,)))} == {
        ("first",): 1,
        ("second",): 0,
    }


async def test_keys_teams_and_credits_come_from_the_record(ledger: SqlLedger, url: str) -> None:
    await ledger.settle(settlement(1, record={"key_id": "key_1", "team": "blue", "credits": 14}))
    await ledger.settle(settlement(2, record={"key_id": "key_2", "credits": 4}))
    rows = read_usage(url, UsageQuery(by=(Dimension.TEAM, Dimension.KEY)))
    assert [(row.group, row.credits) for row in rows] == [(("blue", "key_1"), 14), ((None, "key_2"), 4)]


@pytest.mark.parametrize(
    ("since", "until", "expected"),
    [
        (None, None, (None, None, 0)),
        (MIDNIGHT, MIDNIGHT + DAY, (20_777, 20_778, 0)),
        (MIDNIGHT + DAY / 2, MIDNIGHT + 3 * DAY, (20_778, 20_780, 1)),
        (MIDNIGHT, MIDNIGHT + DAY / 2, (20_777, 20_777, 1)),
        (MIDNIGHT + DAY / 4, MIDNIGHT + DAY / 2, (0, 0, 1)),
        (MIDNIGHT + DAY / 2, MIDNIGHT + 3 * DAY / 2, (20_778, 20_778, 2)),
        (MIDNIGHT + DAY / 2, None, (20_778, None, 1)),
        (None, MIDNIGHT + DAY / 2, (None, 20_777, 1)),
        (MIDNIGHT + DAY, MIDNIGHT, (0, 0, 0)),
        (MIDNIGHT + DAY / 2, MIDNIGHT + DAY / 4, (0, 0, 0)),
    ],
)
def test_a_time_is_whole_days_and_pieces(
    since: datetime | None, until: datetime | None, expected: tuple[int | None, int | None, int]
) -> None:
    span = span_of(UsageQuery(by=(), since=since, until=until))
    assert (span.first_day, span.end_day, len(span.pieces)) == expected


async def test_pieces_and_days_add_up(ledger: SqlLedger, url: str) -> None:
    for hour in range(0, 72, 5):
        moment = MIDNIGHT + timedelta(hours=hour)
        number = round(moment.timestamp() * 1000) << 80
        await ledger.begin(replace(request(number), time=moment), attempt(number))
        await ledger.settle(replace(settlement(number, replace(result(number), cost=cost(1 + hour))), time=moment))
    for since in range(0, 73, 4):
        for until in range(since, 73, 7):
            query = UsageQuery(by=(), since=MIDNIGHT + since * DAY / 24, until=MIDNIGHT + until * DAY / 24)
            inside = [hour for hour in range(0, 72, 5) if since <= hour < until]
            assert totals(read_usage(url, query)) == (len(inside), sum(1 + hour for hour in inside)), (since, until)


def totals(rows: list[Usage]) -> tuple[int, int]:
    money = sum(one.amount_micro for row in rows for one in row.cost)
    return sum(row.requests for row in rows), money


def test_more_groups_than_anybody_reads_are_refused(url: str) -> None:
    open_ledger(url, serve=False).close()
    row = {"day": 1, "owner": "a", "channel": "b", "model": "m", "team": "", "shard": 0, "requests": 1, "delivered": 1}
    with beside(url) as connection:
        connection.execute(
            insert(request_sums).values(**row, images=0, accepted=0, rejected=0, credits=0),
            [{"key_id": f"key_{number}"} for number in range(MOST_GROUPS + 1)],
        )
    with pytest.raises(TooManyGroups):
        read_usage(url, UsageQuery(by=(Dimension.KEY,)))
    assert [one.requests for one in read_usage(url, UsageQuery(by=(Dimension.OWNER,)))] == [MOST_GROUPS + 1]
