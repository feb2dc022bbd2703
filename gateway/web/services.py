"""What the web layer works with; the composition root fills it in."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from msgspec import Struct, field

from gateway.core.record import Record
from gateway.core.table import RouteTable, Settings
from gateway.core.types import Refusal, RequestId
from gateway.exchange import Presence
from gateway.inspection import Checked
from gateway.intake import Incoming
from gateway.intake.incoming import SendAhead
from gateway.outlet import Outlet
from gateway.ports import Clock, Events, Job
from gateway.relay import Refused, Result
from gateway.turnstile import Turnstile
from gateway.web.assets import Exhibits
from gateway.web.auth import Gatekeeper
from gateway.web.flights import Tower
from gateway.web.health import State


class JobReader(Protocol):
    """Makes jobs of requests."""

    async def read(self, incoming: Incoming) -> Job | Refusal:
        """Read one request whole. Raises ``ClientGone``."""
        ...


class JobServer(Protocol):
    """Serves jobs to their end."""

    async def run(self, job: Job, presence: Presence, outlet: Outlet | None = None) -> Result:
        """Serve one job, through ``outlet`` when it is a stream; expected failures are in the result.

        The job's body is closed here, when nobody needs it any more.
        """
        ...

    async def refuse(self, refused: Refused) -> Record:
        """Settle a request that never became a job."""
        ...


class KeptServer(Protocol):
    """Serves what is asked about Responses that are kept."""

    async def run(self, job: Job, presence: Presence) -> Result:
        """Serve one job with a subject; expected failures are in the result."""
        ...


class Inspecting(Protocol):
    """Checks jobs without sending them."""

    async def check(self, job: Job) -> Checked:
        """Say what would become of a job; settles the record of the check, and gives the job's body back."""
        ...


class Books(Protocol):
    """Where the records of requests go that end at the edge."""

    async def settle(self, record: Record) -> None:
        """Commit the record, count it and log it."""
        ...

    def note(self, record: Record) -> None:
        """Count and log a record without a row in the ledger: never waits."""
        ...


class Load(Struct):
    """What the process is at: requests under way, and whether it is on its way out."""

    in_flight: int = 0
    draining: bool = False


class Services(Struct, frozen=True, kw_only=True):
    """One set serves all requests of the process.

    ``table`` gives the table of this moment; a request takes it once. ``state`` looks whether requests can be taken.
    Without a ``gate`` everybody is let in, without a ``turnstile`` nobody is counted.
    """

    relay: JobServer
    kept: KeptServer
    inspector: Inspecting
    intake: JobReader
    table: Callable[[], RouteTable]
    settings: Settings
    clock: Clock
    new_request_id: Callable[[], RequestId]
    events: Events
    books: Books
    state: Callable[[], Awaitable[State]]
    flights: Tower | None = None
    exhibits: Exhibits | None = None  # kept pictures
    gate: Gatekeeper | None = None
    turnstile: Turnstile | None = None
    send_ahead: SendAhead | None = None  # forms, while they still arrive
    load: Load = field(default_factory=Load)
