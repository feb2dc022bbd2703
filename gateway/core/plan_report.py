"""A plan told as JSON, as ``waybill explain --json`` and ``POST /api/routes/explain`` tell it. Pure."""

from collections.abc import Mapping, Sequence

from gateway.core.brake import BrakeState
from gateway.core.forecast import cost_json, quoted, worst_case
from gateway.core.money import Cost
from gateway.core.plan import Plan, Target
from gateway.core.types import Excluded, JsonObject, JsonValue, Refusal


def plan_json(planned: Plan | Refusal, health: Mapping[str, str] | None) -> JsonObject:
    """Tell a plan or a refusal. ``health``: by ``channel/row``, how it is; absent where nobody knows (offline)."""
    if isinstance(planned, Refusal):
        return _refusal(planned)
    known = None if health is None else {target.name: health.get(target.name, "unknown") for target in planned.targets}
    return {
        "route": planned.route.name,
        "asked_model": planned.asked_model,
        "deadline_s": planned.deadline_s,
        "max_attempts": planned.max_attempts,
        "policy": planned.route.policy.value,
        "rule": planned.rule,
        "max_cost": None if planned.route.max_cost is None else str(planned.route.max_cost),
        "downgrade": [
            {"on": step.on.value, "set": dict(step.sets), "same": step.stays} for step in planned.route.downgrade
        ],
        "worst_case": cost_json(worst_case(planned)),
        "health": known,
        "targets": [_target(target, quoted(planned, target)) for target in planned.targets],
        "excluded": _excluded(planned.excluded),
    }


def health_words(report: JsonObject) -> Mapping[str, str]:
    """Say of each ``channel/row`` how it is, in a word or a few: ``report`` is that of the channels."""
    return {f"{channel['channel']}/{row['row']}": row_health(channel, row) for channel, row in reported_rows(report)}


def reported_rows(report: JsonObject) -> list[tuple[JsonObject, JsonObject]]:
    """Give each row of a channels' report, with its channel."""
    return [(channel, row) for channel in _objects(report.get("data")) for row in _objects(channel.get("rows"))]


def row_health(channel: JsonObject, row: JsonObject) -> str:
    """Say how one row is: a channel that cannot be used, or is braked, goes before the row's own trouble."""
    if channel.get("unready"):
        return "not ready"
    if channel.get("state") != BrakeState.ON:
        return str(channel.get("state"))
    if row.get("resting"):
        return f"{row['resting']}, for {row.get('back_in_s')} s"
    return "well, on probation" if row.get("on_probation") else "well"


def _target(target: Target, quote: Cost) -> JsonObject:
    rates = target.channel.limits
    document: dict[str, JsonValue] = {
        "channel": target.channel.name,
        "row": target.row.name,
        "owner": target.channel.owner,
        "kind": target.channel.kind.value,
        "sent_model": target.sent_model,
        "patience_s": target.patience_s,
        "contract": target.contract.name,
        "changes": [change.stamp for change in target.changes],
        "contract_doubt": target.is_doubtful,
        "substitute": target.substitute,
        "max_in_flight": target.channel.max_in_flight,
        "rpm": rates.requests.per_minute if rates.requests else None,
        "ipm": rates.images.per_minute if rates.images else None,
        "worst_case": cost_json(quote),
    }
    if target.tool_sent_model is not None:
        document["tool_sent_model"] = target.tool_sent_model
    return document


def _refusal(refusal: Refusal) -> JsonObject:
    return {
        "error": {
            "status": refusal.status,
            "code": refusal.code,
            "message": refusal.message,
            "param": refusal.param,
        },
        "excluded": _excluded(refusal.excluded),
    }


def _excluded(excluded: Sequence[Excluded]) -> JsonValue:
    return [{"target": item.target, "reason": item.reason} for item in excluded]


def _objects(value: JsonValue) -> list[JsonObject]:
    listed = value if isinstance(value, Sequence) and not isinstance(value, str) else ()
    return [one for one in listed if isinstance(one, Mapping)]
