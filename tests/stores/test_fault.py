"""Whether the ledger says of itself that it can be written."""

import pytest

from gateway.ports import LedgerUnavailable
from gateway.stores import ledger_sql
from gateway.stores.ledger_sql import SqlLedger
from gateway.stores.reader import Reader
from tests.stores.conftest import locked
from tests.stores.rows import attempt, request, result, settlement


async def test_a_ledger_that_was_never_written_is_tried(ledger: SqlLedger, reader: Reader) -> None:
    assert ledger.commits == 0
    assert await ledger.fault() is None
    assert ledger.commits == 1
    assert ledger.unwritten == 0


async def test_a_commit_of_just_now_is_evidence_enough(ledger: SqlLedger) -> None:
    await ledger.settle(settlement(1, result(1)))
    assert await ledger.fault() is None
    assert ledger.commits == 1


async def test_a_ledger_that_another_holds_is_at_fault_until_it_lets_go(ledger: SqlLedger, url: str) -> None:
    with locked(url):
        assert await ledger.fault() == f"the ledger did not commit within {ledger_sql.PROBE_TIMEOUT_S:g} s"
        assert await ledger.fault() is not None
        assert ledger.unwritten == 0
    assert await ledger.fault() is None
    assert ledger.queued == 0


async def test_a_closed_ledger_is_at_fault(ledger: SqlLedger) -> None:
    ledger.close()
    assert await ledger.fault() == "the ledger is closed"
    with pytest.raises(LedgerUnavailable):
        await ledger.begin(request(1), attempt(1))
