"""One writing statement: built with SQLAlchemy Core, compiled to SQL text once per kind of database.

Rows are tuples. ``order`` names their places, and is checked against what the compiler made, so that a changed column
cannot shift a value into its neighbour. What is run is given to the driver as it stands: SQLAlchemy's way there costs
more than most of these statements themselves. Its errors are raised all the same, and a broken connection is one to it.
"""

from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from typing import Any, TypeAlias

from sqlalchemy import ClauseElement, Connection, Dialect, Table, bindparam, insert
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.compiler import SQLCompiler

from gateway.stores.engine import POSTGRES, Inserting, inserting

Row: TypeAlias = tuple[str | int | None, ...]

SQLITE = "sqlite"


class Statement:
    """A statement with positional parameters; ``clause`` is what is said, or what makes it of a dialect's ``insert``.

    Raises ``ValueError`` when ``order`` is not the parameters'.
    """

    __slots__ = ("_build", "order")

    def __init__(self, clause: ClauseElement | Callable[[Inserting], ClauseElement], order: tuple[str, ...]) -> None:
        self._build = clause
        self.order = order
        _text(self, SQLITE)

    def on(self, dialect: str) -> str:
        """Give the SQL text for ``dialect``, the name a connection's dialect has."""
        return _text(self, dialect)

    def clause(self, dialect: str) -> ClauseElement:
        """Give what is said."""
        return self._build if isinstance(self._build, ClauseElement) else self._build(inserting(dialect))

    def many(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Run it for all rows, in one round; without any, do nothing."""
        if rows:
            name = connection.dialect.name
            with _Cursor(connection, self) as cursor:
                cursor.executemany(_text(self, name), [_sendable(row, name) for row in rows])

    def one(self, connection: Connection, row: Row = ()) -> int:
        """Run it for one row; how many rows of the table it changed."""
        name = connection.dialect.name
        with _Cursor(connection, self) as cursor:
            cursor.execute(_text(self, name), _sendable(row, name))
            changed: int = cursor.rowcount
        return changed

    def told(self, connection: Connection, row: Row = ()) -> list[tuple[Any, ...]]:
        """Run it for one row; what it returns."""
        name = connection.dialect.name
        with _Cursor(connection, self) as cursor:
            cursor.execute(_text(self, name), _sendable(row, name))
            found: list[tuple[Any, ...]] = cursor.fetchall()
        return found


class _Cursor:
    """The driver's cursor for one statement, and its errors as SQLAlchemy's."""

    __slots__ = ("_connection", "_cursor", "_statement")

    def __init__(self, connection: Connection, statement: Statement) -> None:
        self._connection = connection
        self._statement = statement
        self._cursor: Any = connection.connection.cursor()

    def __enter__(self) -> Any:
        return self._cursor

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is None:
            self._cursor.close()
            return
        dialect = self._connection.dialect
        if not isinstance(error, dialect.loaded_dbapi.Error):
            return
        is_gone = dialect.is_disconnect(error, self._connection.connection.dbapi_connection, self._cursor)
        text = _text(self._statement, dialect.name)
        told = DBAPIError.instance(
            text,
            None,
            error,
            dialect.loaded_dbapi.Error,
            True,
            is_gone,
            dialect,
        )
        if is_gone:
            self._connection.invalidate(error)
        raise told from error


def adding(table: Table, order: tuple[str, ...]) -> Statement:
    """Give the statement that inserts a row; one that is there already is refused."""
    return Statement(insert(table).values({name: bindparam(name) for name in order}), order)


def ignoring(table: Table, order: tuple[str, ...]) -> Statement:
    """Give the statement that inserts a row; one that is there already stays as it is."""
    return Statement(
        lambda new: new(table).values({name: bindparam(name) for name in order}).on_conflict_do_nothing(), order
    )


def replacing(table: Table, order: tuple[str, ...]) -> Statement:
    """Give the statement that inserts a row, or gives the one with the same primary key all other values of it."""

    def build(new: Inserting) -> ClauseElement:
        row = new(table).values({name: bindparam(name) for name in order})
        key = [column.name for column in table.primary_key]
        changed = {name: row.excluded[name] for name in order if name not in key}
        return row.on_conflict_do_update(index_elements=key, set_=changed)

    return Statement(build, order)


def _sendable(row: Row, dialect: str) -> Row:
    """Give the row as the database takes it: a server's text cannot hold the character NUL, a file's can."""
    if dialect != POSTGRES or not any(isinstance(value, str) and "\0" in value for value in row):
        return row
    return tuple(value.replace("\0", "\ufffd") if isinstance(value, str) else value for value in row)


@cache
def _text(statement: Statement, dialect: str) -> str:
    compiled = statement.clause(dialect).compile(dialect=_dialect(dialect))
    found = tuple(compiled.positiontup or ()) if isinstance(compiled, SQLCompiler) else ()
    if found != statement.order:
        raise ValueError(f"parameters are {found}, not {statement.order}")
    return str(compiled)


@cache
def _dialect(name: str) -> Dialect:
    if name != POSTGRES:
        return sqlite.dialect(paramstyle="qmark")
    made: Dialect = import_module("sqlalchemy.dialects.postgresql.psycopg").dialect(paramstyle="format")
    return made
