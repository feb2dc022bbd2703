"""Smoke runs: the last one of each row counts, a server sees it within a second, and another account proves nothing."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from gateway.core.types import Surface
from gateway.core.verification import Proof, Verification
from gateway.ports import LedgerUnavailable
from gateway.stores.ledger_sql import SqlLedger
from gateway.stores.verified_sql import (
    SqlVerifications,
    open_verifications,
    proven,
    read_verifications,
    record_verification,
)
from tests.stores.conftest import spoil

NOW = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
PROOF = Proof(channel="openai", row="m", surface=Surface.EDITS, fingerprint="f" * 32, model="m-1")
PASSED = Verification(proof=PROOF, at=NOW, passed=True)


@pytest.fixture
def known(ledger: SqlLedger, url: str) -> Iterator[SqlVerifications]:
    opened = open_verifications(url)
    yield opened
    opened.close()


def test_the_last_run_of_a_row_counts(ledger: SqlLedger, url: str) -> None:
    assert read_verifications(url) == []
    record_verification(url, PASSED)
    other = replace(PASSED, proof=replace(PROOF, surface=Surface.GENERATIONS), at=NOW + timedelta(seconds=1))
    record_verification(url, other)
    assert read_verifications(url) == [PASSED, other]
    failed = replace(PASSED, at=NOW + timedelta(seconds=2), passed=False)
    record_verification(url, failed)
    assert read_verifications(url) == [other, failed]
    assert proven(read_verifications(url)) == {other.proof}


def test_a_run_through_another_account_is_another_run(ledger: SqlLedger, url: str) -> None:
    record_verification(url, PASSED)
    record_verification(url, replace(PASSED, proof=replace(PROOF, fingerprint="e" * 32), passed=False))
    assert proven(read_verifications(url)) == {PROOF}


def test_a_server_sees_a_run_within_a_second(known: SqlVerifications, url: str) -> None:
    assert known.current() == frozenset()
    record_verification(url, PASSED)
    deadline = time.monotonic() + 1.5
    while not known.current() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert known.current() == {PROOF}


def test_what_cannot_be_written_is_said_and_what_cannot_be_read_is_nothing(
    ledger: SqlLedger, url: str, tmp_path: Path
) -> None:
    spoil(url, "DROP TABLE verifications")
    with pytest.raises(LedgerUnavailable):
        record_verification(url, PASSED)
    assert read_verifications(url) == ()
    assert read_verifications(f"sqlite:///{tmp_path}/nowhere.db") == ()
