"""Bindings: the first word stands, keys are apart, restarts change nothing, a database that is gone fails closed."""

import asyncio
from collections.abc import Iterator

import pytest
from sqlalchemy import text

from gateway.core.bindings import Binding
from gateway.ports import LedgerUnavailable
from gateway.stores import bindings_sql
from gateway.stores.bindings_sql import SqlBindings, open_bindings
from gateway.stores.engine import open_engine
from gateway.stores.ledger_sql import SqlLedger, open_ledger
from gateway.stores.place import Access
from tests.stores.conftest import beside, locked, spoil
from tests.stores.rows import NOON, attempt, request, settlement

A = Binding(channel="a", fingerprint="0a")
B = Binding(channel="b", fingerprint="0b")


@pytest.fixture
def bindings(ledger: SqlLedger, url: str) -> Iterator[SqlBindings]:
    opened = open_bindings(url, ledger.write)
    yield opened
    opened.close()


@pytest.fixture
async def many(bindings: SqlBindings) -> list[str]:
    ids = [f"ig_{number:04x}" for number in range(bindings_sql.IDS_PER_QUERY + 20)]
    await bindings.bind("", ids, A, NOON)
    return ids


def rows(url: str) -> list[tuple[str, str, str]]:
    with beside(url) as connection:
        found = connection.execute(text("SELECT bound_id, key_id, channel FROM bindings ORDER BY 1, 2"))
        return [(one, key, channel) for one, key, channel in found]


async def test_an_id_belongs_to_who_gave_it_first(bindings: SqlBindings, url: str, ledger: SqlLedger) -> None:
    assert await bindings.find("", ["resp_1"]) == {}
    await bindings.bind("", ["resp_1", "ig_1", "resp_1"], A, NOON)
    await bindings.bind("", ["resp_1", "ig_2"], B, NOON)
    expected = {"resp_1": A, "ig_1": A, "ig_2": B}
    assert await bindings.find("", ["resp_1", "ig_1", "ig_2", "ig_3"]) == expected
    again = open_bindings(url, ledger.write)
    assert await again.find("", list(expected)) == expected
    again.close()


async def test_keys_are_apart(bindings: SqlBindings, url: str) -> None:
    await bindings.bind("key_1", ["resp_1"], A, NOON)
    await bindings.bind("key_2", ["resp_1", "resp_2"], B, NOON)
    assert await bindings.find("key_1", ["resp_1", "resp_2"]) == {"resp_1": A}
    assert await bindings.find("key_2", ["resp_1", "resp_2"]) == {"resp_1": B, "resp_2": B}
    assert await bindings.find("", ["resp_1"]) == {}
    assert await bindings.held(["resp_1", "resp_2", "resp_3"]) == {"resp_1", "resp_2"}
    await bindings.unbind("key_2", "resp_1")
    assert await bindings.find("key_1", ["resp_1"]) == {"resp_1": A}
    assert await bindings.find("key_2", ["resp_1"]) == {}
    assert rows(url) == [("resp_1", "key_1", "a"), ("resp_2", "key_2", "b")]


async def test_more_ids_than_a_statement_takes(bindings: SqlBindings, many: list[str]) -> None:
    assert await bindings.find("", many) == dict.fromkeys(many, A)
    assert await bindings.held(many) == set(many)


async def test_the_memory_is_bounded_and_forgets_what_was_deleted(ledger: SqlLedger, url: str) -> None:
    small = SqlBindings(open_engine(url, Access.READ, busy_ms=100), ledger.write, cached=2)
    await small.bind("", ["a", "b", "c"], A, NOON)
    assert await small.find("", ["a", "b", "c"]) == dict.fromkeys("abc", A)
    assert len(small._known) == 2
    await small.unbind("", "c")
    assert await small.find("", ["a", "b", "c"]) == dict.fromkeys("ab", A)


async def test_bindings_survive_a_restart(url: str) -> None:
    first = open_ledger(url, serve=True)
    await open_bindings(url, first.write).bind("", ["resp_1"], A, NOON)
    first.close()
    second = open_ledger(url, serve=True)
    again = open_bindings(url, second.write)
    assert await again.find("", ["resp_1"]) == {"resp_1": A}
    again.close()
    second.close()


async def test_bindings_and_settlements_share_a_transaction(ledger: SqlLedger, bindings: SqlBindings, url: str) -> None:
    await ledger.begin(request(1), attempt(1))
    before = ledger.commits
    with locked(url):
        both = asyncio.gather(ledger.settle(settlement(1)), bindings.bind("", ["resp_1"], A, NOON))
        await asyncio.sleep(0.05)
    await both
    assert ledger.commits <= before + 2


async def test_what_could_not_be_written_in_time_is_written_later(hasty: SqlLedger, url: str) -> None:
    bindings = open_bindings(url, hasty.write)
    with locked(url), pytest.raises(LedgerUnavailable):
        await bindings.bind("", ["resp_1"], A, NOON)
    async with asyncio.timeout(5):
        while not await bindings.find("", ["resp_1"]):  # noqa: ASYNC110 - what is waited for happens in the writer
            await asyncio.sleep(0.02)
    bindings.close()


async def test_a_database_that_cannot_be_read_says_so(bindings: SqlBindings, url: str) -> None:
    await bindings.bind("", ["resp_1"], A, NOON)
    spoil(url, "DROP TABLE bindings")
    with pytest.raises(LedgerUnavailable):
        await bindings.find("", ["resp_1"])
    with pytest.raises(LedgerUnavailable):
        await bindings.held(["resp_1"])


@pytest.mark.parametrize("name", ["'; DROP TABLE bindings; --", "\x00", "%", "é" * 300, ""])
async def test_odd_ids_are_only_text(bindings: SqlBindings, name: str) -> None:
    await bindings.bind("", ["resp_1"], A, NOON)
    assert await bindings.find("", [name]) == {}
    assert await bindings.find("", ["resp_1"]) == {"resp_1": A}
