"""What the web layer works with; the composition root fills it in."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from gateway.core.record import Record
from gateway.core.table import RouteTable, Settings
from gateway.core.types import Refusal, RequestId
from gateway.exchange import Presence
from gateway.intake import Incoming
from gateway.ports import Clock, Events, Job
from gateway.relay import Refused, Result


class JobReader(Protocol):
    """Makes jobs of requests."""

    async def read(self, incoming: Incoming) -> Job | Refusal:
        """Read one request whole. Raises ``ClientGone``."""
        ...


class JobServer(Protocol):
    """Serves jobs to their end."""

    async def run(self, job: Job, presence: Presence) -> Result:
        """Serve one job; expected failures are in the result."""
        ...

    async def refuse(self, refused: Refused) -> Record:
        """Settle a request that never became a job."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """One set serves all requests of the process.

    ``table`` gives the table of this moment; a request takes it once. ``ready`` is whether new requests can be taken:
    the ledger is open and the process is not on its way out.
    """

    relay: JobServer
    intake: JobReader
    table: Callable[[], RouteTable]
    settings: Settings
    clock: Clock
    new_request_id: Callable[[], RequestId]
    events: Events
    ready: Callable[[], bool]
