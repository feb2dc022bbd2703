"""The stores' contract, on both kinds of database: every test that takes ``url`` runs on SQLite and on PostgreSQL.

A test that also takes ``database``, the file, is about SQLite and runs there only.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from gateway.stores.engine import POSTGRES, open_engine
from gateway.stores.ledger_sql import SqlLedger, open_ledger
from gateway.stores.place import Access
from gateway.stores.reader import Reader, open_reader
from gateway.stores.schema import metadata

SQLITE_ONLY = ("sqlite",)
BOTH = ("sqlite", "postgres")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "kind" in metafunc.fixturenames:
        metafunc.parametrize("kind", SQLITE_ONLY if "database" in metafunc.fixturenames else BOTH, indirect=True)


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "data" / "waybill.db"


@pytest.fixture
def url(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    if kind == "sqlite":
        return f"sqlite:///{tmp_path / 'data' / 'waybill.db'}"
    return str(request.getfixturevalue("postgres").new_database())


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
def beside(url: str) -> Iterator[Connection]:
    """A transaction beside the program's own, as another process would have one."""
    engine = open_engine(url, Access.WRITE, busy_ms=5_000)
    with engine.begin() as connection:
        yield connection


@contextmanager
def locked(url: str) -> Iterator[None]:
    """Let nobody else write, as another process may."""
    with beside(url) as connection:
        if connection.dialect.name == POSTGRES:
            tables = ", ".join(["alembic_version", *metadata.tables])
            connection.execute(text(f"LOCK TABLE {tables} IN EXCLUSIVE MODE"))
        yield


def spoil(url: str, sql: str) -> None:
    """Change the schema behind the program's back."""
    with beside(url) as connection:
        connection.execute(text(sql))
