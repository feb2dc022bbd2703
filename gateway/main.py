"""The composition root: settings and a table in, a wired gateway out. The only place that sees every adapter."""

import asyncio
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from msgspec import Struct
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.airport import Airport, Ground, open_airport
from gateway.alarms import AlarmMeans, Alarms
from gateway.billing import Billing
from gateway.bodies.spool import DISK_CAP, MEMORY_TOTAL, Spool
from gateway.broadcast import Broadcast
from gateway.clock import SystemClock
from gateway.codecs.openai import OpenAICodec
from gateway.config import Loaded, trouble_rules
from gateway.core.alert_signs import spending
from gateway.core.held_back import held_back
from gateway.core.keys import GRANT, KEY, KEY_BYTES, key_text
from gateway.core.record import timestamp
from gateway.core.table import Api, Secret, Settings
from gateway.core.types import AttemptId, RequestId
from gateway.core.verification import Verification
from gateway.custody import Custody
from gateway.dice import Dice
from gateway.exchange import Wires
from gateway.fetch import Fetch
from gateway.forerunner import Forerunners
from gateway.gates import Gates
from gateway.inspection import Inspector
from gateway.intake import Intake
from gateway.kept import KeptResponses
from gateway.metrics import Gauges, Metrics
from gateway.mint import Mint
from gateway.pictures.gallery import Gallery, open_gallery
from gateway.ports import Clock, Shared
from gateway.prompt_key import PROMPT_KEY, prompt_key
from gateway.relay import Means, Relay
from gateway.reload import Read, Reloader
from gateway.replicas import Replicas
from gateway.roster import Roster, RosterMeans
from gateway.running import Gateway
from gateway.stores.alerts_sql import open_alerts
from gateway.stores.assets_file import RESERVE_BYTES
from gateway.stores.bindings_sql import open_bindings
from gateway.stores.brakes_sql import SqlBrakes, open_brakes
from gateway.stores.events import JsonLines
from gateway.stores.jsontext import encode
from gateway.stores.keys_sql import open_key_desk, open_keys
from gateway.stores.ledger_sql import open_ledger
from gateway.stores.lockfile import ServerLock
from gateway.stores.place import place
from gateway.stores.readings import open_readings
from gateway.stores.room import Room
from gateway.stores.sharing import open_sharing
from gateway.stores.verified_sql import SqlVerifications, open_verifications, read_verifications
from gateway.turnstile import Turnstile
from gateway.upstream.client import Upstream
from gateway.upstream.tracing import Traced
from gateway.web.admin import Addresses, Control
from gateway.web.api_assets import Shelves, asset_addresses
from gateway.web.api_catalog import Atlas, catalog_addresses
from gateway.web.api_events import event_addresses
from gateway.web.api_keys import Desk, key_addresses
from gateway.web.api_requests import request_addresses
from gateway.web.api_usage import usage_addresses
from gateway.web.app import build_app
from gateway.web.assets import Exhibits
from gateway.web.auth import Gatekeeper
from gateway.web.door import Door
from gateway.web.health import State
from gateway.web.services import Services


class Operator(Struct, frozen=True, kw_only=True):
    """How the process is run. ``read`` reads the routes file anew; ``key``: the operator's."""

    read: Read
    key: Secret | None = None
    is_local: bool = True  # it listens on a loopback address only
    worker: int = 0  # which of several processes over one data directory; 0: the only one

    @property
    def spool(self) -> str:
        """The name of the process's spool."""
        return f"spool-{self.worker}" if self.worker else "spool"


def build(
    loaded: Loaded,
    data_dir: Path,
    out: BinaryIO,
    *,
    upstream: Upstream | None = None,
    operator: Operator | None = None,
) -> Gateway:
    """Wire a gateway over ``data_dir``, logging JSON lines to ``out``.

    Without ``operator`` the routes file is never read again. Raises ``stores.refusals.LedgerRefused`` with a sentence
    for the operator when the ledger cannot be opened.
    """
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    operator, clock = operator or Operator(read=lambda: loaded), SystemClock()
    lock = ServerLock(data_dir / operator.spool)  # two ledgers may share a directory, two spools may not
    database = loaded.settings.database
    ledger = open_ledger(database, serve=True)
    interrupted, spool = ledger.recover(), Spool(data_dir / operator.spool)
    alarms, brakes = _alarms(loaded.settings, data_dir, clock), open_brakes(database)
    events, verifications = JsonLines(out, heard=alarms.hear), open_verifications(database)
    config, gates = Reloader(loaded, operator.read, events, clock), Gates()
    replicas = Replicas(ledger.fleet, lambda: config.table().version, events, clock)
    sharing = open_sharing(loaded.settings.shared, trouble_rules(), lambda: len(replicas.peers), events, clock)
    gateway = Gateway(
        app=_nothing_yet,
        config=config,
        ledger=ledger,
        brakes=brakes,
        bindings=open_bindings(database, ledger.write),
        keys=open_keys(database),
        readings=open_readings(database),
        broadcast=Broadcast(events, encode),
        verifications=verifications,
        roster=_roster(config, gates, brakes, events, verifications, sharing.shared),
        sharing=sharing,
        events=events,
        alarms=alarms,
        upstream=upstream or Upstream(),
        spool=spool,
        fetch=Fetch(spool=spool, events=events, clock=clock),
        lock=lock,
        gallery=open_gallery(loaded.settings, data_dir, clock, events),
        mint=Mint(clock, Dice()),
        is_local=operator.is_local,
        replicas=replicas,
        interrupted=interrupted,
    )
    gateway.app = _application(gateway, operator, gates, data_dir)
    return gateway


def _application(gateway: Gateway, operator: Operator, gates: Gates, data_dir: Path) -> ASGIApp:
    clock = SystemClock()
    metrics = Metrics(gateway.config.table, _gauges(gateway, gates))
    billing = Billing(gateway.ledger, gateway.broadcast, metrics.count)
    services = _services(gateway, billing, gates, clock, _prompt_key(gateway, clock, data_dir))
    return build_app(
        services,
        Control(
            door=Door(key=operator.key, is_local=operator.is_local, gate=_gate(gateway, clock)),
            config=gateway.config,
            brakes=gateway.roster,
            clock=clock,
            metrics=metrics.exposition,
            addresses=_addresses(gateway, services),
        ),
    )


def _prompt_key(gateway: Gateway, clock: Clock, data_dir: Path) -> bytes:
    found = prompt_key(data_dir / PROMPT_KEY, gateway.loaded.settings.database)
    if not found.is_alike:
        time, file = timestamp(clock.now()), str(data_dir / PROMPT_KEY)
        gateway.notices.append({"event": "prompt_key.differs", "time": time, "file": file})
    return found.key


def _alarms(settings: Settings, data_dir: Path, clock: Clock) -> Alarms:
    desk, store, ledger = open_key_desk(settings.database), settings.assets.store, place(settings.database).file
    disks, room = {"data": data_dir}, Room("budgets", 1, "the budgets could not be read")
    disks |= {} if ledger is None else {"ledger": ledger.parent}
    disks |= {"assets": Path(store)} if isinstance(store, str) else {}
    return Alarms(
        AlarmMeans(
            settings=settings.alerts,
            clock=clock,
            spending=lambda: room.wait(lambda: [spent for row in desk.listed(clock.now()) if (spent := spending(row))]),
            disks=disks,
            reserve=RESERVE_BYTES,
            encode=encode,
            tellers=open_alerts(settings.database),
        )
    )


async def _nothing_yet(_scope: Scope, _receive: Receive, _send: Send) -> None:
    """Stand where the application will be once it is wired."""
    raise RuntimeError("the gateway is not wired yet")


def _addresses(gateway: Gateway, services: Services) -> Addresses:
    async def tried() -> Sequence[Verification]:
        return await asyncio.to_thread(read_verifications, gateway.loaded.settings.database)

    atlas = Atlas(table=gateway.config.table, view=gateway.roster.view, tried=tried, intake=services.intake)
    return {
        **key_addresses(_desk(gateway, services.clock)),
        **asset_addresses(_shelves(gateway.gallery)),
        **request_addresses(gateway.readings),
        **usage_addresses(gateway.readings),
        **catalog_addresses(atlas),
        **event_addresses(gateway.broadcast),
    }


def _gate(gateway: Gateway, clock: Clock) -> Gatekeeper:
    return Gatekeeper(keys=gateway.keys, clock=clock, is_local=gateway.is_local)


def _desk(gateway: Gateway, clock: Clock) -> Desk:
    return Desk(
        office=open_key_desk(gateway.loaded.settings.database),
        table=gateway.config.table,
        clock=clock,
        new_key_id=lambda: gateway.mint.new(KEY),
        new_grant_id=lambda: gateway.mint.new(GRANT),
        new_text=lambda: key_text(secrets.token_bytes(KEY_BYTES)),
    )


def _services(gateway: Gateway, billing: Billing, gates: Gates, clock: Clock, prompt_key: bytes) -> Services:
    settings, events = gateway.loaded.settings, gateway.events
    sender = Traced(gateway.upstream, gateway.mint.span_id)
    means = _means(gateway, billing, clock, sender)
    relay = Relay(means)
    gateway.airport = _airport(gateway, relay, billing, clock)
    return Services(
        relay=gateway.airport.flights,
        flights=gateway.airport.lookout,
        exhibits=_exhibits(gateway.gallery),
        kept=KeptResponses(means, relay),
        inspector=Inspector(means),
        intake=Intake(gateway.spool, settings, prompt_key),
        table=gateway.config.table,
        settings=settings,
        clock=clock,
        new_request_id=lambda: RequestId(gateway.mint.new("req")),
        events=events,
        books=billing,
        state=lambda: _state(gateway),
        gate=_gate(gateway, clock),
        turnstile=Turnstile(gateway.sharing.shared, clock),
        load=gateway.load,
        send_ahead=Forerunners(means, gates, {Api.OPENAI: sender}, events).consider,
    )


def _means(gateway: Gateway, billing: Billing, clock: Clock, sender: Traced) -> Means:
    codec = OpenAICodec()
    wires = Wires(
        codecs={Api.OPENAI: codec, Api.SANDBOX: codec},  # the sandbox answers in OpenAI's shapes
        senders={Api.OPENAI: sender, Api.SANDBOX: gateway.sandbox},
        spool=gateway.spool,
        clock=clock,
        fetcher=gateway.fetch,
    )
    return Means(
        table=gateway.config.table,
        wires=wires,
        billing=billing,
        custody=Custody(gateway.bindings, clock, gateway.events),
        clock=clock,
        roster=gateway.roster,
        new_attempt_id=lambda: AttemptId(gateway.mint.new("att")),
        keeper=gateway.gallery.keeper,
    )


async def _state(gateway: Gateway) -> State:
    return State(
        draining=gateway.load.draining,
        ledger_fault=await gateway.ledger.fault(),
        rejected=gateway.config.status.rejected,
        channels=held_back(gateway.config.table(), gateway.roster.view()),
        others=len(gateway.replicas.peers),
        differing=gateway.replicas.differing,
        shared=gateway.sharing.state,
    )


def _shelves(gallery: Gallery) -> Shelves:
    return Shelves(books=gallery.books, url=gallery.keeper.url)


def _exhibits(gallery: Gallery) -> Exhibits:
    return Exhibits(books=gallery.books, blobs=gallery.blobs, signer=gallery.keys.signer, clock=gallery.clock)


def _airport(gateway: Gateway, relay: Relay, billing: Billing, clock: Clock) -> Airport:
    return open_airport(
        Ground(
            settings=gateway.loaded.settings,
            ledger=gateway.ledger,
            blobs=gateway.gallery.blobs,
            spool=gateway.spool,
            loop=relay,
            table=gateway.config.table,
            settle=billing.settle,
            clock=clock,
            events=gateway.events,
            latency=lambda: gateway.sharing.shared.latency,
            new_id=gateway.mint.new,
            is_local=gateway.is_local,
        )
    )


def _gauges(gateway: Gateway, gates: Gates) -> Gauges:
    ledger, events, spool = gateway.ledger, gateway.events, gateway.spool
    return Gauges(
        in_flight=lambda: gateway.load.in_flight,
        channel_in_flight=gates.inside,
        held_back=lambda: held_back(gateway.config.table(), gateway.roster.view()),
        flights=lambda: gateway.airport.flights.figures,
        ledger_queue=lambda: ledger.queued,
        ledger_unwritten=lambda: ledger.unwritten,
        log_queue=lambda: events.queued,
        log_dropped=lambda: events.dropped,
        shared_up=lambda: gateway.sharing.is_up,
        others=lambda: len(gateway.replicas.peers),
        spool_memory=lambda: MEMORY_TOTAL - spool.memory_left,
        spool_disk=lambda: DISK_CAP - spool.disk_left,
        assets=lambda: gateway.gallery.keeper.counts,
        config=lambda: gateway.config.status,
        alerts=lambda: {(kind, state): count for (kind, state), count in gateway.alarms.told.copy().items()},
        alerts_unsent=lambda: gateway.alarms.unsent,
    )


def _roster(
    config: Reloader,
    gates: Gates,
    brakes: SqlBrakes,
    events: JsonLines,
    verifications: SqlVerifications,
    shared: Shared,
) -> Roster:
    return Roster(
        RosterMeans(
            table=config.table,
            clock=SystemClock(),
            roll=Dice().roll,
            shared=shared,
            gates=gates,
            brakes=brakes,
            events=events,
            verified=verifications.current,
        )
    )
