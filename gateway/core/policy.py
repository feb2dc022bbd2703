"""Which targets a request may try, in which order, and why each other target may not.

Rules: the order is the file's. A target is out when the caller pinned another channel, when its row does not serve the
surface, when the image tool's model has no name on its channel, or when it was unusable at load. Usability is asked
last: a target excluded for it lacks nothing else, so with nobody left the answer is 503 and not the caller's fault. The
same arguments give the same plan. A plan has at least one target and none twice. It must never look at health, clocks
or dice, and never compare model names.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.core.redact import is_plain
from gateway.core.table import Channel, Patience, Route, RouteTable, RouteTarget, Row
from gateway.core.types import Directives, Excluded, Facts, Fault, Refusal, Surface

NOT_PINNED = "not_pinned"
SURFACE_NOT_SERVED = "surface_not_served"
TOOL_MODEL_UNAVAILABLE = "tool_model_unavailable"

NOT_READY_RETRY_S = 1.0

_SIZE = re.compile(r"([0-9]{1,6})x([0-9]{1,6})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One target as it will be asked: the words on the wire, and how long one attempt may take (seconds)."""

    channel: Channel
    row: Row
    sent_model: str
    tool_sent_model: str | None
    patience_s: float

    @property
    def name(self) -> str:
        """``channel/row``."""
        return f"{self.channel.name}/{self.row.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What may be tried, in order, and what may not. ``asked_model`` is the route's name when the body named none."""

    route: Route
    asked_model: str
    targets: tuple[Target, ...]
    excluded: tuple[Excluded, ...]
    max_attempts: int
    deadline_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Unnamed:
    """The tool's model is known here, but not on this channel."""


def plan(facts: Facts, directives: Directives, table: RouteTable) -> Plan | Refusal:
    """Order the targets for a request, or refuse it before anything is sent."""
    route = _route(facts, table)
    if isinstance(route, Refusal):
        return route
    if facts.surface is Surface.RESPONSES and _is_image_route(route, table):
        return Refusal(
            status=400,
            code="image_model_not_allowed",
            message=(
                "This is an image model. Use it with /v1/images/generations or /v1/images/edits, "
                "or name it as the model of the image_generation tool."
            ),
            param="model",
        )
    targets: list[Target] = []
    excluded: list[Excluded] = []
    unready: list[RouteTarget] = []
    for planned in _once_each(route.targets):
        found = _target(planned, route, facts, directives, table)
        if isinstance(found, str):
            excluded.append(Excluded(target=planned.name, reason=found))
        elif planned.unusable is not None:
            excluded.append(Excluded(target=planned.name, reason=planned.unusable))
            unready.append(planned)
        else:
            targets.append(found)
    if not targets and unready:
        return _not_ready(unready, table, tuple(excluded))
    if not targets:
        return _not_eligible(route, directives, tuple(excluded))
    return Plan(
        route=route,
        asked_model=facts.asked_model or route.name,
        targets=tuple(targets),
        excluded=tuple(excluded),
        max_attempts=route.max_attempts if directives.fallback else 1,
        deadline_s=route.deadline_s,
    )


def _route(facts: Facts, table: RouteTable) -> Route | Refusal:
    if facts.asked_model is None:
        return table.default_route(facts.surface) or Refusal(
            status=400,
            code="missing_required_parameter",
            message="Missing required parameter: 'model'.",
            param="model",
        )
    named = f"The model `{facts.asked_model}`" if is_plain(facts.asked_model) else "The requested model"
    return table.routes.get(facts.asked_model) or Refusal(
        status=404,
        code="model_not_found",
        message=f"{named} does not exist or you do not have access to it.",
        param="model",
    )


def _once_each(targets: Sequence[RouteTarget]) -> Sequence[RouteTarget]:
    unique: dict[str, RouteTarget] = {}
    for target in targets:
        unique.setdefault(target.name, target)
    return tuple(unique.values())


def _is_image_route(route: Route, table: RouteTable) -> bool:
    rows = [table.channels[target.channel].rows[target.row] for target in route.targets]
    return bool(rows) and all(surface.is_images for row in rows for surface in row.serves)


def _target(
    planned: RouteTarget, route: Route, facts: Facts, directives: Directives, table: RouteTable
) -> Target | str:
    """Resolve one target, or give the reason why it is out; usability is the caller's question."""
    if directives.pin is not None and planned.channel != directives.pin:
        return NOT_PINNED
    channel = table.channels[planned.channel]
    row = channel.rows[planned.row]
    if facts.surface not in row.serves:
        return SURFACE_NOT_SERVED
    tool_model = _tool_model(facts, channel, table)
    if isinstance(tool_model, _Unnamed):
        return TOOL_MODEL_UNAVAILABLE
    patience_s = channel.timeouts.patience_s
    if patience_s is None:
        patience_s = patience_for(facts, table.patience)
    return Target(
        channel=channel,
        row=row,
        sent_model=row.model,
        tool_sent_model=tool_model,
        patience_s=min(patience_s, route.deadline_s),
    )


def _tool_model(facts: Facts, channel: Channel, table: RouteTable) -> str | _Unnamed | None:
    """Give the word for the image tool's model on this channel; absent stays absent, unknown everywhere stays as is."""
    asked = facts.tool.asked_model if facts.tool is not None else None
    if asked is None:
        return None
    route = table.routes.get(asked)
    on_route = [target.row for target in route.targets if target.channel == channel.name] if route else []
    row = channel.rows.get(on_route[0] if on_route else asked)
    if row is not None:
        return row.model
    is_known = route is not None or any(asked in other.rows for other in table.channels.values())
    return _Unnamed() if is_known else asked


def _not_ready(unready: Sequence[RouteTarget], table: RouteTable, excluded: tuple[Excluded, ...]) -> Refusal:
    reasons = "; ".join(f"{one.name}: {table.channels[one.channel].unready or one.unusable}" for one in unready)
    return Refusal(
        status=503,
        code="no_healthy_target",
        message=f"No target of this route is ready ({reasons}).",
        fault=Fault.ROUTING,
        excluded=excluded,
        retry_after_s=NOT_READY_RETRY_S,
    )


def _not_eligible(route: Route, directives: Directives, excluded: tuple[Excluded, ...]) -> Refusal:
    pin = directives.pin
    if pin is not None and pin not in {target.channel for target in route.targets}:
        named = f"The channel `{pin}`" if is_plain(pin) else "The pinned channel"
        message = f"{named} is not a target of this route."
    else:
        reasons = "; ".join(f"{item.target}: {item.reason}" for item in excluded)
        message = f"No target of this route can serve this request ({reasons})."
    return Refusal(status=400, code="no_eligible_target", message=message, excluded=excluded)


def patience_for(facts: Facts, patience: Patience) -> float:
    """Give the seconds one attempt may take, by the shape of the request.

    An image request takes the figure of its quality (the default without one), or the heavy figure when the size asked
    for has more pixels, or more pictures were given, than the data says. A turn of Responses has one figure.
    """
    if facts.surface is Surface.RESPONSES:
        return patience.responses_s
    by_quality = patience.by_quality.get(facts.quality or "", patience.default_s)
    match = _SIZE.fullmatch(facts.size or "")
    pixels = int(match[1]) * int(match[2]) if match else 0
    is_heavy = pixels > patience.heavy_pixels or len(facts.inputs) > patience.heavy_inputs
    return max(by_quality, patience.heavy_s) if is_heavy else by_quality
