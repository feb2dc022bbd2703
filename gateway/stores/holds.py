"""Holds on SQL: the worst case reserved, what was delivered captured, the rest given back; each inside a transaction.

Rules: a hold is one conditional update of its key's row, so that no two requests can spend the same credit and no
balance is ever below zero; a refused one changes nothing and is a value. Whoever deletes the rows of a request's holds
closes them, so that it happens once, however often a settlement comes, and whoever comes first: its settlement, the
correction of a begin that nobody waited for, or the clock. What is decided about amounts is decided in ``core.ledger``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    bindparam,
    case,
    delete,
    func,
    literal_column,
    or_,
    select,
    update,
)

from gateway.core.ledger import CREDITS, Kind, Shortage, closing, closing_money
from gateway.stores.schema import attempts, entries, holds, keys
from gateway.stores.statement import Row, Statement, adding, ignoring

_ZERO: ColumnElement[int] = literal_column("0")
_IN_WINDOW = case((keys.c.window_no == bindparam("the_window"), keys.c.spent_micro), else_=_ZERO)
_USED = _IN_WINDOW + keys.c.held_micro

TAKEN_ORDER = (
    "credits_1", "credits_2", "new_window", "the_window", "micro_1", "the_key", "credits_3", "the_window", "micro_2",
)  # fmt: skip
CLOSED_ORDER = ("credits_back", "credits_freed", "the_window", "spent", "micro_freed", "the_key", "credits_least")

# The worst case of one request, if its key can pay for it.
TAKEN = Statement(
    update(keys)
    .where(
        keys.c.key_id == bindparam("the_key"),
        keys.c.revoked_us.is_(None),
        func.coalesce(keys.c.credits, _ZERO) >= bindparam("credits_3"),
        or_(keys.c.budget_micro.is_(None), _USED + bindparam("micro_2") <= keys.c.budget_micro),
    )
    .values(
        credits=keys.c.credits - bindparam("credits_1"),
        credits_held=keys.c.credits_held + bindparam("credits_2"),
        window_no=bindparam("new_window"),
        spent_micro=_IN_WINDOW,
        held_micro=keys.c.held_micro + bindparam("micro_1"),
    ),
    TAKEN_ORDER,
)

# The end of a request's holds; what is spent counts in the window in which it was held.
CLOSED = Statement(
    update(keys)
    .where(keys.c.key_id == bindparam("the_key"), func.coalesce(keys.c.credits, _ZERO) >= bindparam("credits_least"))
    .values(
        credits=keys.c.credits + bindparam("credits_back"),
        credits_held=keys.c.credits_held - bindparam("credits_freed"),
        spent_micro=keys.c.spent_micro
        + case((keys.c.window_no == bindparam("the_window"), bindparam("spent")), else_=_ZERO),
        held_micro=keys.c.held_micro - bindparam("micro_freed"),
    ),
    CLOSED_ORDER,
)

HELD = adding(holds, ("request_id", "attempt", "unit", "key_id", "amount", "window_no", "expires_us"))
ENTERED = ignoring(entries, ("request_id", "kind", "attempt", "unit", "key_id", "amount", "time_us"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """What a begin reserves: the parameters of its update, and the rows that say so."""

    key_id: str
    credits: int
    taken: Row
    held: tuple[Row, ...]
    entered: tuple[Row, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Closure:
    """How a request's holds end. ``micro``: absent when what was spent is not known."""

    request_id: str
    credits: int
    micro: int | None
    time_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Open:
    """The holds of one request that were open until now."""

    key_id: str
    credits: int
    micro: int
    window_no: int
    attempt: int
    currency: str | None


def take(connection: Connection, holding: Holding) -> Shortage | None:
    """Reserve; ``None``: it is reserved."""
    if not TAKEN.one(connection, holding.taken):
        return _shortage(connection, holding)
    HELD.many(connection, holding.held)
    ENTERED.many(connection, holding.entered)
    return None


def close(connection: Connection, closure: Closure) -> None:
    """Capture what was delivered and give the rest back; nothing when the holds were closed before."""
    found = connection.execute(delete(holds).where(holds.c.request_id == closure.request_id).returning(holds))
    rows = found.mappings().all()
    if rows:
        _close(connection, closure, _open(rows))


def release(connection: Connection, attempt_id: str) -> None:
    """Give back what was held for an attempt that was not made."""
    request = select(attempts.c.request_id).where(attempts.c.attempt_id == attempt_id)
    for request_id, time_us in connection.execute(request.add_columns(attempts.c.started_us)).all():
        close(connection, Closure(request_id=request_id, credits=0, micro=0, time_us=time_us))


def expire(connection: Connection, now_us: int, *, only_overdue: bool = True) -> int:
    """Close holds whose time is over (or all); how many requests. Credits go back; money counts as spent: it may be."""
    overdue = select(holds.c.request_id).distinct()
    if only_overdue:
        overdue = overdue.where(holds.c.expires_us < now_us)
    ids = connection.execute(overdue).scalars().all()
    for request_id in ids:
        close(connection, Closure(request_id=request_id, credits=0, micro=None, time_us=now_us))
    return len(ids)


def _open(rows: Sequence[RowMapping]) -> _Open:
    money = [row for row in rows if row["unit"] != CREDITS]
    return _Open(
        key_id=rows[0]["key_id"],
        credits=sum(row["amount"] for row in rows if row["unit"] == CREDITS),
        micro=sum(row["amount"] for row in money),
        window_no=max((row["window_no"] for row in money), default=0),
        attempt=max(row["attempt"] for row in rows),
        currency=money[0]["unit"] if money else None,
    )


def _close(connection: Connection, closure: Closure, held: _Open) -> None:
    available = 0
    if closure.credits > held.credits:  # it came dearer than was foreseen
        available = connection.execute(select(keys.c.credits).where(keys.c.key_id == held.key_id)).scalar() or 0
    paid = closing(held.credits, closure.credits, available)
    money = closing_money(held.micro, closure.micro)
    spent = money.captured if held.currency is not None else 0
    window_no = held.window_no
    row: Row = (paid.voided - paid.more, held.credits, window_no, spent, held.micro, held.key_id, paid.more)
    if not CLOSED.one(connection, row):  # the rest of the balance went to somebody else just now: do without it
        paid = closing(held.credits, closure.credits, 0)
        CLOSED.one(connection, (paid.voided, held.credits, window_no, spent, held.micro, held.key_id, 0))
    written = [
        (Kind.HOLD, held.attempt + 1, CREDITS, paid.more),
        (Kind.CAPTURE, held.attempt, CREDITS, paid.captured),
        (Kind.VOID, held.attempt, CREDITS, paid.voided),
    ]
    if held.currency is not None:
        written += [
            (Kind.CAPTURE, held.attempt, held.currency, spent),
            (Kind.VOID, held.attempt, held.currency, money.voided),
        ]
    ENTERED.many(
        connection,
        [
            (closure.request_id, kind.value, attempt, unit, held.key_id, amount, closure.time_us)
            for kind, attempt, unit, amount in written
            if amount
        ],
    )


def _shortage(connection: Connection, holding: Holding) -> Shortage:
    """Say why a hold was refused."""
    said = select(keys.c.credits, keys.c.revoked_us).where(keys.c.key_id == holding.key_id)
    found = connection.execute(said).first()
    if found is None or found[1] is not None:
        return Shortage.KEY
    return Shortage.CREDITS if (found[0] or 0) < holding.credits else Shortage.BUDGET
