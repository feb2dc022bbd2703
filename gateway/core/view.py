"""What is known of the channels at one moment: what planning may look at besides the request and the table.

A view is a value: the same view gives the same plan, as far as its dice do. ``CALM`` knows of no trouble; it is what an
offline plan works with.
"""

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Final

from msgspec import Struct, field

from gateway.core.brake import Brake, BrakeState
from gateway.core.health import Health
from gateway.core.latency import Latencies
from gateway.core.verification import Proof


def _middle() -> float:
    return 0.5


def _idle(_channel: str) -> float:
    return 0.0


class View(Struct, frozen=True, kw_only=True):
    """``now``: seconds of the clock that health and latency are kept in; ``wall``: the same moment, UTC.

    ``busy`` gives the share of a channel's places that is taken. ``roll`` gives numbers in [0, 1). ``verified``:
    what smoke runs have proven.
    """

    now: float = 0.0
    wall: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    health: Health = field(default_factory=Health)
    brakes: Mapping[str, Brake] = field(default_factory=dict)
    latency: Latencies = field(default_factory=dict)
    busy: Callable[[str], float] = _idle
    roll: Callable[[], float] = _middle
    verified: Collection[Proof] = ()

    def brake(self, channel: str) -> Brake | None:
        """Give the brake that stops a channel at this moment; ``None``: it is on."""
        brake = self.brakes.get(channel)
        return None if brake is None or brake.at(self.wall) is BrakeState.ON else brake


CALM: Final = View()
