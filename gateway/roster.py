"""Who may be asked right now: what the relay asks before an attempt and tells after it, and the operator's hand brake.

The relay's part: ``view`` for the plan; for each step ``enter``, which gives an ``Admission`` or says why the target is
passed over; ``Admission.end`` with how the attempt ended, once, whatever happened; ``pause`` before a repeat.

An admission holds a place at the channel (``gates``), a place in the flow of its rates, and the probe when the target
is on probation. The decisions are pure and lie in ``core``; this holds the clock and the dice they are given. It must
never send anything, and never wait longer than ``limits.WAIT_S`` for a place and as long again for a rate.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from datetime import datetime

from msgspec import Struct

from gateway.core.brake import Brake, BrakeState
from gateway.core.channel_report import channel_report
from gateway.core.health import PROBE_RETRY_S, Change, News, Trouble, standing
from gateway.core.latency import size_class
from gateway.core.limits import WAIT_S, busyness
from gateway.core.plan import Target
from gateway.core.policy import rests
from gateway.core.record import present, timestamp
from gateway.core.resting import BRAKE_RETRY_S, CHANNEL_LIMIT, CHANNEL_OFF, Resting
from gateway.core.table import Channel, ChannelKind, RouteTable
from gateway.core.types import Facts, Failure, FailureClass, JsonObject
from gateway.core.verification import Proof
from gateway.core.view import View
from gateway.core.walk import Road, Try
from gateway.exchange import Presence
from gateway.gates import Gates
from gateway.ports import Ahead, Ask, Brakes, Clock, Events, Shared

_ALARMING = frozenset({Trouble.QUOTA_EXHAUSTED, Trouble.KEY_REJECTED, Trouble.ACCOUNT_NOT_READY})


class RosterMeans(Struct, frozen=True, kw_only=True):
    """What the roster works with; ``main`` chooses.

    ``roll`` gives numbers in [0, 1); ``verified`` what smoke runs have proven, without blocking.
    """

    table: Callable[[], RouteTable]
    clock: Clock
    roll: Callable[[], float]
    shared: Shared
    gates: Gates
    brakes: Brakes
    events: Events
    verified: Callable[[], Collection[Proof]] = tuple


class _Pass(Struct, frozen=True, kw_only=True):
    """On which terms a target may be asked: through a bar or not, and the probe that was taken for it."""

    is_probe: bool = False
    claimed_at: float | None = None


_FREELY = _Pass()


class Admission:
    """A place at a channel, from ``Roster.enter`` until ``end``."""

    __slots__ = ("_ended", "_roster", "_size", "_started", "_target", "_terms")

    def __init__(self, roster: "Roster", target: Target, size: str, terms: _Pass, started: float) -> None:
        self._roster = roster
        self._target = target
        self._size = size
        self._terms = terms
        self._started = started
        self._ended = False

    def end(self, failure: Failure | None) -> None:
        """Say how the attempt ended (``None``: it delivered) and give the place back; only the first call counts."""
        if self._ended:
            return
        self._ended = True
        self._roster.ended(self._target, failure, self._terms, self._size, self._started)


class Roster:
    """One instance serves all requests of the process."""

    def __init__(self, means: RosterMeans) -> None:
        self._means = means

    def view(self) -> View:
        """Give what is known of the channels at this moment."""
        means = self._means
        return View(
            now=means.clock.monotonic(),
            wall=means.clock.now(),
            health=means.shared.health,
            brakes=means.brakes.current(),
            latency=means.shared.latency,
            busy=self._busy,
            roll=means.roll,
            verified=means.verified(),
        )

    def _busy(self, channel: str) -> float:
        """Give the share of a channel's places that is taken."""
        return busyness(self._means.gates.inside(channel), self._means.table().channels[channel].max_in_flight)

    def road(self, passed: Collection[int]) -> Road:
        """Give what the walk wants to know of the moment; ``passed``: places of targets that were passed over."""
        return Road(passed=passed, die=self._means.roll(), may_repeat=self._means.shared.may_repeat)

    async def pause(self, step: Try, presence: Presence) -> None:
        """Wait before a repeat, and take it out of the retry budget; ends early when the client leaves."""
        if step.pause_s is None:
            return
        self._means.shared.spend()
        left = asyncio.Event()
        presence.watch(left.set)
        try:
            async with asyncio.timeout(step.pause_s):
                await left.wait()
        except TimeoutError:
            pass
        finally:
            presence.watch(None)

    async def enter(self, step: Try, facts: Facts, ahead: Ahead | None = None) -> Admission | Resting:
        """Take a place for an attempt, waiting a moment when that helps; or say why its target is passed over.

        ``ahead``: what of the request was sent ahead has a place there, perhaps.
        """
        target, channel = step.target, step.target.channel
        found = self._terms(step)
        if isinstance(found, Resting):
            return found
        is_patient = step.is_first and step.is_last
        has_place = ahead is not None and ahead.stay(channel.name)
        if not has_place and not await self._means.gates.enter(channel.name, channel.max_in_flight, patient=is_patient):
            return Resting(target=target.name, reason=CHANNEL_LIMIT, back_in_s=WAIT_S)
        terms: _Pass | Resting | None = None
        try:
            wait_s = await self._means.shared.reserve(_asks(channel, facts), self._now(), WAIT_S)
            if wait_s > WAIT_S:
                return Resting(target=target.name, reason=CHANNEL_LIMIT, back_in_s=wait_s)
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            terms = await self._claimed(step)
        finally:
            if not isinstance(terms, _Pass):
                self._means.gates.leave(channel.name)
        if isinstance(terms, Resting):
            return terms
        if step.is_first:
            self._means.shared.earn()
        elif step.pause_s is None:
            self._means.shared.spend()  # a fallback; a repeat was paid for before its pause
        return Admission(self, target, size_class(facts), terms, self._now())

    @asynccontextmanager
    async def place(self, channel: Channel) -> AsyncIterator[Resting | None]:
        """Hold a place at the one channel that can answer, also when it is drained; or give why it is not asked."""
        brake = self.view().brake(channel.name)
        if brake is not None and brake.state is BrakeState.OFF:
            wait_s = BRAKE_RETRY_S if brake.until is None else (brake.until - self._means.clock.now()).total_seconds()
            yield Resting(target=channel.name, reason=CHANNEL_OFF, back_in_s=wait_s)
            return
        if not await self._means.gates.enter(channel.name, channel.max_in_flight):
            yield Resting(target=channel.name, reason=CHANNEL_LIMIT, back_in_s=WAIT_S)
            return
        try:
            yield None
        finally:
            self._means.gates.leave(channel.name)

    def ended(self, target: Target, failure: Failure | None, terms: _Pass, size: str, started: float) -> None:
        """Learn from an attempt and free its place; ``Admission.end`` calls it, once."""
        shared, now = self._means.shared, self._now()
        self._means.gates.leave(target.channel.name)
        if target.channel.kind is not ChannelKind.SANDBOX:  # what fails there was asked to fail
            news = News(failure=failure, die=self._means.roll(), is_probe=terms.is_probe)
            for change in shared.observe(target.id, news, now):
                self._tell(change)
        if terms.claimed_at is not None:
            shared.release(target.id, terms.claimed_at)
        if failure is None or failure.kind is FailureClass.TIMEOUT:
            shared.timed(target.id, size, now - started, now)

    async def brake(self, name: str, state: BrakeState, until: datetime | None, reason: str | None) -> Brake | None:
        """Set a channel's hand brake, for every process on this database, and give it; ``None``: no such channel.

        ``until`` is aware; absent: until it is set otherwise. ``on`` forgets the channel's troubles besides. Raises
        ``LedgerUnavailable`` when it cannot be written.
        """
        if name not in self._means.table().channels:
            return None
        now = self._means.clock.now()
        brake = Brake(state=state, until=until, reason=reason, set_at=now)
        await asyncio.to_thread(self._means.brakes.set, name, brake)
        if state is BrakeState.ON:
            self._means.shared.forgive(name)
        until_text = None if until is None else timestamp(until)
        said = {"channel": name, "state": state.value, "until": until_text, "reason": reason}
        self._means.events.emit({"event": "channel.braked", "time": timestamp(now), **present({**said})})
        return brake

    def report(self) -> JsonObject:
        """Say how every channel stands at this moment, in the order of the routes file."""
        return channel_report(self._means.table(), self.view(), self._means.gates.load())

    def _now(self) -> float:
        return self._means.clock.monotonic()

    def _terms(self, step: Try) -> _Pass | Resting:
        """Look again, since a plan is older than its steps."""
        if not self._means.shared.health.marks and not self._means.brakes.current():
            return _FREELY  # the common case: nobody rests
        target, view = step.target, self.view()
        resting = rests(target, view)
        stand = standing(view.health, target.id, view.now)
        if resting is None:
            return _Pass(is_probe=stand.is_probe)
        if view.brake(target.channel.name) is not None:
            return resting
        is_last_hope = step.is_first and step.is_last
        if stand.is_ejected_only and (target.is_kept or is_last_hope):
            return _Pass(is_probe=True)
        is_told_to = step.pause_s is not None and all(bar.trouble is Trouble.RATE_LIMITED for bar in stand.bars)
        return _Pass() if is_told_to else resting

    async def _claimed(self, step: Try) -> _Pass | Resting:
        """Take the probe of a target on probation; who comes second is passed over, unless there is nobody else."""
        terms = self._terms(step)
        if isinstance(terms, Resting) or terms is _FREELY:
            return terms
        target, now = step.target, self._now()
        if not standing(self._means.shared.health, target.id, now).is_probe:
            return terms
        if await self._means.shared.claim(target.id, now):
            return _Pass(is_probe=True, claimed_at=now)
        return Resting(target=target.name, reason=Trouble.EJECTED, back_in_s=PROBE_RETRY_S)

    def _tell(self, change: Change) -> None:
        kind = {"event": "target.barred"} if change.is_barred else {"event": "target.restored"}
        event = {
            **kind,
            "time": timestamp(self._means.clock.now()),
            "channel": change.channel,
            "row": change.row,
            "reason": change.trouble.value,
            "for_s": None if change.for_s is None else round(change.for_s, 1),
            "alert": change.is_barred and change.trouble in _ALARMING,
        }
        self._means.events.emit(present({**event}))


def _asks(channel: Channel, facts: Facts) -> list[Ask]:
    """Say what an attempt takes of a channel's rates; a turn counts as one picture only when it carries the tool."""
    limits = channel.limits
    asks = [] if limits.requests is None else [Ask(key=f"rpm {channel.name}", rate=limits.requests)]
    images = facts.n if facts.surface.is_images else int(facts.tool is not None)
    if limits.images is not None and images:
        asks.append(Ask(key=f"ipm {channel.name}", rate=limits.images, pieces=images))
    return asks
