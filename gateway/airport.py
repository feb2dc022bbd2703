"""Everything of flights, wired: who runs them, who looks at them, and what is on file of them.

Part of the composition, for the server; it decides nothing.
"""

from collections.abc import Awaitable, Callable
from functools import partial

from msgspec import Struct

from gateway.bodies.spool import Spool
from gateway.core.flights import FLIGHT, FlightId, window
from gateway.core.health import TargetId
from gateway.core.latency import Latencies, remaining_s
from gateway.core.record import Record
from gateway.core.table import RouteTable, Settings
from gateway.core.types import Facts
from gateway.flights.adrift import Adrift
from gateway.flights.archive import Archive
from gateway.flights.flights import Flights
from gateway.flights.hangar import Hangar, Loop
from gateway.flights.lookout import Lookout
from gateway.flights.rescue import Rescue
from gateway.flights.vault import Vault
from gateway.ports import Blobs, Clock, Events
from gateway.stores.flights_sql import open_journal
from gateway.stores.ledger_sql import SqlLedger
from gateway.web.delivery import WebPen


class Ground(Struct, frozen=True, kw_only=True):
    """What flights stand on. ``new_id`` makes an id of a prefix."""

    settings: Settings
    ledger: SqlLedger
    blobs: Blobs
    spool: Spool
    loop: Loop
    table: Callable[[], RouteTable]
    settle: Callable[[Record], Awaitable[None]]
    clock: Clock
    events: Events
    latency: Callable[[], Latencies]
    new_id: Callable[[str], str]
    is_local: bool


class Airport(Struct, frozen=True, kw_only=True):
    """The flights' side of a gateway."""

    archive: Archive
    adrift: Adrift
    flights: Flights
    lookout: Lookout


def open_airport(ground: Ground) -> Airport:
    """Wire it over a ledger that was opened (and so upgraded) before."""
    settings, fleet = ground.settings, ground.ledger.fleet
    server_id = ground.new_id("srv") if fleet is None else fleet.server_id
    archive = Archive(
        journal=open_journal(settings.database, ground.ledger.write, server_id),
        vault=Vault(ground.blobs, ground.spool),
        pen=WebPen(),
        clock=ground.clock,
        events=ground.events,
        rescue=Rescue(),
    )
    adrift = Adrift(archive.journal, ground.clock, is_shared=fleet is not None)
    flights = Flights(
        Hangar(
            loop=ground.loop,
            table=ground.table,
            settle=ground.settle,
            clock=ground.clock,
            events=ground.events,
            pen=archive.pen,
            new_flight_id=lambda: FlightId(ground.new_id(FLIGHT)),
            archive=archive,
            adrift=adrift,
            window_s=window(settings.server.client_window_s, is_local=ground.is_local),
            head_s=settings.server.stream_head_s,
        )
    )
    lookout = Lookout(
        register=flights.register, archive=archive, retire=flights.retire, expect=partial(_expected_s, ground)
    )
    return Airport(archive=archive, adrift=adrift, flights=flights, lookout=lookout)


def _expected_s(ground: Ground, so_far: Record, facts: Facts) -> float | None:
    attempt = so_far.attempts[-1] if so_far.attempts else None
    if attempt is None or attempt.row is None:
        return None
    target = TargetId(channel=attempt.channel, row=attempt.row)
    return remaining_s(ground.latency(), target, facts, attempt.duration_ms / 1000)
