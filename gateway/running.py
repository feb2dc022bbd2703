"""A wired gateway: its parts, and the order in which they begin and end."""

import asyncio
from dataclasses import dataclass, field

from starlette.types import ASGIApp

from gateway.airport import Airport
from gateway.alarms import Alarms
from gateway.bodies.spool import Spool
from gateway.broadcast import Broadcast
from gateway.clock import SystemClock
from gateway.config import Loaded
from gateway.core.record import timestamp
from gateway.core.types import JsonObject
from gateway.fetch import Fetch
from gateway.mint import Mint
from gateway.pictures.gallery import Gallery
from gateway.reload import Reloader
from gateway.replicas import Replicas
from gateway.roster import Roster
from gateway.sandbox.sandbox import Sandbox
from gateway.stores.bindings_sql import SqlBindings
from gateway.stores.brakes_sql import SqlBrakes
from gateway.stores.events import JsonLines
from gateway.stores.keys_sql import SqlKeys
from gateway.stores.ledger_sql import SqlLedger
from gateway.stores.lockfile import ServerLock
from gateway.stores.readings import SqlReadings
from gateway.stores.sharing import Sharing
from gateway.stores.verified_sql import SqlVerifications
from gateway.upstream.client import Upstream
from gateway.web.services import Load


@dataclass(slots=True, kw_only=True)
class Gateway:
    """A wired gateway. ``start`` and ``stop`` run on the event loop that serves it."""

    app: ASGIApp
    config: Reloader
    load: Load = field(default_factory=Load)
    ledger: SqlLedger
    brakes: SqlBrakes
    bindings: SqlBindings
    keys: SqlKeys
    readings: SqlReadings
    broadcast: Broadcast
    verifications: SqlVerifications
    roster: Roster
    sharing: Sharing
    events: JsonLines
    alarms: Alarms
    upstream: Upstream
    sandbox: Sandbox = field(default_factory=Sandbox)
    spool: Spool
    fetch: Fetch
    lock: ServerLock
    mint: Mint
    is_local: bool  # it listens on a loopback address only
    replicas: Replicas
    gallery: Gallery
    airport: Airport = field(init=False)
    notices: list[JsonObject] = field(default_factory=list)  # events to tell once the server is ready
    interrupted: int  # requests of earlier runs that were open when those ended

    @property
    def loaded(self) -> Loaded:
        """The routes file in force."""
        return self.config.status.loaded

    async def start(self) -> None:
        """Open what needs a running loop; from here on requests are taken."""
        await self.upstream.start()
        self.alarms.start(self.events)
        self.gallery.start(self.events)
        self.replicas.start()
        self.sharing.start()
        self.airport.adrift.start()

    def leave(self) -> None:
        """Say that no more requests should come: the process is on its way out."""
        self.load.draining = True
        self.broadcast.close()
        self.events.emit({"event": "server.draining", **self._under_way()})

    async def cut(self) -> None:
        """Wait for no upstream any more: what is under way ends as interrupted, and is settled so."""
        self.events.emit({"event": "server.cut", **self._under_way()})
        self.fetch.cut()
        self.sandbox.cut()
        await self.upstream.cut()

    def _under_way(self) -> JsonObject:
        """Count what is under way: requests, and flights, whether or not a client waits for them."""
        return {
            "time": timestamp(SystemClock().now()),
            "requests_in_flight": self.load.in_flight,
            "flights_aloft": self.airport.flights.aloft,
        }

    async def stop(self) -> int:
        """Close everything, the ledger last but one and the log last; how many settlements stay unwritten."""
        self.load.draining = True
        await self.airport.adrift.stop()
        await self.airport.flights.close()
        await self.upstream.close()
        await self.gallery.stop()
        self.sandbox.close()
        await self.sharing.stop()
        self.brakes.close()
        self.bindings.close()
        self.verifications.close()
        self.readings.close()
        self.keys.close()
        unwritten = self.ledger.close()
        self.spool.close()
        self.lock.release()
        await asyncio.to_thread(self.alarms.close)
        self.events.emit({"event": "server.stopped", "unwritten_settlements": unwritten})
        self.events.close()
        return unwritten
