"""The route table as the operator sees it: the catalog of rows, and the routes. Pure; never a credential.

A row's surfaces are told three times: *claimed* is what the routes file says, *probed* what a smoke run has tried
through this very account, *verified* what it has found to work. Of a channel's address only the host is told, and of
its account a fingerprint.
"""

from collections.abc import Collection, Sequence
from datetime import date

from gateway.core.bindings import fingerprint
from gateway.core.plan_report import reported_rows, row_health
from gateway.core.table import Channel, Route, RouteTable, RouteTarget, Row
from gateway.core.types import JsonObject, JsonValue, Surface
from gateway.core.verification import Verification, proof_of
from gateway.core.when import Condition, WhenRule

MISSING = "missing"
READY = "ready"


def catalog_json(table: RouteTable, report: JsonObject, tried: Sequence[Verification], today: date) -> JsonObject:
    """Give every row of every channel. ``report``: how the channels stand; ``tried``: what smoke runs have found."""
    health = {(channel["channel"], row["row"]): row_health(channel, row) for channel, row in reported_rows(report)}
    probed = {one.proof for one in tried}
    verified = {one.proof for one in tried if one.passed}
    return {
        "version": table.version,
        "data": [
            {
                **_row(channel, row, table, today),
                "surfaces": {
                    "claimed": _surfaces(row.serves),
                    "probed": [one.value for one in Surface if proof_of(channel, row, one) in probed],
                    "verified": [one.value for one in Surface if proof_of(channel, row, one) in verified],
                },
                "health": health.get((channel.name, row.name), "unknown"),
            }
            for channel in table.channels.values()
            for row in channel.rows.values()
        ],
    }


def _row(channel: Channel, row: Row, table: RouteTable, today: date) -> JsonObject:
    retires_on = row.contract.retired_on
    price = row.price
    return {
        "channel": channel.name,
        "row": row.name,
        "owner": channel.owner,
        "kind": channel.kind.value,
        "model": row.model,
        "routes": [
            route.name
            for route in table.routes.values()
            if any((target.channel, target.row) == (channel.name, row.name) for target in route.targets)
        ],
        "contract": row.contract.name,
        "mode": row.contract.mode.value,
        "price": {"state": MISSING}
        if price is None
        else {"state": "known", "id": price.id, "unit": price.unit.value, "currency": price.currency},
        "must_be_verified": row.must_be_verified,
        "status": channel.unready or READY,
        "retires_on": None if retires_on is None else retires_on.isoformat(),
        "retiring": row.contract.retires_soon(today),
    }


def routes_json(table: RouteTable) -> JsonObject:
    """Give the table of routes, and what each channel is as far as it may be told."""
    return {
        "version": table.version,
        "unknown_ids_to": table.unknown_ids_to,
        "routes": [_route(route) for route in table.routes.values()],
        "channels": [_channel(channel) for channel in table.channels.values()],
    }


def _route(route: Route) -> JsonObject:
    return {
        "route": route.name,
        "policy": route.policy.value,
        "deadline_s": route.deadline_s,
        "max_attempts": route.max_attempts,
        "max_cost": None if route.max_cost is None else str(route.max_cost),
        "default_for": _surfaces(route.default_for),
        "deliver": route.deliver.value,
        "keep": route.keep,
        "targets": [_target(target) for target in route.targets],
        "when": [_rule(rule) for rule in route.when],
        "on_failure": {kind.value: action.value for kind, action in route.on_failure.items()},
        "repeats": {kind.value: times for kind, times in route.repeats.items()},
        "downgrade": [{"on": step.on.value, "set": dict(step.sets), "stays": step.stays} for step in route.downgrade],
        "intolerable": sorted(route.intolerable),
        "charge": "cost" if route.charge is None else "credits",
    }


def _target(target: RouteTarget) -> JsonObject:
    return {
        "channel": target.channel,
        "row": target.row,
        "weight": target.weight,
        "substitute": target.substitute,
        "unusable": target.unusable,
    }


def _rule(rule: WhenRule) -> JsonObject:
    return {
        "if": {condition.key: _condition(condition) for condition in rule.conditions},
        "use": [{"channel": one.channel, "row": one.row} for one in rule.use],
    }


def _condition(condition: Condition) -> JsonValue:
    span = condition.span
    return list(condition.words) if span is None else {"gte": span.gte, "lte": span.lte}


def _channel(channel: Channel) -> JsonObject:
    return {
        "channel": channel.name,
        "owner": channel.owner,
        "kind": channel.kind.value,
        "api": channel.api.value,
        "base_url_host": channel.host,
        "account": fingerprint(channel),
        "billing": channel.billing,
        "output_rights": channel.output_rights,
        "region": channel.region,
        "unready": channel.unready,
        "max_in_flight": channel.max_in_flight,
        "rows": list(channel.rows),
    }


def _surfaces(surfaces: Collection[Surface]) -> list[JsonValue]:
    return [surface.value for surface in Surface if surface in surfaces]
