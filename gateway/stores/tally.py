"""The sums by day: what requests that are over add up to, kept in the transaction in which they end.

A request that is not open is in the sums, once. Whoever changes what is counted of one takes it out first, and puts it
in again afterwards, in one transaction:

    take_out(connection, ids)   # of a request that is open, or not there, there is nothing to take out
    … change …
    put_in(connection, ids)     # of a request that is open still, nothing is put in

So a settlement that comes twice is counted once, one of a request that was given up for interrupted replaces what was
counted of it, and nothing needs to remember what was counted. Each id must stand in ``ids`` once. An attempt that was
committed for nobody was never made, and is not counted.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from functools import partial
from typing import Any, TypeAlias

from sqlalchemy import (
    BigInteger,
    BindParameter,
    ClauseElement,
    Column,
    ColumnElement,
    Connection,
    Integer,
    Label,
    Select,
    Table,
    Text,
    and_,
    bindparam,
    case,
    cast,
    exists,
    func,
    literal_column,
    or_,
    select,
)
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from gateway.core.assets import Verdict
from gateway.core.money import CostState
from gateway.core.spend import FREE
from gateway.core.types import Outcome
from gateway.stores.engine import POSTGRES, Inserting
from gateway.stores.schema import AttemptState, RequestState, assets, attempt_sums, attempts, request_sums, requests
from gateway.stores.statement import SQLITE, UNDONE_WHOLE, Paged

DAY_US = 86_400_000_000
GIVEN_UP = "ledger_timeout"  # the detail of an attempt whose intent committed after its caller had left
SHARDS = 8  # on a server, where several threads write at once

Counts: TypeAlias = Select[*tuple[object, ...]]

_NOTHING: ColumnElement[str] = literal_column("''", Text)
_ZERO: ColumnElement[int] = literal_column("0", Integer)
_ONE: ColumnElement[int] = literal_column("1", Integer)
_DAY: ColumnElement[int] = literal_column(str(DAY_US), BigInteger)
_SHARD: ColumnElement[int] = bindparam("the_shard", type_=Integer)


def request_counts(*of: ColumnElement[bool], sign: int = 1, shard: ColumnElement[int] | None = None) -> Counts:
    """Count the requests ``of``, with the columns of ``request_sums`` by name; those that are open are left out."""
    group = _group(requests.c.owner, requests.c.channel)
    counted: dict[str, ColumnElement[int]] = {
        "requests": func.count(),
        "delivered": func.sum(case((requests.c.status < literal_column("400"), _ONE), else_=_ZERO)),
        "images": func.sum(requests.c.images),
        "accepted": func.sum(_judged(Verdict.ACCEPTED)),
        "rejected": func.sum(_judged(Verdict.REJECTED)),
        "credits": func.sum(requests.c.credits),
        "rescued": func.sum(requests.c.rescued),
        "lost": func.sum(case((_is_lost(), _ONE), else_=_ZERO)),
    }
    is_over = requests.c.state != _word(RequestState.OPEN)
    return (
        select(*group, *_label(shard), *_signed(counted, sign))
        .where(*of, is_over)
        .group_by(*(one.element for one in group))
    )


def attempt_counts(*of: ColumnElement[bool], sign: int = 1, shard: ColumnElement[int] | None = None) -> Counts:
    """Count the attempts of the requests ``of``, with the columns of ``attempt_sums`` by name."""
    words = {
        "outcome": attempts.c.outcome,
        "unit": attempts.c.cost_unit,
        "currency": attempts.c.cost_currency,
        "state": attempts.c.cost_state,
    }
    alike = [func.coalesce(column, _NOTHING).label(name) for name, column in words.items()]
    group = [*_group(attempts.c.owner, attempts.c.channel), *alike]
    counted: dict[str, ColumnElement[int]] = {
        "attempts": func.count(),
        "missing": func.sum(case((_is_first_without_cost(), _ONE), else_=_ZERO)),
        "amount_micro": func.sum(attempts.c.cost_micro),
        "exposure_micro": func.sum(attempts.c.exposure_micro),
        "rescued_micro": func.sum(case((requests.c.rescued.is_not(None), attempts.c.cost_micro), else_=_ZERO)),
        "lost_micro": func.sum(case((_is_lost(), attempts.c.cost_micro), else_=_ZERO)),
    }
    was_made = func.coalesce(attempts.c.detail, _NOTHING) != literal_column(f"'{GIVEN_UP}'")
    return (
        select(*group, *_label(shard), *_signed(counted, sign))
        .join_from(attempts, requests, requests.c.request_id == attempts.c.request_id)
        .where(
            *of, requests.c.state != _word(RequestState.OPEN), attempts.c.state != _word(AttemptState.SENT), was_made
        )
        .group_by(*(one.element for one in group))
    )


def take_out(connection: Connection, ids: Sequence[str]) -> None:
    """Take requests out of the sums; those that are open are not in them."""
    _change(connection, ids, TAKEN_OUT)


def put_in(connection: Connection, ids: Sequence[str]) -> None:
    """Put requests into the sums that are not in them; those that are open stay out."""
    _change(connection, ids, PUT_IN)


def shard(connection: Connection) -> int:
    """Say into which of the rows of one group this thread counts."""
    return threading.get_native_id() % SHARDS if connection.dialect.name == POSTGRES else 0


def _change(connection: Connection, ids: Sequence[str], statements: Sequence[Paged]) -> None:
    mine = shard(connection)
    for paged in statements:
        for statement, page in paged.pages(ids, mine):
            statement.run(connection, page)


def _group(owner: ColumnElement[str], channel: ColumnElement[str]) -> list[Label[int] | Label[str]]:
    words = {
        "owner": owner,
        "channel": channel,
        "model": requests.c.asked_model,
        "key_id": requests.c.key_id,
        "team": requests.c.team,
    }
    day = (requests.c.time_us // _DAY).label("day")
    return [day, *(func.coalesce(column, _NOTHING).label(name) for name, column in words.items())]


def _label(shard: ColumnElement[int] | None) -> list[Label[int]]:
    return [] if shard is None else [shard.label("shard")]


def _signed(counted: Mapping[str, ColumnElement[int]], sign: int) -> list[Label[int]]:
    whole = {name: cast(func.coalesce(what, _ZERO), BigInteger) for name, what in counted.items()}
    return [(what if sign > 0 else -what).label(name) for name, what in whole.items()]


def _judged(verdict: Verdict) -> ColumnElement[int]:
    """Count the pictures of a request that somebody accepted, or rejected."""
    found = select(func.count()).where(assets.c.request_id == requests.c.request_id, assets.c.verdict == _word(verdict))
    return found.scalar_subquery()


def _is_lost() -> ColumnElement[bool]:
    """Whether money may be gone for a request that has no answer; what never began is looked up in no other table."""
    made = attempts.alias("made")
    bought = [_word(Outcome.DELIVERED), _word(Outcome.UNKNOWN)]
    is_bought = exists(
        select(made.c.n).where(
            made.c.request_id == requests.c.request_id,
            made.c.outcome.in_(bought),
            func.coalesce(made.c.detail, _NOTHING) != literal_column(f"'{GIVEN_UP}'"),
        )
    )
    has_no_answer = or_(requests.c.status.is_(None), requests.c.status >= literal_column("400"))
    return and_(has_no_answer, is_bought)


def _is_first_without_cost() -> ColumnElement[bool]:
    """Whether an attempt is the first of its request of which nobody knows what it cost."""
    other = attempts.alias("other")
    first = select(func.min(other.c.n)).where(other.c.request_id == attempts.c.request_id, _costs_unknown(other.c))
    return and_(_costs_unknown(attempts.c), attempts.c.n == first.scalar_subquery())


def _costs_unknown(column: ReadOnlyColumnCollection[str, Column[Any]]) -> ColumnElement[bool]:
    """Say it as ``core.spend`` does: an attempt without a written cost is free when nothing came of it."""
    free: list[ColumnElement[str]] = [literal_column(f"'{word}'") for word in sorted(FREE)]
    unwritten = and_(column.cost_state.is_(None), column.outcome.not_in(free))
    return or_(column.cost_state == _word(CostState.MISSING), unwritten)


def _word(word: StrEnum) -> ColumnElement[str]:
    return literal_column(f"'{word.value}'", Text)


def _adding(table: Table, count: Callable[[ColumnElement[bool]], Counts]) -> Paged:
    """Give the statement that adds counts to a table of sums; its parameters are the shard and the requests' ids."""
    key = [column.name for column in table.primary_key]
    sums = [column.name for column in table.columns if column.name not in key]

    def build(ids: Sequence[BindParameter[str]], new: Inserting) -> ClauseElement:
        counts = count(requests.c.request_id.in_(ids))
        names = [column.name for column in counts.selected_columns]
        row = new(table).prefix_with(UNDONE_WHOLE, dialect=SQLITE).from_select(names, counts)
        return row.on_conflict_do_update(
            index_elements=key, set_={name: table.c[name] + row.excluded[name] for name in sums}
        )

    return Paged(lambda ids: partial(build, ids), ("the_shard",))


def _both(sign: int) -> tuple[Paged, Paged]:
    return (
        _adding(request_sums, partial(request_counts, sign=sign, shard=_SHARD)),
        _adding(attempt_sums, partial(attempt_counts, sign=sign, shard=_SHARD)),
    )


PUT_IN = _both(1)
TAKEN_OUT = _both(-1)
