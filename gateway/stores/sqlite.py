"""Opens SQLite files: how a connection is set, when a transaction takes the write lock.

Every connection: WAL, ``synchronous=FULL`` (a commit that returned is on the disk), ``foreign_keys`` on, a busy
timeout. Writing transactions begin with ``BEGIN IMMEDIATE``, so that none fails half way for want of the lock. The
settings are read back, because a file system without shared memory refuses WAL silently. Engines keep no pool: who
opens a connection owns it.
"""

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import NullPool

from gateway.stores.place import Access


def create_private(path: Path) -> None:
    """Create the directory and an empty file only its owner may read, unless they exist."""
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # WAL and shared memory files take the same mode


def open_file(path: Path, access: Access, *, busy_ms: int) -> Engine:
    """Give an engine for one file. ``busy_ms``: how long a statement waits for another process's lock."""
    engine = create_engine("sqlite://", creator=_connector(path, access, busy_ms), poolclass=NullPool)
    if access is Access.WRITE:
        event.listen(engine, "begin", _begin_immediate)
    else:
        event.listen(engine, "begin", _begin)
    return engine


def is_locked(error: BaseException) -> bool:
    """Whether another connection holds the lock: the same statement may succeed later."""
    # The driver's own errors, those that are not SQLite's, have no such code.
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


def _connector(path: Path, access: Access, busy_ms: int) -> Callable[[], sqlite3.Connection]:
    uri = f"file:{quote(str(path))}?mode={access.value}"

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            uri, uri=True, timeout=busy_ms / 1000, isolation_level=None, check_same_thread=False
        )
        try:
            _configure(connection, access)
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    return connect


def _configure(connection: sqlite3.Connection, access: Access) -> None:
    if access is Access.READ:
        connection.execute("PRAGMA query_only=ON")
        return
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    found = tuple(
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous", "foreign_keys")
    )
    if found != ("wal", 2, 1):
        raise sqlite3.OperationalError(f"the file system does not allow WAL with full sync here (got {found})")


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")
