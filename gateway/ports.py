"""The seams: Protocols with the fewest methods that work, and the values that pass through them.

``relay``, ``billing``, ``intake`` and ``web`` see these and never an adapter; ``main`` chooses the adapters.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from gateway.core.bindings import Binding
from gateway.core.brake import Brake
from gateway.core.health import Change, Health, News, TargetId
from gateway.core.latency import Latencies
from gateway.core.limits import Rate
from gateway.core.money import Cost
from gateway.core.stream_events import Event, Heard
from gateway.core.table import Api, Channel
from gateway.core.types import (
    AttemptId,
    BodyMap,
    Cause,
    Directives,
    Facts,
    JsonObject,
    Observation,
    Phase,
    Reading,
    RequestId,
    Wire,
)


class Clock(Protocol):
    """Time, given in: ``monotonic`` seconds for durations, ``now`` (UTC, aware) for the record."""

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""
        ...

    def now(self) -> datetime:
        """The wall clock, UTC."""
        ...


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
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
    subject: str | None = None  # the id of the stored Response that the errand is about


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
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
        """Yield the body as it comes (any size up to 256 KiB). Raises ``ExchangeBroken``."""
        ...

    async def close(self) -> None:
        """End the exchange: the connection is kept only if the body was read whole; idempotent."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """A call that ended before a status came."""

    phase: Phase  # UNSENT or SENT
    cause: Cause


class Sender(Protocol):
    """Sends one call: the HTTP client, or the sandbox. Never retries, never follows redirects, never raises for I/O."""

    async def send(self, call: Call) -> "Exchange | Broken":
        """Send and wait for the head."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptIntent:
    """An attempt about to be sent, written before its first byte goes out."""

    request_id: RequestId
    attempt_id: AttemptId
    n: int
    channel: str
    owner: str
    row: str
    surface: str
    region: str | None
    sent_model: str
    started: datetime
    quote: Cost | None = None  # what it may cost at most; stands in the ledger until the attempt has ended


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestIntent:
    """A request that is about to buy something."""

    request_id: RequestId
    time: datetime
    endpoint: str
    asked_model: str | None
    config_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptResult:
    """How an attempt ended. ``outcome`` is the word of ``core.types.Outcome``."""

    attempt_id: AttemptId
    outcome: str
    failure: str | None  # class, None when delivered
    detail: str | None
    status: int | None
    duration_ms: int
    cost: Cost | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """The end of a request: its record, and the outcome of every attempt, committed together."""

    request_id: RequestId
    time: datetime
    endpoint: str
    asked_model: str | None
    owner: str | None
    channel: str | None
    status: int
    failure: str | None  # class of the last failure when the request failed
    record: JsonObject
    attempts: Sequence[AttemptResult] = ()
    images: int = 0  # pictures that were delivered


@dataclass(frozen=True, slots=True, kw_only=True)
class LogQuery:
    """A page of the ledger, newest first. ``before`` is the request id after which the page starts (keyset)."""

    failed: bool = False
    owner: str | None = None
    model: str | None = None
    limit: int = 50
    before: str | None = None
    after: str | None = None  # only requests newer than this id (for --follow)


class LedgerUnavailable(Exception):
    """The ledger could not commit in time; new paid work is refused with 503 ``ledger_unavailable``."""


class Ledger(Protocol):
    """What was asked, sent and settled. Every method returns after its transaction committed."""

    async def begin(self, intent: RequestIntent | None, attempt: AttemptIntent) -> None:
        """Commit the intent (with the request on its first attempt). Raises ``LedgerUnavailable``."""
        ...

    async def settle(self, settlement: Settlement) -> None:
        """Commit the end of a request, whether or not it ever began. Raises ``LedgerUnavailable``."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A number of pieces that one rate has to let through; ``key`` names the rate."""

    key: str
    rate: Rate
    pieces: int = 1


class Shared(Protocol):
    """What all requests know together: health, latency, what rates still allow, the retry budget.

    Looking never blocks; telling is never awaited. What must be decided once for all is awaited. Times are seconds of
    one clock.
    """

    @property
    def health(self) -> Health:
        """How all targets stand."""
        ...

    @property
    def latency(self) -> Latencies:
        """How long targets take."""
        ...

    @property
    def may_repeat(self) -> bool:
        """Whether the retry budget holds a repeat."""
        ...

    def observe(self, target: TargetId, news: News, now: float) -> Sequence[Change]:
        """Take in how an attempt ended; what changed by it."""
        ...

    def timed(self, target: TargetId, size: str, seconds: float, now: float) -> None:
        """Take in how long an attempt took."""
        ...

    def forgive(self, channel: str) -> None:
        """Forget every trouble of a channel."""
        ...

    def earn(self) -> None:
        """Count a request's first attempt towards the retry budget."""
        ...

    def spend(self) -> None:
        """Take an attempt that is not a request's first out of the retry budget."""
        ...

    async def claim(self, target: TargetId, now: float) -> bool:
        """Take the probe of a target; ``False``: somebody else has it."""
        ...

    def release(self, target: TargetId, claimed_at: float) -> None:
        """Give back a probe that told nothing."""
        ...

    async def reserve(self, asks: Sequence[Ask], now: float, longest_s: float) -> float:
        """Take a place in the flow of every rate; the seconds to wait. Over ``longest_s`` nothing was taken."""
        ...


class Brakes(Protocol):
    """What operators said of channels; survives a restart, and another process may have said it."""

    def current(self) -> Mapping[str, Brake]:
        """Give the brakes by channel, at most a second old; does not block."""
        ...

    def set(self, channel: str, brake: Brake) -> None:
        """Write one brake, for this process at once. Blocks. Raises ``LedgerUnavailable``."""
        ...


class Bindings(Protocol):
    """Which channel and account each id of an upstream belongs to, per key. Outlives the process.

    Every method raises ``LedgerUnavailable`` when the database cannot be had.
    """

    async def find(self, key: str, ids: Sequence[str]) -> Mapping[str, Binding]:
        """Give what is bound to ``key``; an id that is not has no entry."""
        ...

    async def held(self, ids: Sequence[str]) -> frozenset[str]:
        """Give those of ``ids`` that are bound to any key."""
        ...

    async def bind(self, key: str, ids: Sequence[str], binding: Binding, at: datetime) -> None:
        """Commit that ``ids`` belong to ``binding``; an id that is bound to ``key`` already stays as it is."""
        ...

    async def unbind(self, key: str, name: str) -> None:
        """Commit that ``key`` has this id no more."""
        ...


class Events(Protocol):
    """Log lines: one JSON object a line on stdout."""

    def emit(self, event: JsonObject) -> None:
        """Queue one line. Never blocks and never raises; a full queue drops and counts."""
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
