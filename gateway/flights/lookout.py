"""Looks at flights for their callers: in the air here, landed here, or on file; and lets go of them.

Rules: a flight of another caller's is not there. What was not sent is not sent any more once its caller lets go; what
was is finished and not kept. Looking is no delivery.
"""

from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from gateway.core.flights import FLIGHT, FlightId, FlightState
from gateway.core.ids import is_id
from gateway.core.record import Record
from gateway.core.types import Facts
from gateway.flights.archive import Archive
from gateway.flights.register import Flight, Register
from gateway.flights.replays import Sight
from gateway.ports import LedgerUnavailable

Expect = Callable[[Record, Facts], float | None]
"""Gives the seconds that are left of a request under way, as such requests go; ``None``: nobody knows."""


class Lookout(Struct, frozen=True, kw_only=True):
    """Implements ``web.flights.Tower``. ``retire`` knows a flight no more."""

    register: Register
    archive: Archive
    retire: Callable[[Flight], None]
    expect: Expect

    async def look(self, scope: str, name: str) -> Sight | None:
        """Give a flight of one caller's as it stands; its body is to be closed."""
        flight = self.register.of_id(name, scope)
        if flight is not None and flight.is_on_offer and not await self.archive.has(flight):
            self.retire(flight)  # it was let go of at another server
            return None
        if flight is not None:
            return self.sight(flight)
        if (said := self.register.delivered(name, scope)) is not None:
            return Sight(
                id=FlightId(name),
                state=FlightState.DELIVERED,
                endpoint=said.endpoint,
                request_id=said.id,
                created=said.time,
            )
        return await self.archive.look(scope, name) if is_id(FLIGHT, name) else None

    async def forget(self, scope: str, name: str) -> Sight | None:
        """Let go of a flight; how it stood."""
        flight = self.register.of_id(name, scope)
        seen = await self.look(scope, name)
        if seen is not None:
            self.register.forget(name)
        if flight is not None:
            flight.is_forgotten = True
            if flight.has_landed:
                self.retire(flight)
            else:
                flight.presence.leave()
        if seen is not None:
            try:
                await self.archive.remove(seen.id)
            except LedgerUnavailable:
                return None if flight is None else seen
        return seen

    def sight(self, flight: Flight) -> Sight:
        """Give a flight of this process's as it stands."""
        so_far, result = flight.so_far, flight.result
        share = None if flight.body is None else flight.body.share()
        return Sight(
            id=flight.id,
            state=flight.now,
            endpoint=flight.job.facts.endpoint,
            request_id=flight.job.request_id,
            created=flight.job.time,
            previews=so_far.result.partial_images_received if so_far is not None else None,
            eta_s=self.expect(so_far, flight.job.facts) if so_far is not None and result is None else None,
            result=None if result is None else replace(result, body=share),
        )
