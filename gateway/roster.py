"""Who may be asked right now: what the relay and the operator know of channels, in one place.

The decisions are pure and lie in ``core``; this holds the state they work on and the clock they are given. It must
never send anything itself.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from gateway.core.brake import Brake, BrakeState
from gateway.core.table import RouteTable
from gateway.ports import Brakes, Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class RosterMeans:
    """What the roster works with; ``main`` chooses."""

    table: Callable[[], RouteTable]
    clock: Clock
    brakes: Brakes


class Roster:
    """One instance serves all requests of the process."""

    def __init__(self, means: RosterMeans) -> None:
        self._means = means

    async def brake(self, name: str, state: BrakeState, until: datetime | None, reason: str | None) -> Brake | None:
        """Set a channel's hand brake, for every process on this database, and give it; ``None``: no such channel.

        ``until`` is aware; absent: until it is set otherwise. Raises ``LedgerUnavailable`` when it cannot be written.
        """
        if name not in self._means.table().channels:
            return None
        brake = Brake(state=state, until=until, reason=reason, set_at=self._means.clock.now())
        await asyncio.to_thread(self._means.brakes.set, name, brake)
        return brake

    def brakes(self) -> Mapping[str, BrakeState]:
        """Give the state of every channel's hand brake at this moment, in the order of the routes file."""
        now, known = self._means.clock.now(), self._means.brakes.current()
        return {name: known[name].at(now) if name in known else BrakeState.ON for name in self._means.table().channels}
