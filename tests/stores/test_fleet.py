"""Servers that share a ledger: the dead are cleared up after, once; the living are left alone. PostgreSQL only."""

import asyncio
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from gateway.core.money import Cost, CostState
from gateway.ports import LedgerUnavailable, Peer
from gateway.stores.engine import open_engine
from gateway.stores.fleet_sql import SqlFleet
from gateway.stores.ledger_sql import SqlLedger, open_ledger
from gateway.stores.place import Access, place
from gateway.stores.reader import LogRow, Reader, open_reader
from tests.servers.postgres import Postgres
from tests.stores.conftest import beside
from tests.stores.rows import attempt, request, request_id, result, settlement

QUOTE = Cost(
    amount_micro=70,
    currency="USD",
    unit="tokens",
    state=CostState.ESTIMATED,
    exposure_micro=70,
    price_id=None,
    lines=(),
)


@pytest.fixture
def shared(postgres: Postgres) -> str:
    url = postgres.new_database()
    open_ledger(url, serve=False).close()
    return url


def member(url: str, number: int, *, beat_s: float = 0.02, lease_s: float = 0.3) -> SqlFleet:
    me = Peer(server_id=f"srv_{number:032x}", name=f"host:{number}", config_version=f"c{number}")
    return SqlFleet(open_engine(url, Access.WRITE, busy_ms=1_000, pool=1), me, 0, beat_s=beat_s, lease_s=lease_s)


class Watch:
    """What one server hears of the others."""

    def __init__(self, house: "House", config_version: str) -> None:
        self.house = house
        self.config_version = config_version

    def version(self) -> str:
        return self.config_version

    def looked(self) -> None:
        pass

    def ended(self, peer: Peer, left: int) -> None:
        self.house.told.append((peer.name, left))


class House:
    """Servers of one ledger, and what each told of the others."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.told: list[tuple[str, int]] = []
        self.ledgers: list[SqlLedger] = []

    def server(self, number: int, *, lease_s: float = 0.3) -> SqlLedger:
        fleet = member(self.url, number, lease_s=lease_s)
        ledger = SqlLedger(place(self.url), fleet=fleet)
        self.ledgers.append(ledger)
        ledger.recover()
        fleet.start(Watch(self, f"c{number}"))
        return ledger

    def kill(self, ledger: SqlLedger) -> None:
        """End a server as kill -9 does: it shows no life any more, and takes back nothing."""
        assert ledger.fleet is not None
        ledger.fleet._ended.set()
        if ledger.fleet._thread is not None:
            ledger.fleet._thread.join()
        self.ledgers.remove(ledger)
        ledger._writer.close(1)
        ledger.fleet._engine.dispose()

    async def hears(self, *, of: str, within_s: float = 3.0) -> int:
        async with asyncio.timeout(within_s):
            while True:
                for name, left in self.told:
                    if name == of:
                        return left
                await asyncio.sleep(0.01)


@pytest.fixture
def house(shared: str) -> Iterator[House]:
    made = House(shared)
    yield made
    for ledger in made.ledgers:
        ledger.close()


@pytest.fixture
def reader(shared: str) -> Reader:
    return open_reader(shared)


def row(reader: Reader, number: int) -> LogRow:
    found = reader.find(request_id(number))
    assert found is not None
    return found


async def test_a_dead_servers_requests_are_interrupted_and_the_livings_left_alone(house: House, reader: Reader) -> None:
    first, second = house.server(1), house.server(2)
    await first.begin(request(1), replace(attempt(1), quote=QUOTE))
    await first.begin(request(2), attempt(2))
    await first.settle(settlement(2, result(2)))
    await second.begin(request(3), attempt(3))
    house.kill(first)
    assert await house.hears(of="host:1") == 1
    assert (row(reader, 1).state, row(reader, 1).attempts[0].outcome) == ("interrupted", "unknown")
    assert (row(reader, 2).state, row(reader, 3).state) == ("done", "open")
    await second.settle(settlement(3, result(3)))
    assert row(reader, 3).state == "done"


async def test_a_new_server_leaves_the_requests_of_the_living_open(house: House, reader: Reader) -> None:
    first = house.server(1)
    await first.begin(request(1), attempt(1))
    house.server(2)
    await asyncio.sleep(0.5)
    assert (row(reader, 1).state, house.told) == ("open", [])


async def test_only_one_of_many_clears_up(house: House, reader: Reader) -> None:
    first, *_ = (house.server(number) for number in range(1, 5))
    await asyncio.gather(*(first.begin(request(number), attempt(number)) for number in range(20)))
    house.kill(first)
    assert await house.hears(of="host:1") == 20
    await asyncio.sleep(0.2)
    assert house.told == [("host:1", 20)]


async def test_a_server_that_ended_well_left_what_is_open_to_the_next(house: House, reader: Reader) -> None:
    first = house.server(1)
    await first.begin(request(1), attempt(1))
    first.close()
    second = SqlLedger(place(house.url), fleet=member(house.url, 2))
    house.ledgers.append(second)
    assert second.recover() == 1
    assert row(reader, 1).state == "interrupted"


async def test_a_server_that_was_paused_settles_afterwards_and_is_counted_once(house: House, reader: Reader) -> None:
    first = house.server(1, lease_s=30)
    await first.begin(request(1), attempt(1))
    assert first.fleet is not None
    first.fleet._ended.set()
    house.server(2)
    assert await house.hears(of="host:1") == 1
    await first.settle(settlement(1, result(1)))
    assert (row(reader, 1).state, row(reader, 1).attempts[0].outcome) == ("done", "delivered")
    with beside(house.url) as connection:
        assert connection.exec_driver_sql("SELECT sum(requests), sum(delivered) FROM request_sums").one() == (1, 1)


async def test_a_server_that_cannot_show_that_it_lives_begins_nothing(house: House) -> None:
    first = house.server(1, lease_s=0.1)
    assert first.fleet is not None
    first.fleet._ended.set()
    await asyncio.sleep(0.2)
    with pytest.raises(LedgerUnavailable, match="not heard of this server"):
        await first.begin(request(1), attempt(1))


async def test_servers_know_each_other_and_what_they_run(house: House) -> None:
    first, second = house.server(1), house.server(2)
    assert first.fleet is not None
    assert second.fleet is not None
    async with asyncio.timeout(3):
        while [(peer.name, peer.config_version) for peer in first.fleet.peers] != [("host:2", "c2")]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    second.close()
    async with asyncio.timeout(3):
        while first.fleet.peers:  # noqa: ASYNC110 - a thread looks
            await asyncio.sleep(0.01)
