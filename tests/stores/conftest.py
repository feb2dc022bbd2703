import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from gateway.stores.ledger_sql import SqlLedger, open_ledger
from gateway.stores.reader import Reader, open_reader


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "data" / "waybill.db"


@pytest.fixture
def url(database: Path) -> str:
    return f"sqlite:///{database}"


@pytest.fixture
def reader(url: str) -> Reader:
    return open_reader(url)


@pytest.fixture
def ledger(url: str) -> Iterator[SqlLedger]:
    opened = open_ledger(url, serve=True)
    yield opened
    opened.close()


@pytest.fixture
def hasty(url: str) -> Iterator[SqlLedger]:
    """A ledger whose callers wait for 0.4 s only."""
    opened = open_ledger(url, serve=True, commit_timeout_s=0.4)
    yield opened
    opened.close()


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Hold the write lock, as another process would."""
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")
