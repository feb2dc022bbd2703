"""The sums of the ledger, for who asks what was spent: one read transaction, so that all figures are of one moment.

Whole days are read from the sums by day, which the settlements keep; what ``since`` and ``until`` leave of a day is
counted anew, by the same rule, from that part of the day alone. So a figure costs as much as there are days and groups,
and never as much as there are requests. Requests under way are not counted. Nothing is written here.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TypeAlias

from msgspec import Struct
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    FromClause,
    Label,
    RowMapping,
    Select,
    Subquery,
    Table,
    and_,
    cast,
    func,
    select,
)
from sqlalchemy.exc import DBAPIError

from gateway.core.spend import Dimension, Group, Served, Spent, Usage, UsageQuery, usage
from gateway.ports.readings import TooManyGroups
from gateway.stores.commands import epoch_us
from gateway.stores.engine import open_engine
from gateway.stores.place import Access, place
from gateway.stores.reader import BUSY_MS, has_ledger
from gateway.stores.refusals import LedgerRefused
from gateway.stores.schema import attempt_sums, request_sums, requests
from gateway.stores.tally import DAY_US, attempt_counts, request_counts

MOST_GROUPS = 20_000  # of one kind: more than anybody reads, and few enough to bring together in a moment
_EPOCH = date(1970, 1, 1)
_ID_SLACK = timedelta(minutes=1)  # an id is made a moment before its request's time is taken
_COLUMNS = {Dimension.MODEL: "model", Dimension.KEY: "key_id"}  # where they differ from the dimension's word

Piece: TypeAlias = tuple[datetime, datetime]


class Span(Struct, frozen=True, kw_only=True):
    """A time, as whole days (``end_day`` is left out; absent: without end) and the pieces of days beside them."""

    first_day: int | None = None
    end_day: int | None = None
    pieces: tuple[Piece, ...] = ()


def read_usage(database_url: str, query: UsageQuery) -> list[Usage]:
    """Sum up the ledger at ``database_url``, which need not exist. Raises ``LedgerRefused`` and ``TooManyGroups``."""
    where = place(database_url)
    if not where.is_there:
        return []
    engine = open_engine(where, Access.READ, busy_ms=BUSY_MS)
    try:
        with engine.begin() as connection:
            return sums(connection, query) if has_ledger(connection) else []
    except DBAPIError as error:
        raise LedgerRefused(f"the ledger {where} cannot be read: {error.orig}") from error


def sums(connection: Connection, query: UsageQuery) -> list[Usage]:
    """Sum up an open ledger of this version. Raises ``TooManyGroups``, and SQLAlchemy's errors."""
    span = span_of(query)
    served: list[Served] = _served(connection, request_sums, query, span)
    spent: list[Spent] = _spent(connection, attempt_sums, query, span)
    for piece in span.pieces:
        served += _served(connection, request_counts(_within(piece)).subquery(), query)
        spent += _spent(connection, attempt_counts(_within(piece)).subquery(), query)
    return usage(served, spent)


def span_of(query: UsageQuery) -> Span:
    """Divide the query's time into whole days and the pieces at its ends."""
    since, until = query.since, query.until
    first = None if since is None else _day(since) + (since > _midnight(_day(since)))
    end = None if until is None else _day(until)
    if since is not None and until is not None and first is not None and end is not None and first > end:
        return Span(first_day=0, end_day=0, pieces=((since, until),) if since < until else ())
    pieces: list[Piece] = []
    if since is not None and first is not None and since < _midnight(first):
        pieces.append((since, _midnight(first)))
    if until is not None and end is not None and until > _midnight(end):
        pieces.append((_midnight(end), until))
    return Span(first_day=first, end_day=end, pieces=tuple(pieces))


def _served(
    connection: Connection, source: Table | Subquery, query: UsageQuery, span: Span | None = None
) -> list[Served]:
    names = ("requests", "delivered", "images", "accepted", "rejected", "credits", "rescued", "lost")
    group = _group(source, query.by)
    statement = (
        select(*group, *(_sum(source, name) for name in names))
        .where(*_days(source, span))
        .group_by(*(one.element for one in group))
    )
    return [
        Served(
            group=_named(cell, query.by),
            requests=cell["requests"],
            delivered=cell["delivered"],
            images=cell["images"],
            accepted=cell["accepted"],
            rejected=cell["rejected"],
            credits=cell["credits"],
            rescued=cell["rescued"],
            lost=cell["lost"],
        )
        for cell in _bounded(connection, statement)
        if any(cell[name] for name in names)
    ]


def _spent(
    connection: Connection, source: Table | Subquery, query: UsageQuery, span: Span | None = None
) -> list[Spent]:
    names = ("attempts", "missing", "amount_micro", "exposure_micro", "rescued_micro", "lost_micro")
    words = ("outcome", "unit", "currency", "state")
    group = _group(source, query.by)
    statement = (
        select(*group, *(source.c[word] for word in words), *(_sum(source, name) for name in names))
        .where(*_days(source, span))
        .group_by(*(one.element for one in group), *(source.c[word] for word in words))
    )
    return [
        Spent(
            group=_named(cell, query.by),
            outcome=cell["outcome"],
            unit=cell["unit"] or None,
            currency=cell["currency"] or None,
            state=cell["state"] or None,
            attempts=cell["attempts"],
            missing=cell["missing"],
            amount_micro=cell["amount_micro"],
            exposure_micro=cell["exposure_micro"],
            rescued_micro=cell["rescued_micro"],
            lost_micro=cell["lost_micro"],
        )
        for cell in _bounded(connection, statement)
        if any(cell[name] for name in names)
    ]


def _bounded(connection: Connection, statement: Select[*tuple[object, ...]]) -> Sequence[RowMapping]:
    rows = connection.execute(statement.limit(MOST_GROUPS + 1)).mappings().all()
    if len(rows) > MOST_GROUPS:
        raise TooManyGroups(MOST_GROUPS)
    return rows


def _group(source: FromClause, by: Sequence[Dimension]) -> list[Label[object]]:
    return [source.c[_COLUMNS.get(one, one.value)].label(f"by_{one.value}") for one in by]


def _sum(source: FromClause, name: str) -> Label[int]:
    return cast(func.coalesce(func.sum(source.c[name]), 0), BigInteger).label(name)


def _days(source: FromClause, span: Span | None) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if span is not None and span.first_day is not None:
        found.append(source.c.day >= span.first_day)
    if span is not None and span.end_day is not None:
        found.append(source.c.day < span.end_day)
    return found


def _within(piece: Piece) -> ColumnElement[bool]:
    """Say which requests are of a piece of a day: by their time, but found by their ids, which are ordered."""
    since, until = piece
    return and_(
        requests.c.request_id >= first_id(since - _ID_SLACK),
        requests.c.request_id < first_id(until + _ID_SLACK),
        requests.c.time_us >= epoch_us(since),
        requests.c.time_us < epoch_us(until),
    )


def first_id(moment: datetime) -> str:
    """Give what is before every request's id of this millisecond and after all earlier ones."""
    return f"req_{max(0, (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)):012x}"


def _day(moment: datetime) -> int:
    return epoch_us(moment) // DAY_US


def _midnight(day: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day)


def _named(cell: RowMapping, by: Sequence[Dimension]) -> Group:
    return tuple(_word(cell[f"by_{one.value}"]) for one in by)


def _word(word: object) -> str | None:
    if isinstance(word, int):
        return (_EPOCH + timedelta(days=word)).isoformat()
    return str(word) if word else None
