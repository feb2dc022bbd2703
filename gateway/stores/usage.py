"""The sums of the ledger: requests and attempts counted in groups, beside a running server or without one.

One read transaction, so that both sides are of one moment. Attempts that are under way are not counted. ``since`` and
``until`` go by the ids, which are ordered by time to the millisecond. A reader of its own; nothing is written.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from sqlalchemy import Column, ColumnElement, Connection, Label, RowMapping, case, func, select
from sqlalchemy.exc import DBAPIError

from gateway.core.spend import Dimension, Group, Served, Spent, Usage, usage
from gateway.stores.engine import open_engine
from gateway.stores.place import Access, Place, place
from gateway.stores.reader import BUSY_MS, has_ledger
from gateway.stores.refusals import LedgerRefused
from gateway.stores.schema import AttemptState, attempts, requests

DAY_US = 86_400_000_000
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageQuery:
    """What to group by, in order, and from when until when (``until`` itself is left out)."""

    by: tuple[Dimension, ...]
    since: datetime | None = None
    until: datetime | None = None


def read_usage(database_url: str, query: UsageQuery) -> list[Usage]:
    """Sum up the ledger at ``database_url``, which need not exist. Raises ``LedgerRefused``."""
    where = place(database_url)
    if not where.is_there:
        return []
    return _read(where, query)


def _read(where: Place, query: UsageQuery) -> list[Usage]:
    engine = open_engine(where, Access.READ, busy_ms=BUSY_MS)
    try:
        with engine.begin() as connection:
            if not has_ledger(connection):
                return []
            return usage(_served(connection, query), _spent(connection, query))
    except DBAPIError as error:
        raise LedgerRefused(f"the ledger {where} cannot be read: {error.orig}") from error


def _served(connection: Connection, query: UsageQuery) -> list[Served]:
    group = _group(query, requests.c.owner, requests.c.channel)
    statement = (
        select(
            *group,
            func.count().label("requests"),
            func.sum(case((requests.c.status < 400, 1), else_=0)).label("delivered"),
            func.coalesce(func.sum(requests.c.images), 0).label("images"),
        )
        .where(*_between(query))
        .group_by(*group)
    )
    return [
        Served(
            group=_named(cell, query.by), requests=cell["requests"], delivered=cell["delivered"], images=cell["images"]
        )
        for cell in connection.execute(statement).mappings()
    ]


def _spent(connection: Connection, query: UsageQuery) -> list[Spent]:
    group = _group(query, attempts.c.owner, attempts.c.channel)
    alike = (attempts.c.outcome, attempts.c.cost_unit, attempts.c.cost_currency, attempts.c.cost_state)
    statement = (
        select(
            *group,
            *alike,
            func.count().label("attempts"),
            func.count(attempts.c.request_id.distinct()).label("requests"),
            func.coalesce(func.sum(attempts.c.cost_micro), 0).label("amount"),
            func.coalesce(func.sum(attempts.c.exposure_micro), 0).label("exposure"),
        )
        .join(requests, requests.c.request_id == attempts.c.request_id)
        .where(attempts.c.state != AttemptState.SENT.value, *_between(query))
        .group_by(*group, *alike)
    )
    return [
        Spent(
            group=_named(cell, query.by),
            outcome=cell["outcome"] or "",
            unit=cell["cost_unit"],
            currency=cell["cost_currency"],
            state=cell["cost_state"],
            attempts=cell["attempts"],
            requests=cell["requests"],
            amount_micro=cell["amount"],
            exposure_micro=cell["exposure"],
        )
        for cell in connection.execute(statement).mappings()
    ]


def _group(query: UsageQuery, owner: Column[str], channel: Column[str]) -> list[Label[str] | Label[int]]:
    """Give the columns to group by; owner and channel differ between requests and attempts."""
    columns: dict[Dimension, ColumnElement[str] | ColumnElement[int]] = {
        Dimension.OWNER: owner,
        Dimension.CHANNEL: channel,
        Dimension.MODEL: requests.c.asked_model,
        Dimension.DAY: requests.c.time_us // DAY_US,
    }
    return [columns[one].label(f"by_{one.value}") for one in query.by]


def _between(query: UsageQuery) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if query.since is not None:
        found.append(requests.c.request_id >= _first_id(query.since))
    if query.until is not None:
        found.append(requests.c.request_id < _first_id(query.until))
    return found


def _first_id(moment: datetime) -> str:
    """Give what is before every id of this millisecond and after all earlier ones."""
    return f"req_{max(0, (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)):012x}"


def _named(cell: RowMapping, by: tuple[Dimension, ...]) -> Group:
    return tuple(_word(cell[f"by_{one.value}"], one) for one in by)


def _word(word: object, dimension: Dimension) -> str | None:
    if dimension is Dimension.DAY and isinstance(word, int):
        return (_EPOCH + timedelta(days=word)).isoformat()
    return word if isinstance(word, str) else None
