"""What the writer thread may be asked to do, as rows ready for the statements.

The rows are built by the caller, so that a value the ledger cannot hold fails there and not in the thread.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from msgspec import Struct
from sqlalchemy import Connection

from gateway.core.bindings import Binding
from gateway.core.ledger import CREDITS, Kind, Shortage
from gateway.core.money import Cost, nothing
from gateway.core.types import AttemptId, JsonValue, Outcome
from gateway.ports import AttemptIntent, Hold, Refused, RequestIntent, Settlement
from gateway.stores import asset_rows, holds, statements, tally
from gateway.stores.asset_rows import NO_ROWS, AssetRows
from gateway.stores.holds import Closure, Holding
from gateway.stores.jsontext import encode
from gateway.stores.locks import lock
from gateway.stores.schema import AttemptState, RequestState
from gateway.stores.statement import Row, Statement
from gateway.stores.tally import GIVEN_UP

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

# Plain strings: the driver looks up an adapter for every value that is a subclass of str.
_OPEN = RequestState.OPEN.value
_DONE = RequestState.DONE.value
_SENT = AttemptState.SENT.value
_ENDED = AttemptState.ENDED.value

_SHORT: Mapping[Shortage, str] = {
    Shortage.CREDITS: "insufficient_credits",
    Shortage.BUDGET: "budget_exceeded",
    Shortage.KEY: "invalid_api_key",
}


class Begin(Struct, frozen=True, kw_only=True):
    """An attempt about to be sent; ``opened`` on the request's first attempt, else ``moved``."""

    attempt_id: AttemptId
    sent: Row
    opened: Row | None
    moved: Row | None
    holding: Holding | None = None


class Settle(Struct, frozen=True, kw_only=True):
    """The end of a request and of its attempts."""

    request_id: str
    settled: Row
    ended: tuple[Row, ...]
    tagged: tuple[Row, ...] = ()
    kept: AssetRows = NO_ROWS
    closure: Closure | None = None


class Void(Struct, frozen=True, kw_only=True):
    """An attempt that was committed after its caller had given up: it was not sent."""

    attempt_id: AttemptId
    voided: Row


class Bind(Struct, frozen=True, kw_only=True):
    """Ids that belong to a channel from now on."""

    bound: tuple[Row, ...]


class Unbind(Struct, frozen=True, kw_only=True):
    """An id that belongs nowhere any more."""

    unbound: Row


class Probe(Struct, frozen=True, kw_only=True):
    """A write that changes nothing: whether the ledger can be written."""


class Sweep(Struct, frozen=True, kw_only=True):
    """Holds whose time is over: whoever took them will not come back."""

    now_us: int


class Note(Struct, frozen=True, kw_only=True):
    """Rows of flights. ``must_change``: it is refused when the last step changed none."""

    steps: tuple[tuple[Statement, Row], ...]
    must_change: bool = False


class Filing(Struct, frozen=True, kw_only=True):
    """A flight put on file before its request is sent; ``undo`` takes it off when nobody waits for that any more."""

    note: Note
    undo: Note


class Rescue(Struct, frozen=True, kw_only=True):
    """A request whose pictures a client got after another had left; counted once, whoever says it again."""

    request_id: str
    pictures: int


Command: TypeAlias = Begin | Settle | Void | Bind | Unbind | Probe | Sweep | Note | Filing | Rescue
Passing: TypeAlias = Begin | Probe | Sweep | Filing  # of no use once its caller has left
Reply: TypeAlias = Refused | None


def beginning(
    intent: RequestIntent | None, attempt: AttemptIntent, hold: Hold | None = None, *, server_id: str | None = None
) -> Begin:
    """Say what ``Ledger.begin`` writes; ``server_id``: who is about to send."""
    opened: Row | None = None
    moved: Row | None = None
    if intent is None:
        moved = (attempt.owner, attempt.channel, attempt.request_id)
    else:
        opened = (
            intent.request_id,
            epoch_us(intent.time),
            str(intent.endpoint),
            intent.asked_model,
            attempt.owner,
            attempt.channel,
            _OPEN,
            intent.config_version,
            intent.key_id,
            intent.team,
            server_id,
            int(intent.stream),
            intent.body_hash,
        )
    sent: Row = (
        attempt.request_id,
        attempt.n,
        attempt.attempt_id,
        attempt.channel,
        attempt.owner,
        attempt.row,
        str(attempt.surface),
        attempt.region,
        attempt.sent_model,
        epoch_us(attempt.started),
        _SENT,
        *_charge(attempt.quote),
    )
    holding = None if hold is None else _holding(hold, attempt)
    return Begin(attempt_id=attempt.attempt_id, sent=sent, opened=opened, moved=moved, holding=holding)


def _holding(hold: Hold, attempt: AttemptIntent) -> Holding:
    """Say what a hold writes; of money also nothing is held, so that what is spent can be counted."""
    whole, micro = hold.credits or 0, hold.micro or 0
    window_no, started_us = hold.window_no, epoch_us(attempt.started)
    parts = [(CREDITS, hold.credits), (hold.currency or "", hold.micro)]
    held = [(unit, amount) for unit, amount in parts if amount or (amount == 0 and unit not in {CREDITS, ""})]
    return Holding(
        key_id=hold.key_id,
        credits=whole,
        window_no=window_no,
        taken=(whole, whole, window_no, window_no, window_no, micro, hold.key_id, whole, window_no, micro),
        held=tuple(
            (attempt.request_id, attempt.n, unit, hold.key_id, amount, window_no, epoch_us(hold.expires))
            for unit, amount in held
        ),
        entered=tuple(
            (attempt.request_id, Kind.HOLD.value, attempt.n, unit, hold.key_id, amount, started_us)
            for unit, amount in held
        ),
    )


def settling(settlement: Settlement) -> Settle:
    """Say what ``Ledger.settle`` writes."""
    settled: Row = (
        settlement.request_id,
        epoch_us(settlement.time),
        str(settlement.endpoint),
        settlement.asked_model,
        settlement.owner,
        settlement.channel,
        settlement.status,
        _word(settlement.failure),
        _DONE,
        encode(settlement.record).decode(),
        settlement.images,
        _text(settlement.record.get("key_id")),
        _text(settlement.record.get("team")),
        _count(settlement.record.get("credits")),
    )
    ended = tuple(
        (
            _ENDED,
            str(result.outcome),
            _word(result.failure),
            _word(result.detail),
            result.status,
            result.duration_ms,
            *_charge(result.cost),
            result.attempt_id,
            _ENDED,
        )
        for result in settlement.attempts
    )
    tags = settlement.record.get("tags")
    filed = tags.items() if isinstance(tags, dict) else ()
    tagged = tuple((f"{name}={value}", settlement.request_id) for name, value in filed)
    return Settle(
        request_id=settlement.request_id,
        settled=settled,
        ended=ended,
        tagged=tagged,
        kept=asset_rows.rows_of(settlement.assets),
        closure=_closure(settlement),
    )


def _closure(settlement: Settlement) -> Closure | None:
    owed = settlement.capture
    if owed is None:
        return None
    return Closure(
        request_id=settlement.request_id,
        credits=owed.credits,
        micro=owed.micro,
        time_us=epoch_us(settlement.time),
        payer=_text(settlement.record.get("key_id")),
    )


def undoing(command: Command) -> Void | Note | None:
    """Say what takes back a command that was committed, perhaps, for nobody; ``None``: it does no harm."""
    if isinstance(command, Begin):
        return voiding(command.attempt_id)
    return command.undo if isinstance(command, Filing) else None


def is_owed(command: Command) -> bool:
    """Whether it is the end of what was begun, of which there is no more than requests under way."""
    return isinstance(command, Settle) and bool(command.ended or command.closure)


def voiding(attempt_id: AttemptId) -> Void:
    """Say what is written for an attempt nobody waited for."""
    row: Row = (_ENDED, Outcome.NOT_SENT.value, GIVEN_UP, *_charge(nothing()), attempt_id, _SENT)
    return Void(attempt_id=attempt_id, voided=row)


def binds(key: str, ids: Sequence[str], owner: Binding, at: datetime) -> Bind:
    """Say what ``Bindings.bind`` writes."""
    created_us = epoch_us(at)
    return Bind(bound=tuple((name, key, owner.channel, owner.fingerprint, created_us) for name in ids))


def unbinds(key: str, name: str) -> Unbind:
    """Say what ``Bindings.unbind`` writes."""
    return Unbind(unbound=(name, key))


def run(connection: Connection, commands: Sequence[Command]) -> Sequence[Reply]:
    """Run all, each kind of row in one ``executemany``: intents, then settlements, then voids, then bindings.

    One reply per command, in their order.
    """
    if any(isinstance(command, Probe) for command in commands):
        statements.PROBED.one(connection)
    _lock(connection, commands)
    refused = {**_take(connection, commands), **_note(connection, commands)}
    begins = [command for at, command in enumerate(commands) if isinstance(command, Begin) and at not in refused]
    settles = [command for command in commands if isinstance(command, Settle)]
    statements.OPENED.many(connection, [begin.opened for begin in begins if begin.opened is not None])
    statements.MOVED.many(connection, [begin.moved for begin in begins if begin.moved is not None])
    statements.SENT.many(connection, [begin.sent for begin in begins])
    rescues = {command.request_id: command.pictures for command in commands if isinstance(command, Rescue)}
    tally.take_out(connection, list(rescues))
    _settle(connection, settles, rescues)
    statements.ENDED.many(connection, [row for settle in settles for row in settle.ended])
    statements.TAGGED.many(connection, [row for settle in settles for row in settle.tagged])
    statements.RESCUED.many(connection, [(pictures, request_id) for request_id, pictures in rescues.items()])
    tally.put_in(connection, list(dict.fromkeys([*(settle.request_id for settle in settles), *rescues])))
    asset_rows.write(connection, [settle.kept for settle in settles])
    statements.VOIDED.many(connection, [command.voided for command in commands if isinstance(command, Void)])
    statements.BOUND.many(connection, [row for bind in commands if isinstance(bind, Bind) for row in bind.bound])
    statements.UNBOUND.many(connection, [command.unbound for command in commands if isinstance(command, Unbind)])
    _close(connection, commands)
    return [refused.get(at) for at in range(len(commands))]


def _settle(connection: Connection, settles: Sequence[Settle], out: Collection[str]) -> None:
    """Write the ends of requests, and take those out of the sums that are in them; ``out`` are no more.

    Most are open, and filed as they began: that is half the work.
    """
    changed = statements.CONFIRMED.each(connection, [_confirming(settle.settled) for settle in settles])
    confirmed = {settle.request_id for settle, count in zip(settles, changed, strict=True) if count}
    rest = [settle for settle in settles if settle.request_id not in confirmed]
    tally.take_out(connection, list(dict.fromkeys(one.request_id for one in rest if one.request_id not in out)))
    statements.SETTLED.many(connection, [settle.settled for settle in rest])


def _confirming(row: Row) -> Row:
    request_id, _, _, _, owner, channel, status, failure, state, record, images, key_id, team, owed = row
    return (status, failure, state, record, images, owed, request_id, _OPEN, owner, channel, key_id, team)


def _note(connection: Connection, commands: Sequence[Command]) -> Mapping[int, Refused]:
    """Write the rows of flights, in the order of the commands."""
    refused: dict[int, Refused] = {}
    for at, one in enumerate(commands):
        command = one.note if isinstance(one, Filing) else one
        if isinstance(command, Note):
            changed = [statement.one(connection, row) for statement, row in command.steps]
            if command.must_change and not changed[-1]:
                refused[at] = Refused(code="flight_not_found")
    return refused


def _lock(connection: Connection, commands: Sequence[Command]) -> None:
    """Lock, in one order, what other transactions may change as well."""
    lock(
        connection,
        settled=[command.request_id for command in commands if isinstance(command, Settle | Rescue)],
        voided=[command.attempt_id for command in commands if isinstance(command, Void)],
        payers=[key_id for command in commands if (key_id := _payer(command)) is not None],
    )


def _payer(command: Command) -> str | None:
    """Say of whom a command takes, or to whom it gives back."""
    if isinstance(command, Begin):
        return None if command.holding is None else command.holding.key_id
    if isinstance(command, Settle):
        return None if command.closure is None else command.closure.payer
    return None


def _take(connection: Connection, commands: Sequence[Command]) -> Mapping[int, Refused]:
    """Take what begins hold, key by key in one order, so that two transactions do not wait for each other."""
    wanted = [
        (at, command.holding)
        for at, command in enumerate(commands)
        if isinstance(command, Begin) and command.holding is not None
    ]
    if not wanted:
        return {}
    short = holds.take(connection, [holding for _, holding in wanted])
    found = ((at, one) for (at, _), one in zip(wanted, short, strict=True) if one is not None)
    return {at: Refused(code=_SHORT[one.why], left=one.left) for at, one in found}


def _close(connection: Connection, commands: Sequence[Command]) -> None:
    """End the holds of what is over."""
    over = [command.closure for command in commands if isinstance(command, Settle) and command.closure is not None]
    if over:
        holds.close(connection, over)
    for command in commands:
        if isinstance(command, Void):
            holds.release(connection, command.attempt_id)
        elif isinstance(command, Sweep):
            holds.expire(connection, command.now_us)


def epoch_us(time: datetime) -> int:
    """Microseconds since 1970, exact. ``time`` is aware."""
    return (time - _EPOCH) // _MICROSECOND


def from_epoch_us(time_us: int) -> datetime:
    """Give the UTC time of ``epoch_us``."""
    return _EPOCH + time_us * _MICROSECOND


def _charge(cost: Cost | None) -> Row:
    """Give the six columns of a cost."""
    if cost is None:
        return (None,) * 6
    return (cost.amount_micro, cost.currency, cost.unit, str(cost.state), cost.exposure_micro, cost.price_id)


def _text(value: JsonValue) -> str | None:
    return value if isinstance(value, str) else None


def _count(value: JsonValue) -> int | None:
    return value if isinstance(value, int) else None


def _word(word: str | None) -> str | None:
    return None if word is None else str(word)
