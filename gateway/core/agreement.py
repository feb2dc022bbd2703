"""What a key may ask for, and what it pays at most: settled between the plan and the first attempt.

Rules: permission comes before price, and price before balance. A key uses the routes it was given, also through the
image tool. A key with a budget of money never uses a target whose worst case is not known in that money, and on a route
that charges credits no target is used for what has no price there; such targets are left out with their reason. What
is held is the dearest of the targets that are left. Nobody in particular pays nothing.
"""

from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from gateway.core.charges import unpriced, worst_case
from gateway.core.plan import Plan, Target
from gateway.core.policy import route_of
from gateway.core.principal import Principal
from gateway.core.purchase import quote_of
from gateway.core.table import Route, RouteTable
from gateway.core.types import Excluded, Facts, Refusal

NO_PRICE: Final = "no_price"
PRICE_MISSING: Final = "price_missing"
OTHER_CURRENCY: Final = "price_in_another_currency"


class Agreement(Struct, frozen=True, kw_only=True):
    """The plan that a key can pay for, and its worst case: ``credits``, and micro-units of the budget's currency.

    Absent: there is nothing of that kind to pay.
    """

    plan: Plan
    credits: int | None = None
    micro: int | None = None


def forbidden(facts: Facts, principal: Principal, table: RouteTable) -> Refusal | None:
    """Refuse a request for a route that its key was not given; one for a route that is none is not for us to refuse."""
    if principal.models is None:
        return None
    route = route_of(facts, table)
    if isinstance(route, Route) and not principal.may_use(route.name):
        return _not_allowed("model")
    tool = facts.tool.asked_model if facts.tool is not None else None
    named = None if tool is None else route_of(replace(facts, asked_model=tool), table)
    return _not_allowed("tools") if isinstance(named, Route) and not principal.may_use(named.name) else None


def agree(plan: Plan, facts: Facts, principal: Principal) -> Agreement | Refusal:
    """Say what a request may cost its key at most, on the targets that it can be charged for."""
    if principal.key_id is None or (plan.route.charge is None and principal.budget is None):
        return Agreement(plan=plan)
    left: list[Target] = []
    out: list[Excluded] = []
    prices: list[int] = []
    money: list[int] = []
    for target in plan.targets:
        price = _price(target, facts, plan.route)
        micro = _money(target, facts, plan, principal)
        reason = price if isinstance(price, str) else micro if isinstance(micro, str) else None
        if reason is not None or isinstance(price, str) or isinstance(micro, str):
            out.append(Excluded(target=target.name, reason=reason or NO_PRICE))
            continue
        left.append(target)
        prices.append(price)
        money.append(micro)
    excluded = (*plan.excluded, *out)
    if not left:
        return _nothing_left(plan, facts, out, excluded)
    return Agreement(
        plan=plan if not out else replace(plan, targets=tuple(left), excluded=excluded),
        credits=None if plan.route.charge is None else max(prices),
        micro=None if principal.budget is None else max(money),
    )


def _price(target: Target, facts: Facts, route: Route) -> int | str:
    if route.charge is None:
        return 0
    found = worst_case(route.charge, target, facts)
    return NO_PRICE if found is None else found


def _money(target: Target, facts: Facts, plan: Plan, principal: Principal) -> int | str:
    if principal.budget is None:
        return 0
    quote = quote_of(target, facts, plan.table)
    if quote.amount_micro is None:
        return PRICE_MISSING
    is_foreign = quote.amount_micro > 0 and quote.currency != principal.budget.currency
    return OTHER_CURRENCY if is_foreign else quote.amount_micro


def _nothing_left(plan: Plan, facts: Facts, out: list[Excluded], excluded: tuple[Excluded, ...]) -> Refusal:
    if all(one.reason == NO_PRICE for one in out):
        param, what = unpriced(plan.route.charge, plan.targets[0], facts)
        message = f"This route charges credits and has no price for {what}."
        return Refusal(status=400, code="no_price", message=message, param=param, excluded=excluded)
    reasons = "; ".join(f"{one.target}: {one.reason}" for one in excluded)
    message = f"This key has a budget, and no target of this route can say what it costs ({reasons})."
    return Refusal(status=400, code="no_eligible_target", message=message, excluded=excluded)


def _not_allowed(param: str) -> Refusal:
    message = "This key may not use the model that the request names."
    return Refusal(status=403, code="model_not_allowed", message=message, param=param)


def dearest(agreed: Agreement, facts: Facts, principal: Principal, *, in_credits: bool) -> str:
    """Name the target whose worst case is what is held: ``channel/row``."""

    def worst(target: Target) -> int:
        found = (
            _price(target, facts, agreed.plan.route) if in_credits else _money(target, facts, agreed.plan, principal)
        )
        return found if isinstance(found, int) else 0

    return max(agreed.plan.targets, key=worst).name


def shortage(code: str, figures: str = "") -> Refusal:
    """Refuse a request that its key cannot pay for; ``code`` is the books' word for it.

    ``figures``: what was to be held, where, and what is left.
    """
    found = next((one for one in _SHORT if one.code == code), _SHORT[-1])
    return replace(found, message=f"{found.message[:-1]}: {figures}.") if figures else found


_SHORT: Final = (
    Refusal(
        status=402,
        code="insufficient_credits",
        message="The balance of this key does not cover what this request may cost.",
    ),
    Refusal(
        status=402,
        code="budget_exceeded",
        message="The budget of this key does not cover what this request may cost.",
    ),
    Refusal(status=401, code="invalid_api_key", message="The API key is missing or not valid."),
)
