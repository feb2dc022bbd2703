"""The seams to what all requests know together: health, rates, hand brakes, and who keeps which id."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from msgspec import Struct

from gateway.core.bindings import Binding
from gateway.core.brake import Brake
from gateway.core.health import Change, Health, News, TargetId
from gateway.core.latency import Latencies
from gateway.core.limits import Drawn, Rate


class Ask(Struct, frozen=True, kw_only=True):
    """A number of pieces that one rate has to let through; ``key`` names the rate."""

    key: str
    rate: Rate
    pieces: int = 1


class Peer(Struct, frozen=True, kw_only=True):
    """A server that shares the ledger. ``name`` says where it runs; ``config_version``: its routes file's."""

    server_id: str
    name: str
    config_version: str


class Watcher(Protocol):
    """Who wants to know of the other servers. Called in a thread."""

    def version(self) -> str:
        """Give the version of the routes file in force here."""
        ...

    def looked(self) -> None:
        """Take in that the others were looked at."""
        ...

    def ended(self, peer: Peer, left: int) -> None:
        """Take in that a server is gone, and how many requests it left open."""
        ...


class Fleet(Protocol):
    """The servers that share one ledger."""

    @property
    def peers(self) -> Sequence[Peer]:
        """The other servers that live, as of the last look."""
        ...

    def start(self, watcher: Watcher) -> None:
        """Look at the others from now on, in a thread."""
        ...


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

    async def draw(self, asks: Sequence[Ask], now: float) -> Drawn:
        """Take the pieces of every rate now, or nothing of any; how each rate stands then."""
        ...

    async def enter(self, room: str, places: int) -> bool:
        """Take one of the places of a room; ``False``: there is none free."""
        ...

    def leave(self, room: str) -> None:
        """Give a place back."""
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
