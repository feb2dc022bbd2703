"""The seams to the outside: a job, one call of it, the exchange that follows, and who translates and who sends."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from msgspec import Struct, field

from gateway.core.ahead import Sketch
from gateway.core.principal import ANYONE, Principal
from gateway.core.seen import Observation, Reading
from gateway.core.stream_events import Event, Heard
from gateway.core.table import Api, Channel
from gateway.core.types import BodyMap, Cause, Directives, Facts, Phase, RequestId, Wire
from gateway.ports.books import LedgerWait


class Replayable(Protocol):
    """A body that can be read more than once, byte for byte, from memory or from the spool."""

    @property
    def length(self) -> int:
        """Bytes in all."""
        ...

    def read(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield the bytes ``start:end`` in chunks of at most 256 KiB."""
        ...

    def close(self) -> None:
        """Give memory and file back; idempotent."""
        ...


class AnswerBody(Protocol):
    """A whole upstream answer, kept in memory or in the spool, given to the client byte for byte as it came."""

    @property
    def length(self) -> int:
        """Bytes in all, the answer's Content-Length."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the answer in pieces of at most 256 KiB."""
        ...

    def close(self) -> None:
        """Give memory and files back; idempotent."""
        ...


class Growing(Protocol):
    """A body on its way out while it still arrives. ``given``: how many bytes went out; ``reach``: how many came."""

    given: int
    reach: int

    @property
    def length(self) -> int:
        """Bytes that will have gone out in the end."""
        ...

    def take(self) -> Sequence[bytes]:
        """Give what may go out next; nothing: it is not worth it yet."""
        ...


class Lead(Protocol):
    """A call that was begun before its body was whole. ``given``: the bytes that count, once the call goes on."""

    @property
    def given(self) -> int:
        """How many bytes of the body had gone out when the call was made."""
        ...

    def more(self) -> None:
        """Say that there is more to send."""
        ...

    def cut(self) -> None:
        """Drop the connection, unless the call goes on; idempotent."""
        ...


class Ahead(Protocol):
    """What of a request is sent on while it arrives. Whoever ends the request cuts it."""

    @property
    def since(self) -> float:
        """When it began, on the clock of jobs."""
        ...

    def grow(self, reach: int) -> None:
        """Say that the caller's body may go out up to ``reach``."""
        ...

    def stay(self, channel: str) -> bool:
        """Give its place at ``channel`` to the attempt that follows; without one there, or not any more, it is cut."""
        ...

    def claim(self, whole: Sketch) -> Lead | None:
        """Give the call that was begun, if ``whole`` begins with what was sent of it; else it is cut."""
        ...

    def cut(self) -> None:
        """End it, unless an attempt goes on with it; idempotent."""
        ...


def whole_of(body: AnswerBody) -> bytes | None:
    """Give all of an answer (its ``whole``) when it is small and in memory anyway."""
    whole: object = getattr(body, "whole", None)
    return whole if isinstance(whole, bytes) else None


class Job(Struct, frozen=True, kw_only=True):
    """One accepted request on its way through the relay. ``prompt`` never leaves the process but to an upstream."""

    request_id: RequestId
    time: datetime
    started: float  # Clock.monotonic() at the first byte of the request
    facts: Facts
    directives: Directives
    body: Replayable
    body_map: BodyMap
    prompt: str
    query: str = ""
    forwarded: tuple[tuple[str, str], ...] = ()  # caller headers that may travel (lower-case names)
    principal: Principal = ANYONE
    origin: str = ""  # scheme and host that the caller reached us by, for links; empty: not known
    subject: str | None = None  # the id of the stored Response that the errand is about
    flight_id: str | None = None
    body_hash: str | None = None
    wait: LedgerWait = field(default_factory=LedgerWait)
    ahead: Ahead | None = None
    default_model: str | None = None  # the route that serves it, where its body names no model


class Call(Struct, frozen=True, kw_only=True):
    """One attempt about to be made. ``give_up_at`` is on the event loop's clock (``loop.time()``).

    ``overdue`` is the cause reported when ``give_up_at`` passes: PATIENCE, or DEADLINE when the request's own
    deadline came first.
    """

    channel: Channel
    wire: Wire
    body: Replayable  # spliced already: its length is what goes out
    job: Job
    sent_model: str
    connect_s: float
    idle_s: float
    give_up_at: float
    overdue: Cause
    lead: Lead | None = None  # the same call, begun already


class ExchangeBroken(Exception):
    """Raised by ``Exchange.chunks`` when the answer's body ends early; carries the cause (phase is ANSWERED)."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(cause.value)
        self.cause = cause


class Exchange(Protocol):
    """An upstream that answered with a head; its body is still to be read."""

    @property
    def status(self) -> int:
        """HTTP status."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Lower-case names; the last value of a repeated header."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes, in pieces of at most half a MiB. Raises ``ExchangeBroken``."""
        ...

    async def close(self) -> None:
        """End the exchange: the connection is kept only if the body was read whole; idempotent."""
        ...


class Broken(Struct, frozen=True, kw_only=True):
    """A call that ended before a status came."""

    phase: Phase  # UNSENT or SENT
    cause: Cause


class Sender(Protocol):
    """Sends one call: the HTTP client, or the sandbox. Never retries, never follows redirects, never raises for I/O."""

    def send(self, call: Call) -> Awaitable["Exchange | Broken"]:
        """Send and wait for the head."""
        ...


class Leader(Protocol):
    """A sender that can begin a call whose body still arrives."""

    def lead(self, call: Call, growing: Growing, over: Callable[[], None]) -> Lead:
        """Begin; ``over`` is called once when it ended by itself. Nothing that a peer does makes it raise."""
        ...


class Codec(Protocol):
    """Pure translation for one upstream API; building or reading twice gives the same value."""

    def encode(self, job: Job, channel: Channel, sent_model: str, tool_sent_model: str | None) -> Wire:
        """Say what goes on the wire for one attempt."""
        ...

    def read(self, job: Job, seen: Observation) -> Reading:
        """Say what a whole answer (phase DONE) contains; total, never raises."""
        ...

    def read_event(self, job: Job, event: Event) -> Heard:
        """Say what one event of a streamed answer is, and what it contains; total, never raises."""
        ...


Codecs = Mapping[Api, Codec]


Senders = Mapping[Api, Sender]


Leaders = Mapping[Api, Leader]
