import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from gateway.ports import LogQuery
from gateway.stores.ledger_sql import SqlLedger, open_ledger
from gateway.stores.reader import Reader, _page, open_reader
from gateway.stores.refusals import LedgerRefused
from tests.stores.conftest import beside, locked
from tests.stores.rows import attempt, request, request_id, result, settlement


def numbers(reader: Reader, query: LogQuery) -> list[int]:
    return [int(row.request_id.removeprefix("req_"), 16) for row in reader.page(query)]


@pytest.fixture
async def filled(ledger: SqlLedger) -> SqlLedger:
    """Ten requests: 0 to 5 delivered (even by acme, odd by beta), 6 failed, 7 refused, 8 open, 9 for another model."""
    for number in range(6):
        await ledger.begin(request(number), attempt(number))
        await ledger.settle(settlement(number, result(number), owner="beta" if number % 2 else "acme"))
    await ledger.begin(request(6), attempt(6))
    await ledger.settle(settlement(6, result(6, failure="timeout", outcome="unknown"), status=504, failure="timeout"))
    await ledger.settle(settlement(7, status=400, owner=None))
    await ledger.begin(request(8), attempt(8))
    await ledger.begin(request(9, model="flux"), attempt(9))
    return ledger


def test_pages_are_newest_first_and_follow_each_other_by_key(filled: SqlLedger, reader: Reader) -> None:
    assert numbers(reader, LogQuery(limit=4)) == [9, 8, 7, 6]
    assert numbers(reader, LogQuery(limit=4, before=request_id(6))) == [5, 4, 3, 2]
    assert numbers(reader, LogQuery(limit=4, before=request_id(2))) == [1, 0]
    assert numbers(reader, LogQuery(limit=4, before=request_id(0))) == []


def test_following_takes_only_what_is_newer(filled: SqlLedger, reader: Reader) -> None:
    assert numbers(reader, LogQuery(after=request_id(7))) == [9, 8]
    assert numbers(reader, LogQuery(after=request_id(9))) == []


def test_filters_narrow_the_page(filled: SqlLedger, reader: Reader) -> None:
    assert numbers(reader, LogQuery(failed=True)) == [7, 6]
    assert numbers(reader, LogQuery(owner="beta")) == [5, 3, 1]
    assert numbers(reader, LogQuery(owner="acme", limit=3)) == [9, 8, 6]
    assert numbers(reader, LogQuery(model="flux")) == [9]
    assert numbers(reader, LogQuery(model="flux", failed=True)) == []
    assert numbers(reader, LogQuery(owner="' OR 1=1 --")) == []


def test_open_requests_show_their_attempts(filled: SqlLedger, reader: Reader) -> None:
    newest = reader.page(LogQuery(limit=2))
    assert [(row.state, row.attempts[0].state) for row in newest] == [("open", "sent")] * 2


def test_interrupted_requests_count_as_failed(filled: SqlLedger, url: str, reader: Reader) -> None:
    filled.close()
    again = open_ledger(url, serve=True)
    assert again.recover() == 2
    again.close()
    assert numbers(reader, LogQuery(failed=True)) == [9, 8, 7, 6]
    assert numbers(reader, LogQuery(owner="acme", failed=True)) == [9, 8, 6]


async def test_a_page_longer_than_one_query_of_ids_has_all_attempts(ledger: SqlLedger, reader: Reader) -> None:
    for number in range(3):
        await ledger.begin(request(number), attempt(number))
        await ledger.begin(None, attempt(number, 2))
    assert [[tried.n for tried in row.attempts] for row in reader.page(LogQuery(limit=3))] == [[1, 2]] * 3


def test_a_data_directory_without_a_database_reads_as_empty_and_stays_so(reader: Reader, database: Path) -> None:
    assert reader.page(LogQuery()) == []
    assert reader.find(request_id(1)) is None
    assert not database.parent.exists()


def test_an_empty_file_reads_as_empty(reader: Reader, database: Path) -> None:
    database.parent.mkdir()
    database.touch()
    assert reader.page(LogQuery()) == []
    assert database.stat().st_size == 0


async def test_reading_beside_a_server_neither_waits_nor_sees_half_a_transaction(
    filled: SqlLedger, reader: Reader, url: str
) -> None:
    with locked(url):
        assert len(reader.page(LogQuery())) == 10
    with beside(url) as other:
        other.execute(text("UPDATE requests SET owner = 'half'"))
        assert numbers(reader, LogQuery(owner="half")) == []


def test_a_stopped_servers_ledger_is_read_without_leaving_files(filled: SqlLedger, url: str, database: Path) -> None:
    filled.close()
    assert len(open_reader(url).page(LogQuery())) == 10
    assert {path.name for path in database.parent.iterdir()} == {"waybill.db", "waybill.db.lock"}


def test_a_file_that_is_no_database_is_refused(reader: Reader, database: Path) -> None:
    database.parent.mkdir()
    database.write_bytes(b"no database" * 500)
    with pytest.raises(LedgerRefused, match="cannot be read"):
        reader.page(LogQuery())


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (LogQuery(before="req_5"), "sqlite_autoindex_requests_1"),
        (LogQuery(failed=True), "ix_requests_failed"),
        (LogQuery(owner="acme"), "ix_requests_owner"),
        (LogQuery(model="gpt", before="req_5"), "ix_requests_asked_model"),
    ],
)
def test_every_page_is_read_from_an_index_without_sorting(
    filled: SqlLedger, database: Path, query: LogQuery, index: str
) -> None:
    sql = str(_page(query).compile(compile_kwargs={"literal_binds": True}))
    with closing(sqlite3.connect(database)) as connection:
        plan = " ".join(step[3] for step in connection.execute(f"EXPLAIN QUERY PLAN {sql}"))
    assert index in plan
    assert "TEMP B-TREE" not in plan
