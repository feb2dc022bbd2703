"""What all requests know together, kept in this process: right for one replica, gone with it.

Every method runs without giving way, so that on one event loop each is atomic. It decides nothing: the reducers of
``core`` do.
"""

from collections.abc import Mapping, Sequence

from gateway.core import health, latency, limits
from gateway.core.health import Change, Health, News, Rule, TargetId, Trouble
from gateway.core.latency import Latencies
from gateway.core.limits import Drawn
from gateway.ports import Ask


class SharedLocal:
    """Implements ``ports.Shared`` for one event loop."""

    def __init__(self, rules: Mapping[Trouble, Rule] = health.RULES) -> None:
        self._health = Health(rules=rules)
        self._latency: Latencies = {}
        self._arrivals: dict[str, float] = {}
        self._rooms: dict[str, int] = {}
        self._purse = limits.REPEATS_AT_START

    @property
    def health(self) -> Health:
        """How all targets stand."""
        return self._health

    @property
    def latency(self) -> Latencies:
        """How long targets take."""
        return self._latency

    @property
    def may_repeat(self) -> bool:
        """Whether the retry budget holds a repeat."""
        return limits.may_repeat(self._purse)

    def observe(self, target: TargetId, news: News, now: float) -> Sequence[Change]:
        """Take in how an attempt ended; what changed by it."""
        before = self._health
        self._health = health.observe(before, target, news.failure, now, news.die, is_probe=news.is_probe)
        return () if self._health is before else tuple(health.changes(before, self._health))

    def timed(self, target: TargetId, size: str, seconds: float, now: float) -> None:
        """Take in how long an attempt took."""
        self._latency = latency.learn(self._latency, target, size, seconds, now)

    def forgive(self, channel: str) -> None:
        """Forget every trouble of a channel."""
        self._health = health.forgive(self._health, channel)

    def earn(self) -> None:
        """Count a request's first attempt towards the retry budget."""
        self._purse = limits.earn(self._purse)

    def spend(self) -> None:
        """Take an attempt that is not a request's first out of the retry budget."""
        self._purse = limits.spend(self._purse)

    async def claim(self, target: TargetId, now: float) -> bool:
        """Take the probe of a target; ``False``: somebody else has it."""
        if not health.standing(self._health, target, now).is_probe:
            return False
        self._health = health.claim(self._health, target, now)
        return True

    def release(self, target: TargetId, claimed_at: float) -> None:
        """Give back a probe that told nothing."""
        self._health = health.release(self._health, target, claimed_at)

    async def reserve(self, asks: Sequence[Ask], now: float, longest_s: float) -> float:
        """Take a place in the flow of every rate; the seconds to wait. Over ``longest_s`` nothing was taken."""
        return self._reserve(asks, now, longest_s)

    async def draw(self, asks: Sequence[Ask], now: float) -> Drawn:
        """Take the pieces of every rate now, or nothing of any; how each rate stands then."""
        wait_s = self._reserve(asks, now, 0.0)
        levels = tuple(limits.level(ask.rate, self._arrivals.get(ask.key, 0.0), now) for ask in asks)
        return Drawn(wait_s=wait_s, levels=levels)

    async def enter(self, room: str, places: int) -> bool:
        """Take one of the places of a room; ``False``: there is none free."""
        inside = self._rooms.get(room, 0)
        if inside >= places:
            return False
        self._rooms[room] = inside + 1
        return True

    def leave(self, room: str) -> None:
        """Give a place back."""
        inside = self._rooms.get(room, 0) - 1
        if inside > 0:
            self._rooms[room] = inside
        else:
            self._rooms.pop(room, None)

    def _reserve(self, asks: Sequence[Ask], now: float, longest_s: float) -> float:
        wait_s, arrivals = 0.0, self._arrivals
        held = [(ask.key, limits.reserve(ask.rate, arrivals.get(ask.key, 0.0), ask.pieces, now)) for ask in asks]
        for _, one in held:
            wait_s = max(wait_s, one.wait_s)
        if wait_s <= longest_s:
            for key, one in held:
                arrivals[key] = one.arrival
        return wait_s
