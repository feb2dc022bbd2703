"""What all requests of all replicas know together: rates, places and probes in Redis, health told to each other.

What must be decided once for all is one script in Redis, bounded to 50 ms. What a replica learns of a target it takes
in itself and tells the others through a stream, a few times a second; who comes new reads the last ten minutes of it.
So looking never waits for anybody. The retry budget is a share of a replica's own requests and needs no sharing.

While Redis is out of reach each replica keeps to its share of every limit, one part of as many as there were replicas;
that is announced, shown, and over as soon as Redis answers again. What was learnt meanwhile is told afterwards.
"""

import asyncio
import math
import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from msgspec import Struct, field
from msgspec.structs import replace

from gateway.core import health, limits
from gateway.core.health import Change, Health, News, Rule, TargetId, Trouble, standing
from gateway.core.latency import Latencies
from gateway.core.limits import Drawn, Rate
from gateway.core.record import timestamp
from gateway.ports import Ask, Clock, Events
from gateway.stores.redis_line import Lost, RedisLine
from gateway.stores.redis_news import Ended, Forgiven, Told, Took, read, write
from gateway.stores.redis_scripts import ENTER, RELEASE, RENEW, RESERVE, SCRIPTS
from gateway.stores.shared_local import SharedLocal

TICK_S = 0.25
REMEMBERED_S = 600  # what a new replica hears of
MOST_LINES = 2_000  # that wait to be told, or stand in the stream
PLACE_MS = 30_000  # how long a place is held for a replica that does not renew it
RENEW_S = 10.0
PROBE_MS = 120_000
PREFIX = "{waybill}:"  # one slot of a cluster: a script may use several keys
STREAM = f"{PREFIX}news"


class _Room(Struct, kw_only=True):
    """The places of one room that this replica holds, by token, and those it gave back but has not said so yet."""

    held: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


class SharedRedis:
    """Implements ``ports.Shared`` for one event loop; ``live`` runs for as long as it is used.

    ``others``: how many other replicas there are.
    """

    def __init__(
        self,
        url: str,
        others: Callable[[], int],
        events: Events,
        clock: Clock,
        *,
        rules: Mapping[Trouble, Rule] = health.RULES,
    ) -> None:
        self._line = RedisLine(url, SCRIPTS)
        self._others = others
        self._events = events
        self._clock = clock
        self._local = SharedLocal(rules)
        self._me = secrets.token_hex(8)
        self._untold: deque[str] = deque(maxlen=MOST_LINES)
        self._heard: str | None = None
        self._rooms: dict[str, _Room] = {}
        self._probes: dict[TargetId, str] = {}
        self._over: list[tuple[str, str]] = []
        self._renewed_at = -math.inf
        self._wake = asyncio.Event()
        self._announced: str | None = None

    @property
    def health(self) -> Health:
        """How all targets stand."""
        return self._local.health

    @property
    def latency(self) -> Latencies:
        """How long targets take."""
        return self._local.latency

    @property
    def may_repeat(self) -> bool:
        """Whether the retry budget holds a repeat."""
        return self._local.may_repeat

    @property
    def fault(self) -> str | None:
        """Why Redis is out of reach, and what holds meanwhile; ``None``: it is not."""
        if self._line.fault is None:
            return None
        return f"limits at 1/{self._parts()}: {self._line.fault}"

    def observe(self, target: TargetId, news: News, now: float) -> Sequence[Change]:
        """Take in how an attempt ended, and tell the others; what changed by it."""
        before = self._local.health
        changes = self._local.observe(target, news, now)
        if self._local.health is not before or news.is_probe:
            self._tell(Ended(target=target, news=news))
        return changes

    def timed(self, target: TargetId, size: str, seconds: float, now: float) -> None:
        """Take in how long an attempt took."""
        self._local.timed(target, size, seconds, now)
        self._tell(Took(target=target, size=size, seconds=float(seconds)))

    def forgive(self, channel: str) -> None:
        """Forget every trouble of a channel."""
        self._local.forgive(channel)
        self._tell(Forgiven(channel=channel))

    def earn(self) -> None:
        """Count a request's first attempt towards the retry budget."""
        self._local.earn()

    def spend(self) -> None:
        """Take an attempt that is not a request's first out of the retry budget."""
        self._local.spend()

    async def claim(self, target: TargetId, now: float) -> bool:
        """Take the probe of a target; ``False``: somebody else has it."""
        if not standing(self._local.health, target, now).is_probe:
            return False
        token = secrets.token_hex(8)
        with suppress(Lost):
            if not await self._line.take(_probe(target), token, PROBE_MS):
                return False
            self._probes[target] = token
        return await self._local.claim(target, now)

    def release(self, target: TargetId, claimed_at: float) -> None:
        """Give back a probe that told nothing."""
        self._local.release(target, claimed_at)
        token = self._probes.pop(target, None)
        if token is not None:
            self._over.append((_probe(target), token))
            self._wake.set()

    async def reserve(self, asks: Sequence[Ask], now: float, longest_s: float) -> float:
        """Take a place in the flow of every rate; the seconds to wait. Over ``longest_s`` nothing was taken."""
        if not asks:
            return 0.0
        try:
            wait_s, _ = await self._flow(asks, longest_s)
        except Lost:
            return await self._local.reserve(self._share(asks), now, longest_s)
        return wait_s

    async def draw(self, asks: Sequence[Ask], now: float) -> Drawn:
        """Take the pieces of every rate now, or nothing of any; how each rate stands then."""
        if not asks:
            return Drawn(wait_s=0.0, levels=())
        try:
            wait_s, owed_s = await self._flow(asks, 0.0)
        except Lost:
            return await self._local.draw(self._share(asks), now)
        levels = tuple(limits.level(ask.rate, owed, 0.0) for ask, owed in zip(asks, owed_s, strict=True))
        return Drawn(wait_s=wait_s, levels=levels)

    async def enter(self, room: str, places: int) -> bool:
        """Take one of the places of a room; ``False``: there is none free."""
        mine = self._rooms.setdefault(room, _Room())
        token, left = secrets.token_hex(8), list(mine.left)
        try:
            entered = await self._line.run(ENTER, [_room(room)], [PLACE_MS, places, token, *left])
            mine.left = [one for one in mine.left if one not in left]
        except Lost:
            entered = len(mine.held) < max(1, places // self._parts())
        mine = self._rooms.setdefault(room, mine)
        (mine.held if entered else mine.left).append(token)  # also one that was refused may have been noted, unheard
        return bool(entered)

    def leave(self, room: str) -> None:
        """Give a place back."""
        mine = self._rooms.get(room)
        if mine is not None and mine.held:
            mine.left.append(mine.held.pop())
            self._wake.set()

    async def live(self) -> None:
        """Tell the others, hear them, hold what is held; until it is cancelled."""
        next_beat = -math.inf
        while True:
            self._wake.clear()
            with suppress(Lost):
                if time.monotonic() >= next_beat:
                    next_beat = time.monotonic() + TICK_S
                    await self._beat()
                    await self._renew()
                await self._give_back()  # at once, and without a beat: places come free with every request
            self._announce()
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, next_beat - time.monotonic())):
                    await self._wake.wait()

    async def close(self) -> None:
        """Give back what is held, and close the line."""
        for mine in self._rooms.values():
            mine.left, mine.held = mine.left + mine.held, []
        with suppress(Lost):
            await self._give_back()
        await self._line.close()

    def _tell(self, told: Told) -> None:
        self._untold.append(write(self._me, told))

    def _parts(self) -> int:
        return self._others() + 1

    def _share(self, asks: Sequence[Ask]) -> list[Ask]:
        """Give this replica's part of what all may ask together."""
        parts = self._parts()
        return [replace(ask, rate=_part(ask.rate, parts)) for ask in asks]

    async def _flow(self, asks: Sequence[Ask], longest_s: float) -> tuple[float, list[float]]:
        arguments: list[str | float] = [longest_s]
        for ask in asks:
            arguments += [ask.rate.interval_s, ask.rate.at_once, ask.pieces]
        told = await self._line.run(RESERVE, [f"{PREFIX}rate:{ask.key}" for ask in asks], arguments)
        wait_s, *owed_s = [float(one) for one in told]
        return wait_s, owed_s

    async def _beat(self) -> None:
        lines = list(self._untold)
        server_ms, found = await self._line.beat(STREAM, self._heard, lines, MOST_LINES)
        for _ in lines:
            self._untold.popleft()
        if self._heard is None:
            self._heard = f"{server_ms - REMEMBERED_S * 1000}-0"
        for at, line in found:
            self._heard = at
            told = read(line)
            if told is not None and told[0] != self._me:
                self._take_in(told[1], max(0.0, (server_ms - int(at.partition("-")[0])) / 1000))

    def _take_in(self, told: Told, age_s: float) -> None:
        now = time.monotonic() - age_s
        if isinstance(told, Ended):
            self._local.observe(told.target, told.news, now)
        elif isinstance(told, Took):
            self._local.timed(told.target, told.size, told.seconds, now)
        else:
            self._local.forgive(told.channel)

    async def _give_back(self) -> None:
        while self._over:
            key, token = self._over[0]
            await self._line.run(RELEASE, [key], [token])
            self._over.pop(0)
        for room, mine in list(self._rooms.items()):
            left = list(mine.left)
            if left:
                await self._line.run(ENTER, [_room(room)], [PLACE_MS, 0, "", *left])
                mine.left = [one for one in mine.left if one not in left]
            if not mine.held and not mine.left:
                self._rooms.pop(room, None)

    async def _renew(self) -> None:
        if time.monotonic() - self._renewed_at < RENEW_S:
            return
        for room, mine in list(self._rooms.items()):
            if mine.held:
                await self._line.run(RENEW, [_room(room)], [PLACE_MS, *mine.held])
        self._renewed_at = time.monotonic()

    def _announce(self) -> None:
        """Say once that Redis is out of reach, and once that it is back."""
        fault = self._line.fault
        if (fault is None) == (self._announced is None):
            return
        time_now = timestamp(self._clock.now())
        if fault is None:
            self._events.emit({"event": "shared.recovered", "time": time_now})
            self._renewed_at = -math.inf  # it may have forgotten who holds what
        else:
            share = f"1/{self._parts()}"
            self._events.emit({"event": "shared.lost", "time": time_now, "reason": fault, "share": share})
        self._announced = fault


def _part(rate: Rate, parts: int) -> Rate:
    return replace(rate, per_minute=max(1, rate.per_minute // parts))


def _room(room: str) -> str:
    return f"{PREFIX}room:{room}"


def _probe(target: TargetId) -> str:
    return f"{PREFIX}probe:{target.channel}/{target.row}"
