"""What flights saved: pictures that were bought, reached no client, and were given to one that came back.

Counted since the start of the process, for the figures. Money is counted per currency, in micro-units; never summed
over two of them.
"""

from collections import defaultdict
from collections.abc import Mapping

from gateway.core.record import Record


class Rescue:
    """One instance counts for the process, on its event loop."""

    def __init__(self) -> None:
        self.flights = 0
        self.pictures = 0
        self.lost = 0
        self._money: defaultdict[str, int] = defaultdict(int)

    @property
    def money(self) -> Mapping[str, int]:
        """Give what was paid for it."""
        return dict(self._money)

    def add(self, record: Record) -> None:
        """Count a flight that was given to a client after another had left."""
        cost = record.cost
        self.flights += 1
        self.pictures += len(record.result.images)
        if cost is not None and cost.amount_micro is not None and cost.currency is not None:
            self._money[cost.currency] += cost.amount_micro
