"""Holds on SQL: the worst case reserved, what was delivered captured, the rest given back; each inside a transaction.

Rules: a hold is one conditional update of its key's row, so that no two requests can spend the same credit and no
balance is ever below zero; a refused one changes nothing and is a value. Whoever deletes the rows of a request's holds
closes them, so that it happens once, however often a settlement comes, and whoever comes first: its settlement, the
correction of a begin that nobody waited for, or the clock. What is decided about amounts is decided in ``core.ledger``.
"""

from collections.abc import Iterable, Sequence

from msgspec import Struct
from sqlalchemy import (
    ColumnElement,
    Connection,
    bindparam,
    case,
    delete,
    func,
    literal_column,
    or_,
    select,
    update,
)

from gateway.core.ledger import CREDITS, Closing, Kind, Short, Shortage, closing, closing_money
from gateway.stores.schema import attempts, entries, holds, keys
from gateway.stores.statement import Paged, Row, Statement, adding, ignoring

_ZERO: ColumnElement[int] = literal_column("0")
# A window is over once a request of the next was seen, also for a server whose clock is behind: it never comes back.
_IN_WINDOW = case((keys.c.window_no >= bindparam("the_window"), keys.c.spent_micro), else_=_ZERO)
_WINDOW = case((keys.c.window_no > bindparam("least_window"), keys.c.window_no), else_=bindparam("new_window"))
_USED = _IN_WINDOW + keys.c.held_micro

TAKEN_ORDER = (
    "credits_1", "credits_2", "least_window", "new_window", "the_window", "micro_1", "the_key", "credits_3",
    "the_window", "micro_2",
)  # fmt: skip
_AMOUNTS = frozenset({"credits_1", "credits_2", "credits_3", "micro_1", "micro_2"})
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
        window_no=_WINDOW,
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

_NOTHING = Closing(captured=0, voided=0)
_ENDING = (holds.c.request_id, holds.c.attempt, holds.c.unit, holds.c.key_id, holds.c.amount, holds.c.window_no)
ENDED = Paged(lambda ids: delete(holds).where(holds.c.request_id.in_(ids)).returning(*_ENDING))

# What a key has, and since when it is no good; whose hold an attempt has; what is held, and for longer than it may be.
STANDING = Statement(
    select(keys.c.credits, keys.c.revoked_us).where(keys.c.key_id == bindparam("the_key")), ("the_key",)
)
LEFT = Statement(
    select(keys.c.credits, keys.c.revoked_us, (keys.c.budget_micro - _USED).label("left_micro")).where(
        keys.c.key_id == bindparam("the_key")
    ),
    ("the_window", "the_key"),
)
ATTEMPT = Statement(
    select(attempts.c.request_id, attempts.c.started_us).where(attempts.c.attempt_id == bindparam("the_attempt")),
    ("the_attempt",),
)
HELD_NOW = Statement(select(holds.c.request_id).distinct(), ())
OVERDUE = Statement(select(holds.c.request_id).where(holds.c.expires_us < bindparam("now_us")).distinct(), ("now_us",))

HELD = adding(holds, ("request_id", "attempt", "unit", "key_id", "amount", "window_no", "expires_us"))
ENTERED = ignoring(entries, ("request_id", "kind", "attempt", "unit", "key_id", "amount", "time_us"))


class Holding(Struct, frozen=True, kw_only=True):
    """What a begin reserves: the parameters of its update, and the rows that say so."""

    key_id: str
    credits: int
    window_no: int
    taken: Row
    held: tuple[Row, ...]
    entered: tuple[Row, ...]


class Closure(Struct, frozen=True, kw_only=True):
    """How a request's holds end. ``micro``: absent when what was spent is not known."""

    request_id: str
    credits: int
    micro: int | None
    time_us: int
    payer: str | None = None  # whose the holds are, where that is known


class _Open(Struct, kw_only=True):
    """The holds of one request that were open until now."""

    request_id: str
    key_id: str
    credits: int = 0
    micro: int = 0
    window_no: int = 0
    attempt: int = 0
    currency: str | None = None


def take(connection: Connection, holdings: Sequence[Holding]) -> Sequence[Short | None]:
    """Reserve for several requests; for each, in their order, ``None`` when it is reserved.

    Those of one key are taken together where it can pay for all of them, else one after the other.
    """
    short: dict[int, Short] = {}
    by_key = _by_key(holdings)
    taken_whole = TAKEN.each(connection, [_together([holdings[at].taken for at in same]) for same in by_key])
    for same, is_taken in zip(by_key, taken_whole, strict=True):
        for at in () if is_taken else same:
            if len(same) == 1 or not TAKEN.one(connection, holdings[at].taken):
                short[at] = _shortage(connection, holdings[at])
    taken = [holding for at, holding in enumerate(holdings) if at not in short]
    HELD.many(connection, [row for holding in taken for row in holding.held])
    ENTERED.many(connection, [row for holding in taken for row in holding.entered])
    return [short.get(at) for at in range(len(holdings))]


def close(connection: Connection, closures: Sequence[Closure]) -> None:
    """Capture what was delivered and give the rest back; nothing for a request whose holds were closed before."""
    wanted = {closure.request_id: closure for closure in closures}
    found = {held.request_id: held for held in _end(connection, list(wanted))}
    sums: dict[tuple[str, int], list[int]] = {}
    entered: list[Row] = []
    for held in sorted(found.values(), key=lambda one: (one.key_id, one.request_id)):
        closure = wanted[held.request_id]
        paid = _dearer(connection, closure, held) or closing(held.credits, closure.credits, 0)
        money = closing_money(held.micro, closure.micro) if held.currency is not None else _NOTHING
        ended_sums = sums.setdefault((held.key_id, held.window_no), [0, 0, 0, 0])
        for at, change in enumerate((paid.voided, held.credits, money.captured, held.micro)):
            ended_sums[at] += change
        entered += _entries(closure, held, paid, money)
    for (key_id, window_no), (back, freed, spent, freed_micro) in sums.items():
        CLOSED.run(connection, (back, freed, window_no, spent, freed_micro, key_id, 0))
    ENTERED.many(connection, entered)


def release(connection: Connection, attempt_id: str) -> None:
    """Give back what was held for an attempt that was not made."""
    for request_id, time_us in ATTEMPT.told(connection, (attempt_id,)):
        close(connection, [Closure(request_id=request_id, credits=0, micro=0, time_us=time_us)])


def expire(connection: Connection, now_us: int, *, only_overdue: bool = True) -> int:
    """Close holds whose time is over (or all); how many requests. Credits go back; money counts as spent: it may be."""
    ids = [
        str(name) for (name,) in (OVERDUE.told(connection, (now_us,)) if only_overdue else HELD_NOW.told(connection))
    ]
    close(connection, [Closure(request_id=name, credits=0, micro=None, time_us=now_us) for name in ids])
    return len(ids)


def _end(connection: Connection, ids: Sequence[str]) -> Iterable[_Open]:
    """Take the rows of holds away; give what they were, request by request."""
    found: dict[str, _Open] = {}
    for statement, page in ENDED.pages(ids):
        for request_id, attempt, unit, key_id, amount, window_no in statement.told(connection, page):
            held = found.get(request_id)
            if held is None:
                held = found[request_id] = _Open(request_id=request_id, key_id=key_id)
            held.attempt = max(held.attempt, attempt)
            if unit == CREDITS:
                held.credits += amount
            else:
                held.micro += amount
                held.window_no = max(held.window_no, window_no)
                held.currency = held.currency or unit
    return found.values()


def _by_key(holdings: Sequence[Holding]) -> Sequence[Sequence[int]]:
    """Give the places of the holdings of each key and window, keys in one order for all transactions."""
    places: dict[tuple[str, int], list[int]] = {}
    for at, holding in enumerate(holdings):
        places.setdefault((holding.key_id, holding.window_no), []).append(at)
    return [places[one] for one in sorted(places)]


def _together(rows: Sequence[Row]) -> Row:
    """Add up the parameters of updates of one key: amounts are summed, its name and window stand."""
    return tuple(
        sum(value for value in values if isinstance(value, int)) if name in _AMOUNTS else values[0]
        for name, values in zip(TAKEN_ORDER, zip(*rows, strict=True), strict=True)
    )


def _dearer(connection: Connection, closure: Closure, held: _Open) -> Closing | None:
    """Hold what came dearer than was foreseen, as far as the balance goes; ``None``: nothing did, or nothing is left.

    What is held besides is taken from the balance here and now; the rest of the closing is as for any other.
    """
    if closure.credits <= held.credits:
        return None
    found = STANDING.told(connection, (held.key_id,))
    paid = closing(held.credits, closure.credits, found[0][0] or 0 if found else 0)
    row: Row = (-paid.more, 0, held.window_no, 0, 0, held.key_id, paid.more)
    return paid if CLOSED.one(connection, row) else None  # it went to somebody else just now


def _entries(closure: Closure, held: _Open, paid: Closing, money: Closing) -> Sequence[Row]:
    written = [
        (Kind.HOLD, held.attempt + 1, CREDITS, paid.more),
        (Kind.CAPTURE, held.attempt, CREDITS, paid.captured),
        (Kind.VOID, held.attempt, CREDITS, paid.voided),
    ]
    if held.currency is not None:
        written += [
            (Kind.CAPTURE, held.attempt, held.currency, money.captured),
            (Kind.VOID, held.attempt, held.currency, money.voided),
        ]
    return [
        (closure.request_id, kind.value, attempt, unit, held.key_id, amount, closure.time_us)
        for kind, attempt, unit, amount in written
        if amount
    ]


def _shortage(connection: Connection, holding: Holding) -> Short:
    """Say why a hold was refused, and what there is instead."""
    found = LEFT.told(connection, (holding.window_no, holding.key_id))
    if not found or found[0][1] is not None:
        return Short(why=Shortage.KEY)
    balance, _, left_micro = found[0]
    if (balance or 0) < holding.credits:
        return Short(why=Shortage.CREDITS, left=balance or 0)
    return Short(why=Shortage.BUDGET, left=max(0, left_micro or 0))
