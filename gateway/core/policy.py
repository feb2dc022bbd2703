"""Which targets a request may try, in which order, and why each other target may not.

Rules: a target is out when the caller pinned another channel, when another channel keeps what the request refers to,
when its row does not serve the surface, when the image tool's model has no name on its channel, when the ``when`` rule
that speaks of the request names others, when its contract forbids the request (``fit``), when it was unusable at load,
when it must be verified first and nobody pinned it, or when the request may cost more there than the route allows.
A target whose contract only advises comes after the others. What is left may rest: an operator stopped the channel, or
health bars the target. Resting is asked last: a target that rests lacks nothing else, so with nobody left the answer is
429 or 503 and not the caller's fault.

The panic rule: strikes never take the last target. When no target is well, the one ejected last is asked all the same.
The order is the route's policy (``order``). The same arguments give the same plan, as far as the view's dice do. A plan
has at least one target and none twice. It must never look at clocks, and never compare model names.
"""

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from gateway.core.brake import BrakeState
from gateway.core.ceiling import NO_PRICE
from gateway.core.cheapest import ranks
from gateway.core.contracts import Violation
from gateway.core.fit import fit
from gateway.core.health import standing
from gateway.core.image_tool import ToolModel, tool_model
from gateway.core.legacy import successor
from gateway.core.money import Cost, decimal
from gateway.core.order import ordered
from gateway.core.patience import patience_for
from gateway.core.plan import Plan, Target
from gateway.core.purchase import quote_of
from gateway.core.redact import is_plain
from gateway.core.resting import BRAKE_RETRY_S, CHANNEL_DRAINED, CHANNEL_OFF, Resting
from gateway.core.resting import refusal as resting_refusal
from gateway.core.table import Policy, Route, RouteTable, RouteTarget, Row
from gateway.core.terms import OPEN_CONTRACT, Contract
from gateway.core.types import Directives, Excluded, Facts, Fault, Refusal, Surface
from gateway.core.verification import proof_of
from gateway.core.view import CALM, View
from gateway.core.when import WhenRule, first_match

BOUND_ELSEWHERE = "bound_elsewhere"
NOT_PINNED = "not_pinned"
SURFACE_NOT_SERVED = "surface_not_served"
TOOL_MODEL_UNAVAILABLE = "tool_model_unavailable"
RULED_OUT = "ruled_out"
NOT_VERIFIED = "not_verified"

NOT_READY_RETRY_S = 1.0


class Misfit(Struct, frozen=True, kw_only=True):
    """A target whose contract forbids the request."""

    target: str
    violations: tuple[Violation, ...]

    @property
    def excluded(self) -> Excluded:
        """The target among those that are left out."""
        return Excluded(target=self.target, reason=f"contract:{self.violations[0].param}")


class Draft(Struct, frozen=True, kw_only=True):
    """A target as it would be asked; the rules of its contract that the request breaks; ``is_barred``: it is out."""

    target: Target
    violations: tuple[Violation, ...] = ()
    is_barred: bool = False


class TooDear(Struct, frozen=True, kw_only=True):
    """A target that may cost more than the route allows, or whose price nobody knows (``no_price``)."""

    target: str
    reason: str
    quote: Cost

    @property
    def excluded(self) -> Excluded:
        """The target among those that are left out."""
        return Excluded(target=self.target, reason=self.reason)


class _Question(Struct, frozen=True, kw_only=True):
    """What a plan is asked of: a request on a route, at one moment."""

    route: Route
    facts: Facts
    directives: Directives
    table: RouteTable
    view: View
    rule: WhenRule | None
    bound_to: str | None


def plan(
    facts: Facts, directives: Directives, table: RouteTable, view: View = CALM, bound_to: str | None = None
) -> Plan | Refusal:
    """Order the targets for a request, or refuse it before anything is sent.

    ``bound_to`` is the only channel it may go to, because that one keeps what the request refers to.
    """
    route = route_of(facts, table)
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
    at = first_match(route.when, facts, directives)
    rule = None if at is None else route.when[at]
    asked = _Question(
        route=route, facts=facts, directives=directives, table=table, view=view, rule=rule, bound_to=bound_to
    )
    found = [(written, _target(written, asked)) for written in once_each(route.targets)]
    ends = _rested(found, view)
    targets = [(written, end) for (written, _), end in zip(found, ends, strict=True) if isinstance(end, Target)]
    if not targets:
        return _refused(asked, found, ends)
    prices = ranks((target for _, target in targets), route, table) if route.policy is Policy.CHEAPEST else {}
    in_order = ordered(targets, route, facts, view, prices)
    return Plan(
        route=route,
        asked_model=facts.asked_model or route.name,
        facts=facts,
        table=table,
        targets=tuple(sorted(in_order, key=lambda target: (target.substitute, target.is_doubtful))),
        excluded=_excluded(ends),
        max_attempts=route.max_attempts if directives.fallback else 1,
        deadline_s=route.deadline_s,
        rule=at,
    )


def rests(target: Target, view: View) -> Resting | None:
    """Say why and for how long a target is not asked at this moment, the panic rule aside; ``None``: it is."""
    brake = view.brake(target.channel.name)
    if brake is not None and not (target.is_bound and brake.state is BrakeState.DRAINED):
        back_in_s = BRAKE_RETRY_S if brake.until is None else (brake.until - view.wall).total_seconds()
        reason = CHANNEL_DRAINED if brake.state is BrakeState.DRAINED else CHANNEL_OFF
        return Resting(target=target.name, reason=reason, back_in_s=back_in_s)
    last = standing(view.health, target.id, view.now).last
    if last is None:
        return None
    return Resting(target=target.name, reason=last.trouble.value, back_in_s=last.until - view.now)


_Found = tuple[RouteTarget, Target | Excluded | Misfit | TooDear]
_End = Target | Excluded | Misfit | TooDear | Resting


def _rested(found: Sequence[_Found], view: View) -> Sequence[_End]:
    """Take out the targets that rest, but for the one that the panic rule keeps."""
    if not view.health.marks and not view.brakes:
        return [end for _, end in found]  # the common case: nobody rests
    resting = {one.name: rests(one, view) for _, one in found if isinstance(one, Target)}
    kept = _kept([one for _, one in found if isinstance(one, Target) and not view.brake(one.channel.name)], view)
    ends: list[_End] = []
    for _, one in found:
        if isinstance(one, Target) and one.name == kept:
            ends.append(replace(one, is_kept=True))
        else:
            ends.append((resting[one.name] or one) if isinstance(one, Target) else one)
    return ends


def _kept(targets: Sequence[Target], view: View) -> str | None:
    """Give the target that is asked although strikes would have it out: the one ejected last, when none is well."""
    stands = {target.name: standing(view.health, target.id, view.now) for target in targets}
    if any(not stand.bars and not stand.is_probe for stand in stands.values()):
        return None
    ejected = [(stand.bars[0].since, name) for name, stand in stands.items() if stand.is_ejected_only]
    return max(ejected)[1] if ejected else None


def _excluded(ends: Sequence[_End]) -> tuple[Excluded, ...]:
    return tuple(end if isinstance(end, Excluded) else end.excluded for end in ends if not isinstance(end, Target))


def _refused(asked: _Question, found: Sequence[_Found], ends: Sequence[_End]) -> Refusal:
    resting = [end for end in ends if isinstance(end, Resting)]
    if resting:
        return resting_refusal(resting, _excluded(ends))
    dear = [end for end in ends if isinstance(end, TooDear)]
    if dear:
        return _too_dear(asked.route, dear, _excluded(ends))
    unready = [
        written
        for written, end in found
        if isinstance(end, Excluded) and end.reason in (written.unusable, NOT_VERIFIED)
    ]
    if unready:
        return _not_ready(unready, asked.table, _excluded(ends))
    misfits = [end for end in ends if isinstance(end, Misfit)]
    if misfits:
        return _forbidden(misfits, _excluded(ends))
    return _not_eligible(asked.route, asked.directives, _excluded(ends))


def route_of(facts: Facts, table: RouteTable) -> Route | Refusal:
    """Give the route that a request means: the one it names, by a dead name too, else the default of its surface."""
    if facts.asked_model is None:
        return table.default_route(facts.surface) or Refusal(
            status=400,
            code="missing_required_parameter",
            message="Missing required parameter: 'model'.",
            param="model",
        )
    now = successor(table.legacy, facts.asked_model, table.routes) or facts.asked_model
    found = table.routes.get(facts.asked_model) or table.routes.get(now)
    if found is not None:
        return found
    named = f"The model `{facts.asked_model}`" if is_plain(facts.asked_model) else "The requested model"
    return Refusal(
        status=404,
        code="model_not_found",
        message=f"{named} does not exist or you do not have access to it.",
        param="model",
    )


def once_each(targets: Sequence[RouteTarget]) -> Sequence[RouteTarget]:
    """Leave out what is written twice."""
    unique: dict[str, RouteTarget] = {}
    for target in targets:
        unique.setdefault(target.name, target)
    return tuple(unique.values())


def _is_image_route(route: Route, table: RouteTable) -> bool:
    rows = [table.channels[target.channel].rows[target.row] for target in route.targets]
    return bool(rows) and all(surface.is_images for row in rows for surface in row.serves)


def _target(written: RouteTarget, asked: _Question) -> Target | Excluded | Misfit | TooDear:
    """Resolve one target, or say why it is out, rest aside."""
    out = _obstacle(written, asked)
    drafted = draft(written, asked.route, asked.facts, asked.table) if out is None else None
    if drafted is None:
        return Excluded(target=written.name, reason=out or TOOL_MODEL_UNAVAILABLE)
    if drafted.is_barred:
        return Misfit(target=written.name, violations=drafted.violations)
    if written.unusable is not None:
        return Excluded(target=written.name, reason=written.unusable)
    target = drafted.target
    proof = proof_of(target.channel, target.row, asked.facts.surface) if target.row.must_be_verified else None
    is_unverified = proof is not None and proof not in asked.view.verified
    if is_unverified and asked.directives.pin is None:
        return Excluded(target=written.name, reason=NOT_VERIFIED)
    return _priced(replace(target, is_bound=asked.bound_to is not None, is_unverified=is_unverified), asked)


def draft(written: RouteTarget, route: Route, facts: Facts, table: RouteTable) -> Draft | None:
    """Say how a target would be asked, and what its contract has against it; ``None``: the tool's model is not there.

    Whether it may be asked at all is not looked at.
    """
    channel = table.channels[written.channel]
    tool = tool_model(facts, channel, table)
    if tool.is_unnamed:
        return None
    row = channel.rows[written.row]
    fitted = fit(facts, _contract(row, tool), table.legacy)
    patience_s = channel.timeouts.patience_s
    if patience_s is None:
        patience_s = patience_for(facts, table.patience)
    target = Target(
        channel=channel,
        row=row,
        sent_model=row.model,
        tool_sent_model=tool.word,
        patience_s=min(patience_s, route.deadline_s),
        substitute=written.substitute,
        contract=fitted.contract,
        facts=fitted.facts,
        changes=fitted.changes,
        is_doubtful=bool(fitted.violations),
        translated_model=tool.is_translated or facts.asked_model not in (None, route.name),
    )
    return Draft(target=target, violations=fitted.violations, is_barred=fitted.is_barred)


def _priced(target: Target, asked: _Question) -> Target | TooDear:
    """Put its quote to a target where the route looks at it; one that is too dear is out."""
    ceiling = asked.route.max_cost
    if ceiling is None and asked.route.policy is not Policy.CHEAPEST:
        return target
    quote = quote_of(target, asked.facts, asked.table)
    reason = None if ceiling is None else ceiling.bars(quote)
    return replace(target, quote=quote) if reason is None else TooDear(target=target.name, reason=reason, quote=quote)


def _contract(row: Row, tool: ToolModel) -> Contract:
    """Give the contract of the pictures: that of the tool's model where one is named, else the row's."""
    if tool.word is None:
        return row.contract
    return tool.row.contract if tool.row is not None else OPEN_CONTRACT


def _obstacle(written: RouteTarget, asked: _Question) -> str | None:
    if asked.bound_to not in (None, written.channel):
        return BOUND_ELSEWHERE
    if asked.directives.pin is not None and written.channel != asked.directives.pin:
        return NOT_PINNED
    if asked.facts.surface not in asked.table.channels[written.channel].rows[written.row].serves:
        return SURFACE_NOT_SERVED
    if asked.rule is not None and not asked.rule.leaves(written.channel, written.row):
        return RULED_OUT
    return None


def _not_ready(unready: Sequence[RouteTarget], table: RouteTable, excluded: tuple[Excluded, ...]) -> Refusal:
    reasons = "; ".join(
        f"{one.name}: {table.channels[one.channel].unready or one.unusable or NOT_VERIFIED}" for one in unready
    )
    return Refusal(
        status=503,
        code="no_healthy_target",
        message=f"No target of this route is ready ({reasons}).",
        fault=Fault.ROUTING,
        excluded=excluded,
        retry_after_s=NOT_READY_RETRY_S,
    )


def _too_dear(route: Route, dear: Sequence[TooDear], excluded: tuple[Excluded, ...]) -> Refusal:
    """Name the ceiling, and the least that the request may cost at most."""
    known = [(one.quote.amount_micro or 0, one) for one in dear if one.reason != NO_PRICE]
    if known:
        least, at = min(known, key=lambda pair: pair[0])
        why = f"the cheapest, {at.target}, may take {decimal(least)} {at.quote.currency}"
    else:
        why = "what it costs in this currency is known of none"
    message = f"No target of this route serves this request for at most {route.max_cost}: {why}."
    return Refusal(status=400, code="no_eligible_target", message=message, excluded=excluded)


def _forbidden(misfits: Sequence[Misfit], excluded: tuple[Excluded, ...]) -> Refusal:
    """Tell of the target that comes nearest: the one whose contract forbids least, the first of several."""
    violation = min(misfits, key=lambda misfit: len(misfit.violations)).violations[0]
    return Refusal(status=400, code=violation.code, message=violation.message, param=violation.where, excluded=excluded)


def _not_eligible(route: Route, directives: Directives, excluded: tuple[Excluded, ...]) -> Refusal:
    pin = directives.pin
    if pin is not None and pin not in {target.channel for target in route.targets}:
        named = f"The channel `{pin}`" if is_plain(pin) else "The pinned channel"
        message = f"{named} is not a target of this route."
    else:
        reasons = "; ".join(f"{item.target}: {item.reason}" for item in excluded)
        message = f"No target of this route can serve this request ({reasons})."
    return Refusal(status=400, code="no_eligible_target", message=message, excluded=excluded)
