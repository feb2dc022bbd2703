"""Money as integers of a micro-unit of one currency: lines, costs, and their sums.

The rule of rounding, here and nowhere else: each line is quantity times rate, exact, then rounded to the micro-unit,
half to even; a cost is the sum of its lines. So no total needs rounding, and two readers of a record get the same sum.

``state`` says how far to believe a cost: ``exact`` (what the upstream reported times the price, or nothing was bought),
``estimated`` (worked out from the shape of the request, or told only in part) or ``missing``. A missing cost has no
amount: it is never zero. Amounts of two currencies are never added: such a sum is missing, its lines are kept.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from fractions import Fraction
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from gateway.core.prices import MICRO, Item
from gateway.core.types import JsonObject

NO_UNIT: Final = "none"
MIXED: Final = "mixed"
UNKNOWN: Final = "unknown; state=missing; unit=none"
DEFAULT_CURRENCY: Final = "USD"  # the word beside a zero that stands for: nothing was bought


class CostState(StrEnum):
    """How far to believe a cost."""

    EXACT = "exact"
    ESTIMATED = "estimated"
    MISSING = "missing"


class Line(Struct, frozen=True, kw_only=True):
    """One line of a bill; ``attempt`` is the attempt's number once the line stands on a request's bill."""

    item: Item
    quantity: int
    amount_micro: int
    currency: str
    price_id: str
    attempt: int | None = None

    def as_json(self) -> JsonObject:
        """Give the line as the record shows it."""
        head: JsonObject = {} if self.attempt is None else {"attempt": self.attempt}
        return {
            **head,
            "item": str(self.item),
            "quantity": self.quantity,
            "amount_micro": self.amount_micro,
            "currency": self.currency,
            "price_id": self.price_id,
        }


class Cost(Struct, frozen=True, kw_only=True):
    """What an attempt, or all attempts of a request, cost. ``amount_micro`` is absent when the state is missing.

    ``exposure_micro``: the part of the amount that may not be owed after all, because the outcome is unknown.
    """

    state: CostState
    unit: str
    amount_micro: int | None = None
    currency: str | None = None
    exposure_micro: int | None = None
    price_id: str | None = None
    lines: tuple[Line, ...] = ()

    def as_json(self) -> JsonObject:
        """Give the cost as the record shows it; the exposure stands beside it there, not in it."""
        known: JsonObject = {} if self.amount_micro is None else {"amount_micro": self.amount_micro}
        currency: JsonObject = {} if self.currency is None else {"currency": self.currency}
        price: JsonObject = {} if self.price_id is None else {"price_id": self.price_id}
        return {
            **known,
            **currency,
            "unit": self.unit,
            "state": str(self.state),
            **price,
            "lines": [line.as_json() for line in self.lines],
        }

    @property
    def stamp(self) -> str:
        """The value of ``x-cost``: ``0.053000 USD; state=exact; unit=tokens``."""
        if self.amount_micro is None:
            return UNKNOWN
        return f"{decimal(self.amount_micro)} {self.currency}; state={self.state}; unit={self.unit}"


MISSING: Final = Cost(state=CostState.MISSING, unit=NO_UNIT)


def rounded(exact: Fraction) -> int:
    """Round micro-units to a whole one, half to even."""
    return round(exact)


def line(item: Item, quantity: int, rate: Fraction, currency: str, price_id: str) -> Line:
    """Make a line of ``quantity`` times ``rate`` micro-units."""
    return Line(item=item, quantity=quantity, amount_micro=times(quantity, rate), currency=currency, price_id=price_id)


def times(quantity: int, rate: Fraction) -> int:
    """Give ``rounded(quantity * rate)``; worked out in whole numbers, since every line of every bill is made here."""
    parts = rate.denominator
    whole, rest = divmod(quantity * rate.numerator, parts)
    is_up = 2 * rest > parts or (2 * rest == parts and whole % 2 == 1)
    return whole + is_up


def nothing(currency: str = DEFAULT_CURRENCY) -> Cost:
    """Give the cost of what was refused or never sent: zero, and exact."""
    return Cost(state=CostState.EXACT, unit=NO_UNIT, amount_micro=0, currency=currency)


def billed(lines: Sequence[Line], *, unit: str, exact: bool) -> Cost:
    """Add lines up to a cost; missing when they are of two currencies."""
    currency = lines[0].currency if lines else DEFAULT_CURRENCY
    if len(lines) > 1 and any(one.currency != currency for one in lines):
        return Cost(state=CostState.MISSING, unit=MIXED, lines=tuple(lines))
    return Cost(
        state=CostState.EXACT if exact else CostState.ESTIMATED,
        unit=unit,
        amount_micro=sum([one.amount_micro for one in lines]),
        currency=currency,
        price_id=lines[0].price_id if lines else None,
        lines=tuple(lines),
    )


def exposed(cost: Cost) -> Cost:
    """Say of a cost that it may not be owed: it is an estimate, and all of it is exposure."""
    if cost.amount_micro is None:
        return cost
    return replace(cost, state=CostState.ESTIMATED, exposure_micro=cost.amount_micro)


def total(costs: Sequence[Cost]) -> Cost | None:
    """Add up the costs of a request's attempts, in their order; ``None`` when nothing was started.

    Missing when one of them is, or when they are of two currencies. The unit is theirs, or ``mixed``.
    """
    if not costs:
        return None
    if len(costs) == 1:
        return _numbered(costs[0])
    lines = tuple(replace(one, attempt=n) for n, cost in enumerate(costs, start=1) for one in cost.lines)
    owed = [cost for cost in costs if cost.lines]
    currencies = {cost.currency for cost in owed}
    if len(currencies) > 1:
        return Cost(state=CostState.MISSING, unit=MIXED, lines=lines)
    exposures = [cost.exposure_micro for cost in costs if cost.exposure_micro is not None]
    exposure = sum(exposures) if exposures else None
    if any(cost.amount_micro is None for cost in costs):
        unit = _one(cost.unit for cost in owed)
        return Cost(state=CostState.MISSING, unit=unit, exposure_micro=exposure, lines=lines)
    return Cost(
        state=CostState.EXACT if all(cost.state is CostState.EXACT for cost in costs) else CostState.ESTIMATED,
        unit=_one(cost.unit for cost in owed),
        amount_micro=sum(one.amount_micro for one in lines),
        currency=(owed or costs)[-1].currency,
        exposure_micro=exposure,
        price_id=owed[-1].price_id if owed else None,
        lines=lines,
    )


def _numbered(cost: Cost) -> Cost:
    """Give the cost of the only attempt as that of its request."""
    lines = tuple([replace(one, attempt=1) for one in cost.lines])
    unit = cost.unit if cost.lines else NO_UNIT
    return replace(cost, unit=unit, price_id=cost.price_id if cost.lines else None, lines=lines)


def decimal(amount_micro: int) -> str:
    """Write micro-units as units with six decimals."""
    return f"{amount_micro // MICRO}.{amount_micro % MICRO:06d}"


def _one(units: Iterable[str]) -> str:
    found = set(units)
    return MIXED if len(found) > 1 else next(iter(found), NO_UNIT)
