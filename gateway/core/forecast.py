"""What would become of a request that is not sent: who would be asked, what is wrong with it, what it may cost.

The plan is the relay's own; here it is only told. Rules: a target that is out is told with its reason and with all that
its contract has against the request; a cost that is not known is missing, never zero. The worst case of a plan is a
bound: what all attempts together may take, also when each of them is lost. Pure.
"""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from gateway.core.contracts import Violation
from gateway.core.downgrade import kinds_asked_again
from gateway.core.failures import CONSEQUENCES
from gateway.core.money import MISSING, MIXED, NO_UNIT, Cost, CostState, total
from gateway.core.plan import Plan, Target
from gateway.core.policy import draft, once_each, route_of
from gateway.core.purchase import quote_of
from gateway.core.table import Route, RouteTable
from gateway.core.types import Action, Excluded, Facts, FailureClass, JsonObject, JsonValue, Outcome, Refusal

CHECK: Final = "images/check"  # the record's endpoint


class Forecast(Struct, frozen=True, kw_only=True):
    """A request, and what planning said to it."""

    facts: Facts
    table: RouteTable
    planned: Plan | Refusal

    def as_json(self) -> JsonObject:
        """Give the forecast as ``POST /v1/images/check`` answers it."""
        planned = self.planned
        route = route_of(self.facts, self.table)
        excluded = [self._out_json(one, route) for one in planned.excluded]
        head: dict[str, JsonValue] = {
            "object": "images.check",
            "ok": isinstance(planned, Plan),
            "endpoint": self.facts.endpoint,
            "asked_model": self.facts.asked_model,
            "route": route.name if isinstance(route, Route) else None,
        }
        if isinstance(planned, Refusal):
            error: JsonObject = {
                "status": planned.status,
                "code": planned.code,
                "message": planned.message,
                "param": planned.param,
            }
            return {**head, "error": error, "targets": [], "excluded": excluded, "worst_case": None}
        return {
            **head,
            "error": None,
            "policy": planned.route.policy,
            "max_attempts": planned.max_attempts,
            "deadline_s": planned.deadline_s,
            "max_cost": None if planned.route.max_cost is None else str(planned.route.max_cost),
            "targets": [self._target_json(target) for target in planned.targets],
            "excluded": excluded,
            "worst_case": cost_json(worst_case(planned)),
        }

    def _target_json(self, target: Target) -> JsonObject:
        drafted = self._violations(target.name, self.planned.route) if isinstance(self.planned, Plan) else ()
        return {
            "target": target.name,
            "owner": target.channel.owner,
            "sent_model": target.sent_model,
            "contract": target.contract.name,
            "substitute": target.substitute,
            "changes": [change.stamp for change in target.changes],
            "patience_s": target.patience_s,
            "violations": [violation_json(one) for one in drafted],
            "worst_case": cost_json(target.quote or quote_of(target, self.facts, self.table)),
        }

    def _out_json(self, out: Excluded, route: Route | Refusal) -> JsonObject:
        written = self._drafted(out.target, route) if isinstance(route, Route) else None
        quote = None if written is None else quote_of(written, self.facts, self.table)
        violations = self._violations(out.target, route) if isinstance(route, Route) else ()
        return {
            "target": out.target,
            "reason": out.reason,
            "violations": [violation_json(one) for one in violations],
            "worst_case": None if quote is None else cost_json(quote),
        }

    def _drafted(self, name: str, route: Route) -> Target | None:
        found = self._draft(name, route)
        return None if found is None else found[0]

    def _violations(self, name: str, route: Route) -> Sequence[Violation]:
        found = self._draft(name, route)
        return () if found is None else found[1]

    def _draft(self, name: str, route: Route) -> tuple[Target, Sequence[Violation]] | None:
        """Give a target of the route as it would be asked; nothing where this surface is not served at all."""
        for written in once_each(route.targets):
            row = self.table.channels[written.channel].rows[written.row]
            if written.name == name and self.facts.surface in row.serves:
                drafted = draft(written, route, self.facts, self.table)
                return None if drafted is None else (drafted.target, drafted.violations)
        return None


def quoted(plan: Plan, target: Target) -> Cost:
    """Give what an attempt at a target of the plan may cost at most, as far as its price tells."""
    return target.quote or quote_of(target, plan.facts, plan.table)


def worst_case(plan: Plan) -> Cost:
    """Give what all attempts of a plan may cost together: never less than any path of them takes."""
    quotes = [quoted(plan, target) for target in plan.targets]
    known = [quote for quote in quotes if quote.amount_micro is not None]
    currencies = {quote.currency for quote in known}
    if len(known) < len(quotes):
        return MISSING
    if len(currencies) > 1:
        return Cost(state=CostState.MISSING, unit=MIXED)
    dearest = sorted(known, key=lambda quote: quote.amount_micro or 0, reverse=True)
    route = plan.route
    again = kinds_asked_again(plan)
    asks_again = bool(route.repeats or again)
    if not _pays_again(route, again):
        paid = dearest[:1]
    elif asks_again:
        paid = dearest[:1] * plan.max_attempts
    else:
        paid = dearest[: plan.max_attempts]
    most = total(paid) or Cost(state=CostState.EXACT, unit=NO_UNIT, amount_micro=0)
    ceiling = route.max_cost
    if ceiling is None or (most.amount_micro or 0) <= ceiling.amount_micro:
        return most
    return Cost(state=CostState.ESTIMATED, unit=most.unit, amount_micro=ceiling.amount_micro, currency=ceiling.currency)


def _pays_again(route: Route, again: frozenset[FailureClass]) -> bool:
    """Whether another attempt may follow one that may have been charged for."""
    paid = {kind for kind, told in CONSEQUENCES.items() if told.outcome is Outcome.UNKNOWN}
    paid |= {FailureClass.MALFORMED} if route.intolerable else set()
    onward = {kind for kind in paid if route.on_failure.get(kind, CONSEQUENCES[kind].action) is Action.NEXT}
    if route.on_failure.get(FailureClass.EMPTY_RESULT, Action.NEXT) is Action.NEXT:
        onward.add(FailureClass.EMPTY_RESULT)  # unless it was charged for, which no table tells
    return bool(onward or paid & route.repeats.keys() or paid & again)


def cost_json(cost: Cost) -> JsonObject:
    """Give a worst case: what it amounts to, and how far to believe that; lines are a bill's matter."""
    known: JsonObject = {} if cost.amount_micro is None else {"amount_micro": cost.amount_micro}
    currency: JsonObject = {} if cost.currency is None else {"currency": cost.currency}
    price: JsonObject = {} if cost.price_id is None else {"price_id": cost.price_id}
    return {**known, **currency, "unit": cost.unit, "state": cost.state, **price}


def violation_json(violation: Violation) -> JsonObject:
    """Give a broken rule: the parameter as the body names it, the value where it is fit to be repeated, the rule."""
    return {
        "param": violation.where,
        "value": violation.value,
        "rule": violation.rule,
        "code": violation.code,
        "message": violation.message,
    }
