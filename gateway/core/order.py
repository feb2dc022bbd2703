"""In which order the targets of a plan are asked: the route's policy.

``priority``: as written. ``weighted``: by lot, each first as often as its weight says, and so on down the list.
``fastest``: the one that lately took least for this size of request. ``least_busy``: the one whose channel has the
smallest share of its places taken. ``cheapest``: by what the request may cost there at most (``cheapest``). Equal
targets stay as written. Substitutes come after all others, as written.
"""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TypeVar

from gateway.core.cheapest import UNKNOWN, Rank
from gateway.core.health import TargetId
from gateway.core.latency import expected_s, size_class
from gateway.core.table import Policy, Route, RouteTarget
from gateway.core.types import Facts
from gateway.core.view import View

_T = TypeVar("_T")


def ordered(
    found: Sequence[tuple[RouteTarget, _T]],
    route: Route,
    facts: Facts,
    view: View,
    prices: Mapping[str, Rank] = MappingProxyType({}),
) -> Sequence[_T]:
    """Put what was found for each target into the order in which it is asked; ``prices``: ranks of ``cheapest``."""
    keyed = [
        ((written.substitute, (0.0, 0.0) if written.substitute else _rank(written, route, facts, view, prices)), one)
        for written, one in found
    ]
    return tuple(one for _, one in sorted(keyed, key=lambda pair: pair[0]))


def _rank(target: RouteTarget, route: Route, facts: Facts, view: View, prices: Mapping[str, Rank]) -> Rank:
    if route.policy is Policy.CHEAPEST:
        return prices.get(target.name, UNKNOWN)
    return (_figure(target, route.policy, facts, view), 0.0)


def _figure(target: RouteTarget, policy: Policy, facts: Facts, view: View) -> float:
    if policy is Policy.WEIGHTED:
        # Exponential lots: the smallest of them is target i with the probability of its share of the weights.
        return -math.log(1.0 - view.roll()) / target.weight if target.weight else math.inf
    if policy is Policy.FASTEST:
        place = TargetId(target.channel, target.row)
        return expected_s(view.latency, place, size_class(facts), view.now)
    if policy is Policy.LEAST_BUSY:
        return view.busy(target.channel)
    return 0.0
