"""One statement of a writer: built with SQLAlchemy Core, compiled to SQL text once per kind of database.

Rows are tuples. ``order`` names their places, and is checked against what the compiler made, so that a changed column
cannot shift a value into its neighbour. What is run is given to the driver as it stands: SQLAlchemy's way there costs
more than most of these statements themselves. Its errors are raised all the same, and a broken connection is one to it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib import import_module
from itertools import chain
from typing import Any, Final, TypeAlias

from sqlalchemy import BindParameter, ClauseElement, ColumnElement, Connection, Dialect, Table, Text, bindparam, not_
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.base import ReadOnlyColumnCollection
from sqlalchemy.sql.compiler import SQLCompiler

from gateway.stores.engine import POSTGRES, Inserting, inserting

Row: TypeAlias = tuple[str | int | None, ...]
Unless: TypeAlias = Callable[[ReadOnlyColumnCollection[str, ColumnElement[Any]]], ColumnElement[bool]]
Said: TypeAlias = Callable[[Sequence[BindParameter[str]]], ClauseElement | Callable[[Inserting], ClauseElement]]

SQLITE = "sqlite"
PAGES: Final = (1, 8, 64, 500)  # how many ids one statement is about; the last of a page is said again
# SQLite need not be able to undo one statement: who runs it goes back to a savepoint, or gives the transaction up. It
# keeps a journal for each statement of several rows otherwise, which costs as much as the rows.
UNDONE_WHOLE: Final = "OR FAIL"
SIZES: Final = (32, 16, 8, 4, 2)  # how many rows one statement inserts; what is left goes by itself


class Statement:
    """A statement with positional parameters; ``clause`` is what is said, or what makes it of a dialect's ``insert``.

    Raises ``ValueError`` when ``order`` is not the parameters'.
    """

    __slots__ = ("_build", "order")

    def __init__(self, clause: ClauseElement | Callable[[Inserting], ClauseElement], order: tuple[str, ...]) -> None:
        self._build = clause
        self.order = order
        _text(self, SQLITE)

    def __str__(self) -> str:
        return _text(self, SQLITE)

    def on(self, dialect: str) -> str:
        """Give the SQL text for ``dialect``, the name a connection's dialect has."""
        return _text(self, dialect)

    def clause(self, dialect: str) -> ClauseElement:
        """Give what is said."""
        return self._build if isinstance(self._build, ClauseElement) else self._build(inserting(dialect))

    def run(self, connection: Connection, row: Row = ()) -> None:
        """Run it for one row."""
        name = connection.dialect.name
        with _Cursor(connection, self) as cursor:
            cursor.execute(_text(self, name), _sendable(row, name))

    def many(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Run it for all rows, in one round; without any, do nothing."""
        if rows:
            name = connection.dialect.name
            with _Cursor(connection, self) as cursor:
                cursor.executemany(_text(self, name), [_sendable(row, name) for row in rows])

    def one(self, connection: Connection, row: Row = ()) -> int:
        """Run it for one row; how many rows of the table it changed."""
        return self.each(connection, [row])[0]

    def each(self, connection: Connection, rows: Sequence[Row]) -> list[int]:
        """Run it for all rows, in one round; how many rows of the table each of them changed."""
        name = connection.dialect.name
        text = _text(self, name)
        with ExitStack() as open_ones:
            if name == SQLITE:
                cursor = open_ones.enter_context(_Cursor(connection, self))
                return [cursor.execute(text, row).rowcount for row in rows]
            cursors = [open_ones.enter_context(_Cursor(connection, self)) for _ in rows]
            for one, row in zip(cursors, rows, strict=True):
                one.execute(f"{text} RETURNING 1", _sendable(row, name))  # a count comes only with the last answer
            return [len(one.fetchall()) for one in cursors]

    def told(self, connection: Connection, row: Row = ()) -> list[tuple[Any, ...]]:
        """Run it for one row; what it returns."""
        name = connection.dialect.name
        with _Cursor(connection, self) as cursor:
            cursor.execute(_text(self, name), _sendable(row, name))
            found: list[tuple[Any, ...]] = cursor.fetchall()
        return found


class Insertion(Statement):
    """Inserts rows, several with one statement: the database is entered, and the interpreter left, once for them.

    ``ending`` says what becomes of a row that is there already.
    """

    __slots__ = ("_ending", "_table")

    def __init__(self, table: Table, order: tuple[str, ...], ending: Callable[[sqlite.Insert], ClauseElement]) -> None:
        self._table = table
        self._ending = ending
        super().__init__(self._one, order)

    def many(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Insert all rows; without any, do nothing."""
        start = 0
        for size in SIZES:
            while len(rows) - start >= size:
                _several(self, size).run(connection, tuple(chain.from_iterable(rows[start : start + size])))
                start += size
        if start < len(rows):
            self.run(connection, rows[start])

    def several(self, count: int) -> Statement:
        """Give the statement that inserts ``count`` rows, the parameters of one after those of the other."""
        names = [tuple(f"{name}_{number}" for name in self.order) for number in range(count)]
        rows: list[dict[str, object]] = [
            {name: bindparam(said) for name, said in zip(self.order, row, strict=True)} for row in names
        ]
        return Statement(
            lambda new: self._ending(new(self._table).prefix_with(UNDONE_WHOLE, dialect=SQLITE).values(rows)),
            tuple(chain.from_iterable(names)),
        )

    def _one(self, new: Inserting) -> ClauseElement:
        return self._ending(new(self._table).values({name: bindparam(name) for name in self.order}))


class Paged:
    """A statement about many ids, said page by page. ``build`` is given the parameters of one page's ids.

    ``first``: the parameters that stand before the ids.
    """

    __slots__ = ("_build", "_first")

    def __init__(self, build: Said, first: tuple[str, ...] = ()) -> None:
        self._build = build
        self._first = first

    def pages(self, ids: Sequence[str], *first: str | int) -> Iterator[tuple[Statement, Row]]:
        """Give what is to be run for ``ids``, and with what; ``first``: the values that stand before them."""
        for start in range(0, len(ids), PAGES[-1]):
            page = ids[start : start + PAGES[-1]]
            count = next(count for count in PAGES if count >= len(page))
            yield _page(self, count), (*first, *page, *([page[-1]] * (count - len(page))))

    def page(self, count: int) -> Statement:
        """Give the statement about ``count`` ids."""
        names = tuple(f"id_{number}" for number in range(count))
        return Statement(self._build([bindparam(name, type_=Text) for name in names]), (*self._first, *names))


@contextmanager
def together(connection: Connection) -> Iterator[None]:
    """Send what is run without waiting for what is told of it, but where that is asked for.

    Each round to a server costs more than a statement there. Within, only a ``Statement`` may ask something. An error
    may come from a later statement, or at the end: all of it has failed together. With a file nothing changes.
    """
    if connection.dialect.name != POSTGRES:
        yield
        return
    with _Errors(connection, "a transaction"), _driver(connection).pipeline():
        yield


class _Errors:
    """The driver's errors as SQLAlchemy's."""

    __slots__ = ("_connection", "_what")

    def __init__(self, connection: Connection, what: object) -> None:
        self._connection = connection
        self._what = what

    def __enter__(self) -> None:
        """Nothing is needed."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        dialect = self._connection.dialect
        if error is None or not isinstance(error, dialect.loaded_dbapi.Error):
            return
        is_gone = dialect.is_disconnect(error, _driver(self._connection), None)
        told = DBAPIError.instance(str(self._what), None, error, dialect.loaded_dbapi.Error, True, is_gone, dialect)
        if is_gone:
            self._connection.invalidate(error)
        raise told from error


class _Cursor:
    """The driver's cursor for one statement, and its errors as SQLAlchemy's."""

    __slots__ = ("_cursor", "_errors")

    def __init__(self, connection: Connection, statement: Statement) -> None:
        self._errors = _Errors(connection, statement)
        if connection.dialect.name == POSTGRES:
            self._cursor: Any = connection.dialect.loaded_dbapi.RawCursor(_driver(connection))
        else:
            self._cursor = _driver(connection).cursor()

    def __enter__(self) -> Any:
        return self._cursor

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            self._cursor.close()
        else:
            self._errors.__exit__(kind, error, trace)


def _driver(connection: Connection) -> Any:
    return connection.connection.dbapi_connection


def adding(table: Table, order: tuple[str, ...]) -> Insertion:
    """Give the statement that inserts a row; one that is there already is refused."""
    return Insertion(table, order, lambda row: row)


def ignoring(table: Table, order: tuple[str, ...]) -> Insertion:
    """Give the statement that inserts a row; one that is there already stays as it is."""
    return Insertion(table, order, lambda row: row.on_conflict_do_nothing())


def replacing(table: Table, order: tuple[str, ...], unless: Unless | None = None) -> Statement:
    """Give the statement that inserts a row, or gives the one with the same primary key all other values of it.

    ``unless``: of the new row's columns, when the one that is there stays as it is.
    """

    def build(new: Inserting) -> ClauseElement:
        row = new(table).values({name: bindparam(name) for name in order})
        key = [column.name for column in table.primary_key]
        changed = {name: row.excluded[name] for name in order if name not in key}
        stays = None if unless is None else unless(row.excluded)
        return row.on_conflict_do_update(index_elements=key, set_=changed, where=None if stays is None else not_(stays))

    return Statement(build, order)


def _sendable(row: Row, dialect: str) -> Row:
    """Give the row as the database takes it: a server's text cannot hold the character NUL, a file's can."""
    if dialect != POSTGRES or "\\x00" not in repr(row):  # as quick as can be said; what was meant is looked at below
        return row
    return tuple(value.replace("\0", "\ufffd") if isinstance(value, str) else value for value in row)


@cache
def _several(insertion: Insertion, count: int) -> Statement:
    return insertion.several(count)


@cache
def _page(paged: Paged, count: int) -> Statement:
    return paged.page(count)


@cache
def _text(statement: Statement, dialect: str) -> str:
    compiled = statement.clause(dialect).compile(dialect=_dialect(dialect))
    found = tuple(compiled.positiontup or ()) if isinstance(compiled, SQLCompiler) else ()
    if found != statement.order:
        raise ValueError(f"parameters are {found}, not {statement.order}")
    return _numbered(str(compiled)) if dialect == POSTGRES else str(compiled)


def _numbered(text: str) -> str:
    """Give the text with the server's own signs for parameters: looking for others costs as much as the rest."""
    first, *rest = text.split("%s")
    return "".join([first, *(f"${number}{piece}" for number, piece in enumerate(rest, 1))]).replace("%%", "%")


@cache
def _dialect(name: str) -> Dialect:
    if name != POSTGRES:
        return sqlite.dialect(paramstyle="qmark")
    made: Dialect = import_module("sqlalchemy.dialects.postgresql.psycopg").dialect(paramstyle="format")
    return made
