"""Holds and settlements of many requests at once, by several servers: nothing is spent twice, nobody waits for ever."""

import asyncio
from datetime import timedelta

import pytest
from msgspec.structs import replace
from sqlalchemy import insert

from gateway.ports import Capture, Hold, Refused
from gateway.stores.ledger_sql import SqlLedger, open_ledger
from gateway.stores.schema import keys
from tests.servers.postgres import Postgres
from tests.stores.conftest import beside
from tests.stores.rows import NOON, attempt, request, result, settlement


def make_key(url: str, name: str, credits_: int) -> None:
    with beside(url) as connection:
        connection.execute(
            insert(keys).values(
                key_id=name,
                digest=name,
                hint="",
                changed=1,
                terms="{}",
                is_admin=0,
                created_us=0,
                credits=credits_,
                credits_held=0,
                window_no=0,
                spent_micro=0,
                held_micro=0,
            )
        )


def balance(url: str, name: str) -> tuple[int, int]:
    with beside(url) as connection:
        found = connection.exec_driver_sql(
            f"SELECT credits, credits_held FROM keys WHERE key_id = '{name}'"  # noqa: S608 - a name of this test
        ).one()
        return found.credits, found.credits_held


def hold(name: str, amount: int = 1) -> Hold:
    return Hold(key_id=name, expires=NOON + timedelta(days=36_500), credits=amount)


async def buy(ledger: SqlLedger, number: int, name: str) -> bool:
    """One request that costs a credit; whether its key could pay."""
    reply = await ledger.begin(request(number), attempt(number), hold(name))
    if isinstance(reply, Refused):
        await ledger.settle(settlement(number, status=402, owner=None))
        return False
    ended = settlement(number, result(number))
    await ledger.settle(replace(ended, capture=Capture(credits=1, micro=None)))
    return True


async def test_200_at_once_on_a_balance_for_10(ledger: SqlLedger, url: str) -> None:
    make_key(url, "k", 10)
    served = await asyncio.gather(*(buy(ledger, number, "k") for number in range(200)))
    assert sum(served) == 10
    assert balance(url, "k") == (0, 0)


@pytest.fixture
def pair(postgres: Postgres) -> tuple[str, str]:
    url = postgres.new_database()
    open_ledger(url, serve=False).close()
    return url, url.partition("@/")[2].partition("?")[0]


async def test_200_at_once_on_a_balance_for_10_through_two_servers(pair: tuple[str, str]) -> None:
    url, _ = pair
    make_key(url, "k", 10)
    servers = [open_ledger(url, serve=True) for _ in range(2)]
    served = await asyncio.gather(*(buy(servers[number % 2], number, "k") for number in range(200)))
    assert sum(served) == 10
    assert balance(url, "k") == (0, 0)
    for server in servers:
        server.close()


async def test_many_keys_through_three_servers_end_without_a_deadlock(pair: tuple[str, str]) -> None:
    url, name = pair
    names = [f"k{number}" for number in range(7)]
    for key in names:
        make_key(url, key, 1_000)
    servers = [open_ledger(url, serve=True) for _ in range(3)]
    await asyncio.gather(*(buy(servers[number % 3], number, names[number * 5 % 7]) for number in range(900)))
    assert sum(balance(url, key)[0] for key in names) == 7_000 - 900
    with beside(url) as connection:
        sums = connection.exec_driver_sql("SELECT sum(requests), sum(delivered) FROM request_sums").one()
        waits = f"SELECT deadlocks FROM pg_stat_database WHERE datname = '{name}'"  # noqa: S608 - its own database
        assert connection.exec_driver_sql(waits).scalar() == 0
    assert tuple(sums) == (900, 900)
    for server in servers:
        server.close()
