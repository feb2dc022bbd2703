"""The record of a request, also of one that was never settled: then what the ledger knows of it, in the same shape.

A request under way, and one whose server ended before it did, have no record of their own. They have their attempts,
with what each may have cost, and a ``state`` that says so. No answer of theirs is known: the status is 0.
"""

from collections.abc import Sequence

from gateway.core.money import MIXED, NO_UNIT, CostState
from gateway.core.record import present, timestamp
from gateway.core.types import JsonObject
from gateway.stores.reader import AttemptRow, LogRow

NO_STATUS = 0


def record_of(row: LogRow) -> JsonObject:
    """Give the record as it was logged; for a request without one, what the ledger knows and its ``state``."""
    if row.record is not None:
        return row.record
    exposures = [one.cost.exposure_micro or 0 for one in row.attempts if one.cost is not None]
    return present(
        {
            "time": timestamp(row.time),
            "request_id": row.request_id,
            "key_id": row.key_id,
            "team": row.team,
            "endpoint": row.endpoint,
            "stream": row.stream,
            "asked_model": row.asked_model,
            "route_owner": row.owner,
            "channel": row.channel,
            "config_version": row.config_version,
            "state": row.state.value,
            "result": {"status": NO_STATUS, "delivery": "none", "images": []},
            "cost": _cost_json(row.attempts) if row.attempts else None,
            "exposure_micro": sum(exposures) if exposures else None,
            "attempts": [_attempt_json(attempt) for attempt in row.attempts],
            "retry_count": len(row.attempts) - 1 if row.attempts else None,
        }
    )


def _cost_json(attempts: Sequence[AttemptRow]) -> JsonObject:
    """Add up what the attempts may have cost; missing when one is not known, or when they are of two currencies."""
    costs = [one.cost for one in attempts]
    units = {cost.unit for cost in costs if cost is not None and cost.unit != NO_UNIT}
    unit = next(iter(units), NO_UNIT) if len(units) < 2 else MIXED
    amounts = [cost.amount_micro for cost in costs if cost is not None and cost.amount_micro is not None]
    currencies = {cost.currency for cost in costs if cost is not None and cost.amount_micro}
    if len(amounts) < len(costs) or len(currencies) > 1:
        return {"unit": unit, "state": CostState.MISSING.value, "lines": []}
    is_exact = all(cost is not None and cost.state is CostState.EXACT for cost in costs)
    return present(
        {
            "amount_micro": sum(amounts),
            "currency": next(iter(currencies), None),
            "unit": unit,
            "state": (CostState.EXACT if is_exact else CostState.ESTIMATED).value,
            "lines": [],
        }
    )


def _attempt_json(attempt: AttemptRow) -> JsonObject:
    cost = attempt.cost
    return present(
        {
            "n": attempt.n,
            "attempt_id": attempt.attempt_id,
            "channel": attempt.channel,
            "owner": attempt.owner,
            "row": attempt.row,
            "surface": attempt.surface,
            "region": attempt.region,
            "sent_model": attempt.sent_model,
            "status": attempt.status,
            "class": attempt.failure,
            "detail": attempt.detail,
            "outcome": attempt.outcome,
            "duration_ms": attempt.duration_ms,
            "cost_micro": None if cost is None else cost.amount_micro,
            "exposure_micro": None if cost is None else cost.exposure_micro,
        }
    )
