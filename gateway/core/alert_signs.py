"""What is a sign that something is wrong: events of the log, what keys have spent, how full disks are.

Only ids, names of the routes file, numbers and words of ours are taken over: no secret, no prompt, no upstream's text.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct

from gateway.core.alerts import AlertKind, Signal
from gateway.core.keys import KeyRow
from gateway.core.types import JsonObject, JsonValue, Outcome

_TROUBLES: Final[Mapping[JsonValue, AlertKind]] = {
    kind.value: kind for kind in (AlertKind.QUOTA_EXHAUSTED, AlertKind.KEY_REJECTED, AlertKind.ACCOUNT_NOT_READY)
}


class Spending(Struct, frozen=True, kw_only=True):
    """What a key has spent of its budget, in millionths of the currency."""

    key_id: str
    spent_micro: int
    amount_micro: int
    currency: str


class Filling(Struct, frozen=True, kw_only=True):
    """How full a file system is, in bytes; ``reserve``: what is left alone for the ledger."""

    name: str
    total: int
    free: int
    reserve: int


def spending(row: KeyRow) -> Spending | None:
    """Give what a key has spent; ``None``: it has no budget, or opens nothing any more."""
    budget = row.terms.budget
    if budget is None or row.revoked is not None:
        return None
    return Spending(
        key_id=row.key_id, spent_micro=row.spent_micro, amount_micro=budget.amount_micro, currency=budget.currency
    )


def signs_in(event: JsonObject) -> Sequence[Signal]:
    """Give what an event of the log is a sign of; nearly always nothing."""
    match event.get("event"):
        case "target.barred" | "target.restored":
            return _of_target(event)
        case "request.finished":
            return tuple(_of_attempts(event))
        case "server.ready" | "replica.ended":
            return _of_recovery(event)
        case "ledger.settle_failed":
            return (Signal(kind=AlertKind.EXPOSURE, subject="ledger", facts=_facts(event, "request_id")),)
        case "asset.not_stored":
            return _of_picture(event)
        case _:
            return ()


def _of_target(event: JsonObject) -> Sequence[Signal]:
    kind = _TROUBLES.get(event.get("reason"))
    if kind is None:
        return ()
    channel, row = event.get("channel"), event.get("row")
    is_over = event["event"] == "target.restored"
    facts = _facts(event, "channel", "row", "for_s")
    return (Signal(kind=kind, subject=f"{channel}/{row}" if row else f"{channel}", is_over=is_over, facts=facts),)


def _of_attempts(event: JsonObject) -> Iterator[Signal]:
    attempts = event.get("attempts")
    for attempt in attempts if isinstance(attempts, list) else ():
        if isinstance(attempt, dict) and attempt.get("outcome") == Outcome.UNKNOWN:
            facts = {**_facts(event, "request_id"), **_facts(attempt, "attempt_id", "channel", "row")}
            yield Signal(kind=AlertKind.EXPOSURE, subject=f"{attempt.get('channel')}", facts=facts)


def _of_recovery(event: JsonObject) -> Sequence[Signal]:
    count = event.get("interrupted_requests")
    if not isinstance(count, int) or count < 1:
        return ()
    facts = _facts(event, "interrupted_requests", "server")
    return (Signal(kind=AlertKind.EXPOSURE, subject="recovery", facts=facts),)


def _of_picture(event: JsonObject) -> Sequence[Signal]:
    lost = Signal(kind=AlertKind.NOT_KEPT, subject=f"{event.get('fate')}", facts=_facts(event, "sha256", "fate"))
    if event.get("fate") != "no_room":
        return (lost,)
    return lost, Signal(kind=AlertKind.DISK, subject="assets", facts={"reserve_reached": True})


def _facts(event: JsonObject, *names: str) -> JsonObject:
    return {name: event[name] for name in names if event.get(name) is not None}


def signs_of_spending(spent: Iterable[Spending], levels: Sequence[int]) -> Iterator[Signal]:
    """Say of every level of every budget whether it is reached; ``levels`` in percent."""
    for one in spent:
        for level in levels:
            facts: JsonObject = {
                "key_id": one.key_id,
                "percent": level,
                "spent_micro": one.spent_micro,
                "amount_micro": one.amount_micro,
                "currency": one.currency,
            }
            is_over = one.spent_micro * 100 < one.amount_micro * level
            yield Signal(kind=AlertKind.BUDGET, subject=f"{one.key_id} {level}%", is_over=is_over, facts=facts)


def signs_of_filling(disks: Iterable[Filling], percent: int) -> Iterator[Signal]:
    """Say of every file system whether it is nearly full, or only its reserve is left."""
    for one in disks:
        is_full = (one.total - one.free) * 100 >= one.total * percent
        is_short = one.free < one.reserve
        facts: JsonObject = {"free_bytes": one.free, "total_bytes": one.total, "reserve_reached": is_short}
        yield Signal(kind=AlertKind.DISK, subject=one.name, is_over=not (is_full or is_short), facts=facts)
