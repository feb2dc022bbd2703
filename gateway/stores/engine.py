"""The one door to a database: an engine for a URL, and what its errors mean, whichever of the two kinds it is.

What is written above this door is portable: SQLAlchemy Core, statements by ``statements.Statement``, an upsert by
``inserting``. Nothing above it asks which kind a database is, but for the server's lock and the recovery.
"""

from collections.abc import Callable, Iterable
from importlib import import_module
from typing import TypeAlias, cast

from sqlalchemy import ColumnElement, Connection, Engine, Table, literal_column, select
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError, SQLAlchemyError, StatementError

from gateway.stores.place import Access, Place, place
from gateway.stores.postgres import is_in_the_way, open_server
from gateway.stores.sqlite import is_locked, open_file

POSTGRES = "postgresql"
WRITING_THREADS = 4  # on a server; a SQLite file has one writer at a time anyway

Inserting: TypeAlias = Callable[[Table], sqlite.Insert]

# What one command's own values can make the database or its driver raise.
REFUSALS = (SQLAlchemyError, ArithmeticError, TypeError, ValueError)


def open_engine(database: str | Place, access: Access, *, busy_ms: int, pool: int = 0) -> Engine:
    """Give an engine for a URL. ``busy_ms``: how long a statement waits for another's lock. Nothing is connected yet.

    ``pool``: connections kept open between uses, for who reads often; who asks for one disposes of the engine. A
    SQLite file needs none and gets none. Raises ``LedgerRefused`` for a bad URL and a driver that is not there.
    """
    where = place(database) if isinstance(database, str) else database
    if where.file is None:
        return open_server(where.url, access, busy_ms=busy_ms, pool=pool)
    return open_file(where.file, access, busy_ms=busy_ms)


def writing_threads(where: Place) -> int:
    """Say how many threads write to a database."""
    return WRITING_THREADS if where.is_shared else 1


def inserting(dialect: str) -> Inserting:
    """Give the dialect's own ``insert``, which has ``on_conflict_do_update`` and ``on_conflict_do_nothing``.

    The two classes share no base but take the same calls. The server's is imported by name: half of a ledger's users
    never have one, and it takes longer to import than all of this.
    """
    if dialect != POSTGRES:
        return sqlite.insert
    return cast("Inserting", import_module("sqlalchemy.dialects.postgresql").insert)


def is_busy(error: SQLAlchemyError) -> bool:
    """Whether another transaction was in the way: the same statement may succeed later."""
    cause = error.orig if isinstance(error, DBAPIError) else None
    return cause is not None and (is_locked(cause) or is_in_the_way(cause))


def is_refusal(error: BaseException) -> bool:
    """Whether a command failed for its own values: the others of its batch may succeed, and it never will."""
    if isinstance(error, DBAPIError):
        unsendable = isinstance(error, ProgrammingError) and getattr(error.orig, "sqlstate", None) is None
        return unsendable or isinstance(error, IntegrityError | DataError)
    return isinstance(error, StatementError) or not isinstance(error, SQLAlchemyError)


def only_one(connection: Connection) -> None:
    """Keep every other process out of what this transaction is about to do (SQLite's write lock does so already)."""
    if connection.dialect.name == POSTGRES:
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(727_174_926)")


def hold_rows(connection: Connection, key: ColumnElement[str], values: Iterable[str]) -> None:
    """Lock the rows with these keys, in order, before any of them is changed: so two batches never wait for each other.

    Needed for rows that many commands change (a balance, a sum). On SQLite the transaction has the only lock there is.
    """
    wanted = sorted(set(values))
    if wanted and connection.dialect.name == POSTGRES:
        connection.execute(select(literal_column("1")).where(key.in_(wanted)).order_by(key).with_for_update())
