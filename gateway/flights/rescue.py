"""What flights saved: pictures that were bought, reached no client, and were given to one that came back.

Counted since the start of the process, for the figures. Money is counted per currency, in micro-units; never summed
over two of them.
"""

from collections import defaultdict
from collections.abc import Mapping

from msgspec import Struct, field

from gateway.core.record import Record


class Figures(Struct, frozen=True, kw_only=True):
    """What is told of flights. ``aloft``: under way; ``unclaimed``: of all here, those that no client waits for.

    ``replayed``: answers that were given again; ``lost``: whose caller was told that there is none; ``rescued``:
    given to a client after another had left, with their ``pictures`` and the ``money`` they cost, by currency.
    """

    aloft: int = 0
    unclaimed: int = 0
    replayed: int = 0
    lost: int = 0
    rescued: int = 0
    pictures: int = 0
    money: Mapping[str, int] = field(default_factory=dict)


class Rescue:
    """One instance counts for the process, on its event loop."""

    def __init__(self) -> None:
        self.flights = 0
        self.pictures = 0
        self.lost = 0
        self.replayed = 0
        self._money: defaultdict[str, int] = defaultdict(int)

    @property
    def money(self) -> Mapping[str, int]:
        """Give what was paid for it."""
        return dict(self._money)

    def figures(self, *, aloft: int, unclaimed: int) -> Figures:
        """Give them with what is under way, and what waits for a client."""
        return Figures(
            aloft=aloft,
            unclaimed=unclaimed,
            replayed=self.replayed,
            lost=self.lost,
            rescued=self.flights,
            pictures=self.pictures,
            money=self.money,
        )

    def add(self, record: Record) -> None:
        """Count a flight that was given to a client after another had left."""
        cost = record.cost
        known = cost is not None and cost.amount_micro is not None
        self.count(
            len(record.result.images),
            cost.amount_micro if cost is not None and known else None,
            cost.currency if cost is not None and known else None,
        )

    def count(self, pictures: int, cost_micro: int | None, currency: str | None) -> None:
        """Count a flight by what it brought."""
        self.flights += 1
        self.pictures += pictures
        if cost_micro is not None and currency is not None:
            self._money[currency] += cost_micro
