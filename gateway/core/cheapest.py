"""Which of several targets costs a request least: the order of the policy ``cheapest``.

What counts is the quote, what this very request may cost there at most. Rules: amounts of two currencies are never
compared: all targets of the currency that stands first among the route's come first, each currency by its amounts. A
target whose quote is not known comes last. Equal ones stay as written.
"""

import math
from collections.abc import Iterable, Mapping
from typing import TypeAlias

from gateway.core.plan import Target
from gateway.core.table import Route, RouteTable

Rank: TypeAlias = tuple[float, float]

UNKNOWN: Rank = (math.inf, 0.0)


def ranks(targets: Iterable[Target], route: Route, table: RouteTable) -> Mapping[str, Rank]:
    """Give the rank of each target by its name; the smallest is asked first."""
    currencies = _currencies(route, table)
    return {target.name: _rank(target, currencies) for target in targets}


def _currencies(route: Route, table: RouteTable) -> Mapping[str, int]:
    """Give the place of each currency: as the route's targets are written, asked or not."""
    places: dict[str, int] = {}
    for written in route.targets:
        price = table.channels[written.channel].rows[written.row].price
        if price is not None:
            places.setdefault(price.currency, len(places))
    return places


def _rank(target: Target, currencies: Mapping[str, int]) -> Rank:
    quote = target.quote
    if quote is None or quote.amount_micro is None or quote.currency is None:
        return UNKNOWN
    return (currencies.get(quote.currency, len(currencies)), quote.amount_micro)
