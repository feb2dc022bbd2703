"""The most that a request may cost: a route's ``max_cost``, held against what was spent and what comes next.

Rules: a target whose price in the ceiling's currency is not known is never let through, since nobody could say what it
costs; what an attempt may have cost counts as spent. So no path of attempts can pass the ceiling, as far as the quotes
hold.
"""

from dataclasses import dataclass
from typing import Final

from gateway.core.money import Cost, decimal

MAX_COST: Final = "max_cost"
NO_PRICE: Final = "no_price"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceiling:
    """An amount in micro-units of one currency; what it bounds may be as large, and no larger."""

    amount_micro: int
    currency: str

    def __str__(self) -> str:
        """Write it as ``0.250000 USD``."""
        return f"{decimal(self.amount_micro)} {self.currency}"

    def bars(self, quote: Cost | None, spent_micro: int = 0) -> str | None:
        """Say why an attempt of at most ``quote`` may not follow what was spent: ``no_price`` or ``max_cost``."""
        if quote is None or quote.amount_micro is None or quote.currency != self.currency:
            return NO_PRICE
        return MAX_COST if spent_micro + quote.amount_micro > self.amount_micro else None
