"""The composition root: settings and a table in, a wired gateway out. The only place that sees every adapter."""

import os
import random
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from starlette.types import ASGIApp

from gateway.billing import Billing
from gateway.codecs.openai import OpenAICodec
from gateway.config import Loaded
from gateway.core.ids import RANDOM_BYTES, new_id
from gateway.core.table import Api
from gateway.core.types import AttemptId, RequestId
from gateway.custody import Custody
from gateway.exchange import Wires
from gateway.gates import Gates
from gateway.intake import Intake
from gateway.ports import Clock
from gateway.relay import Means, Relay
from gateway.roster import Roster, RosterMeans
from gateway.sandbox import Sandbox
from gateway.spool import Spool
from gateway.stores.bindings_sql import open_bindings
from gateway.stores.brakes_sql import SqlBrakes, open_brakes
from gateway.stores.events import JsonLines
from gateway.stores.ledger_sql import SqlLedger, open_ledger
from gateway.stores.shared_local import SharedLocal
from gateway.upstream import Upstream
from gateway.web.app import build_app
from gateway.web.services import Services

PROMPT_KEY_BYTES = 32


class SystemClock:
    """The machine's clocks."""

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""
        return time.monotonic()

    def now(self) -> datetime:
        """The wall clock, UTC."""
        return datetime.now(UTC)


@dataclass(slots=True, kw_only=True)
class Gateway:
    """A wired gateway. ``start`` and ``stop`` run on the event loop that serves it."""

    app: ASGIApp
    loaded: Loaded
    ledger: SqlLedger
    brakes: SqlBrakes
    roster: Roster
    events: JsonLines
    upstream: Upstream
    sandbox: Sandbox
    spool: Spool
    interrupted: int  # requests of earlier runs that were open when those ended
    accepting: bool = False

    async def start(self) -> None:
        """Open what needs a running loop; from here on requests are taken."""
        await self.upstream.start()
        self.accepting = True

    async def stop(self) -> int:
        """Close everything, the ledger last but one and the log last; how many settlements stay unwritten."""
        self.accepting = False
        await self.upstream.close()
        self.sandbox.close()
        self.brakes.close()
        unwritten = self.ledger.close()
        self.spool.close()
        self.events.emit({"event": "server.stopped", "unwritten_settlements": unwritten})
        self.events.close()
        return unwritten


def build(loaded: Loaded, data_dir: Path, out: BinaryIO, upstream: Upstream | None = None) -> Gateway:
    """Wire a gateway over ``data_dir``, logging JSON lines to ``out``.

    Raises ``stores.refusals.LedgerRefused`` with a sentence for the operator when the ledger cannot be opened.
    """
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    clock = SystemClock()
    ledger = open_ledger(loaded.settings.database, serve=True)
    interrupted = ledger.recover()
    events = JsonLines(out)
    spool = Spool(data_dir / "spool")
    upstream, sandbox, codec = upstream or Upstream(), Sandbox(), OpenAICodec()
    wires = Wires(
        codecs={Api.OPENAI: codec, Api.SANDBOX: codec},  # the sandbox answers in OpenAI's shapes
        senders={Api.OPENAI: upstream, Api.SANDBOX: sandbox},
        spool=spool,
        clock=clock,
    )
    brakes = open_brakes(loaded.settings.database)
    roster = _roster(loaded, clock, brakes, events)
    means = Means(
        table=lambda: loaded.table,
        wires=wires,
        billing=Billing(ledger, events),
        custody=Custody(open_bindings(loaded.settings.database, ledger.write), clock, events),
        clock=clock,
        roster=roster,
        new_attempt_id=lambda: AttemptId(_new_id("att", clock)),
    )
    services = Services(
        relay=Relay(means),
        intake=Intake(spool, loaded.settings, _prompt_key(data_dir / "prompt.key")),
        table=lambda: loaded.table,
        settings=loaded.settings,
        clock=clock,
        new_request_id=lambda: RequestId(_new_id("req", clock)),
        events=events,
        ready=lambda: gateway.accepting,
    )
    gateway = Gateway(
        app=build_app(services),
        loaded=loaded,
        ledger=ledger,
        brakes=brakes,
        roster=roster,
        events=events,
        upstream=upstream,
        sandbox=sandbox,
        spool=spool,
        interrupted=interrupted,
    )
    return gateway


def _roster(loaded: Loaded, clock: Clock, brakes: SqlBrakes, events: JsonLines) -> Roster:
    return Roster(
        RosterMeans(
            table=lambda: loaded.table,
            clock=clock,
            roll=random.SystemRandom().random,
            shared=SharedLocal(loaded.table.health),
            gates=Gates(),
            brakes=brakes,
            events=events,
        )
    )


def _new_id(prefix: str, clock: Clock) -> str:
    return new_id(prefix, int(clock.now().timestamp() * 1000), secrets.token_bytes(RANDOM_BYTES))


def _prompt_key(path: Path) -> bytes:
    """Give the key that prompts are hashed with, made on the first start and kept beside the ledger."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_bytes()
    with os.fdopen(descriptor, "wb") as handle:
        key = secrets.token_bytes(PROMPT_KEY_BYTES)
        handle.write(key)
    return key
