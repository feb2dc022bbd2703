"""What flights work with."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from msgspec import Struct

from gateway.core.flights import FlightId
from gateway.core.record import Record
from gateway.core.table import RouteTable
from gateway.exchange import Presence
from gateway.flights.adrift import Adrift
from gateway.flights.archive import Archive
from gateway.flights.replays import Pen
from gateway.outlet import Outlet
from gateway.ports import Clock, Events, Job
from gateway.relay import Refused, Result


class Loop(Protocol):
    """The attempt loop."""

    async def run(self, job: Job, presence: Presence, outlet: Outlet | None = None) -> Result:
        """Serve one job to its end."""
        ...

    async def refuse(self, refused: Refused) -> Record:
        """Settle a request that never became a job."""
        ...


class Hangar(Struct, frozen=True, kw_only=True):
    """What flights work with; ``main`` chooses. ``window_s``: how long a client waits at most, ``None``: no bound.

    ``head_s``: how long the client of a stream waits for any byte.
    """

    loop: Loop
    table: Callable[[], RouteTable]
    settle: Callable[[Record], Awaitable[None]]
    clock: Clock
    events: Events
    pen: Pen
    new_flight_id: Callable[[], FlightId]
    archive: Archive
    adrift: Adrift
    window_s: float | None = None
    head_s: float = 10.0
