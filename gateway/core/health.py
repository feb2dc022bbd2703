"""Which targets are well: a reducer over what attempts end in, and the question whether a target may be asked.

Each class of failure that says something of a target is one *trouble*, counted for the target or for its whole channel.
Enough of one trouble brings a *bar* down for a while. A bar that probes does not lift by time alone: when its time is
over one attempt is let through, and a delivery lifts it, the same trouble brings it down again for longer. Anything
else leaves the question open for the next attempt.

Rules: news of an attempt that began before the bar came down changes nothing, except that a cooling grows; a delivery
ends every count of its target; failures that are the request's own say nothing. The figures are data
(``catalog/health.yaml``). That strikes never bar the last target of a route is ``policy``'s rule, since only a request
knows which targets it has. Times are seconds of one clock that is given in, a die is in [0, 1). Never raises.
"""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final, TypeAlias

from msgspec import Struct, field
from msgspec.structs import replace

from gateway.core.types import Failure, FailureClass

PROBE_RETRY_S: Final = 5.0  # what is said to who asks while a probe is under way


class Trouble(StrEnum):
    """What keeps a target out; the value is the ``reason`` of its exclusion."""

    EJECTED = "ejected"
    RATE_LIMITED = "rate_limited"
    QUOTA_EXHAUSTED = "quota_exhausted"
    KEY_REJECTED = "key_rejected"
    ACCOUNT_NOT_READY = "account_not_ready"
    MODEL_MISSING = "model_missing"


TROUBLES: Final[Mapping[FailureClass, Trouble]] = MappingProxyType(
    {
        FailureClass.UNREACHABLE: Trouble.EJECTED,
        FailureClass.RATE_LIMITED: Trouble.RATE_LIMITED,
        FailureClass.QUOTA_EXHAUSTED: Trouble.QUOTA_EXHAUSTED,
        FailureClass.KEY_REJECTED: Trouble.KEY_REJECTED,
        FailureClass.ACCOUNT_NOT_READY: Trouble.ACCOUNT_NOT_READY,
        FailureClass.MODEL_MISSING: Trouble.MODEL_MISSING,
        FailureClass.OVERLOADED: Trouble.EJECTED,
        FailureClass.SERVER_ERROR: Trouble.EJECTED,
        FailureClass.LOST_BEHIND: Trouble.EJECTED,
        FailureClass.TIMEOUT: Trouble.EJECTED,
        FailureClass.CONNECTION_LOST: Trouble.EJECTED,
        FailureClass.MALFORMED: Trouble.EJECTED,
        FailureClass.EMPTY_RESULT: Trouble.EJECTED,
        FailureClass.CUT: Trouble.EJECTED,
    }
)
_CHANNEL_WIDE: Final = frozenset({Trouble.QUOTA_EXHAUSTED, Trouble.KEY_REJECTED})
_COOLING: Final = frozenset({Trouble.RATE_LIMITED, Trouble.QUOTA_EXHAUSTED})


class Rule(Struct, frozen=True, kw_only=True):
    """When one trouble bars, and for how long.

    ``after`` failures without a delivery between them, all within ``within_s`` seconds (absent: however far apart).
    The n-th bar in a row lasts ``bar_s`` x n, at most ``cap_s``, less up to ``jitter`` of it.
    """

    after: int = 1
    within_s: float | None = None
    bar_s: float
    cap_s: float
    jitter: float = 0.0
    probes: bool = True


RULES: Final[Mapping[Trouble, Rule]] = MappingProxyType(
    {
        Trouble.EJECTED: Rule(after=5, bar_s=30.0, cap_s=300.0, jitter=0.2),
        Trouble.RATE_LIMITED: Rule(bar_s=5.0, cap_s=5.0, probes=False),
        Trouble.QUOTA_EXHAUSTED: Rule(bar_s=600.0, cap_s=600.0),
        Trouble.KEY_REJECTED: Rule(after=3, within_s=60.0, bar_s=60.0, cap_s=600.0, jitter=0.2),
        Trouble.ACCOUNT_NOT_READY: Rule(bar_s=600.0, cap_s=3600.0, jitter=0.2),
        Trouble.MODEL_MISSING: Rule(after=3, bar_s=300.0, cap_s=3600.0, jitter=0.2),
    }
)


class TargetId(Struct, frozen=True):
    """A target as health knows it: one row of one channel."""

    channel: str
    row: str


class Mark(Struct, frozen=True, kw_only=True):
    """One trouble of one place. ``times``: bars in a row; ``since`` and ``until``: of the last one."""

    failures: tuple[float, ...] = ()
    is_barred: bool = False
    times: int = 0
    since: float = 0.0
    until: float = 0.0
    probe_since: float | None = None


Place: TypeAlias = tuple[str, str | None, Trouble]  # channel, row (absent: the whole channel), trouble

_CLEAN: Final = Mark()


class Health(Struct, frozen=True, kw_only=True):
    """What is known of all targets. A place without a mark is well."""

    marks: Mapping[Place, Mark] = field(default_factory=dict)
    rules: Mapping[Trouble, Rule] = field(default_factory=lambda: RULES)


class Bar(Struct, frozen=True, kw_only=True):
    """Why a target may not be asked, since when, and until when at the soonest."""

    trouble: Trouble
    since: float
    until: float


class Standing(Struct, frozen=True, kw_only=True):
    """How a target stands: what bars it, and whether an attempt that is let through would be a probe."""

    bars: tuple[Bar, ...] = ()
    is_probe: bool = False

    @property
    def is_ejected_only(self) -> bool:
        """Whether nothing but strikes bars it: the panic rule may let it through."""
        return bool(self.bars) and all(bar.trouble is Trouble.EJECTED for bar in self.bars)

    @property
    def last(self) -> Bar | None:
        """The bar that lifts last."""
        return max(self.bars, key=lambda bar: bar.until) if self.bars else None


WELL: Final = Standing()


class News(Struct, frozen=True, kw_only=True):
    """How one attempt ended. ``is_probe``: it had been let through a bar. ``die``: for the jitter."""

    failure: Failure | None
    die: float = 0.0
    is_probe: bool = False


class Change(Struct, frozen=True, kw_only=True):
    """A bar that came down or was lifted: what the operator is told."""

    channel: str
    row: str | None
    trouble: Trouble
    is_barred: bool
    for_s: float | None = None


def usable(state: Health, target: TargetId, now: float) -> Trouble | None:
    """Say why a target may not be asked; ``None``: it may (perhaps as a probe, which ``claim`` takes)."""
    last = standing(state, target, now).last
    return None if last is None else last.trouble


def standing(state: Health, target: TargetId, now: float) -> Standing:
    """Say how a target stands at ``now``."""
    if not state.marks:
        return WELL
    bars: list[Bar] = []
    is_probe = False
    for place, mark in _marks(state, target):
        if not _holds(mark, state.rules[place[2]], now):
            continue
        if now < mark.until:
            bars.append(Bar(trouble=place[2], since=mark.since, until=mark.until))
        elif mark.probe_since is not None:
            bars.append(Bar(trouble=place[2], since=mark.since, until=now + PROBE_RETRY_S))
        else:
            is_probe = True
    return Standing(bars=tuple(bars), is_probe=is_probe and not bars)


def claim(state: Health, target: TargetId, now: float) -> Health:
    """Take the one probe of a target whose bars' time is over; nobody else is let through until it ended."""
    held = {
        place: replace(mark, probe_since=now)
        for place, mark in _marks(state, target)
        if _holds(mark, state.rules[place[2]], now) and mark.until <= now and mark.probe_since is None
    }
    return _with(state, held)


def release(state: Health, target: TargetId, claimed_at: float) -> Health:
    """Give back a probe that told nothing, so that the next attempt can be one."""
    held = {
        place: replace(mark, probe_since=None)
        for place, mark in _marks(state, target)
        if mark.probe_since == claimed_at
    }
    return _with(state, held)


def observe(
    state: Health, target: TargetId, failure: Failure | None, now: float, die: float, *, is_probe: bool = False
) -> Health:
    """Take in how an attempt ended; ``failure`` absent: it delivered.

    ``is_probe``: the attempt had been let through a bar, as a probe or by the panic rule.
    """
    if failure is None:
        return _delivered(state, target, now, is_probe=is_probe) if state.marks else state
    trouble = TROUBLES.get(failure.kind)
    if trouble is None:
        return state
    place: Place = (target.channel, None if trouble in _CHANNEL_WIDE else target.row, trouble)
    mark = state.marks.get(place, _CLEAN)
    rule = state.rules[trouble]
    holds = _holds(mark, rule, now)
    if holds and now < mark.until:
        return _with(state, _longer(place, mark, now + _cooling_s(trouble, rule, failure)))
    if holds and not is_probe:
        return state  # it began before the bar came down: the probe's answer is awaited
    failures = _counting(mark, rule, now)
    if not holds and len(failures) < rule.after:
        return _with(state, {place: replace(mark, failures=failures, is_barred=False)})
    times = mark.times + 1 if mark.times and now - mark.until <= rule.cap_s else 1
    lasts_s = min(rule.cap_s, rule.bar_s * times) * (1 - rule.jitter * die)
    if trouble in _COOLING:
        lasts_s = _cooling_s(trouble, rule, failure)
    return _with(state, {place: Mark(is_barred=True, times=times, since=now, until=now + lasts_s)})


def forgive(state: Health, channel: str) -> Health:
    """Forget every trouble of a channel: an operator says that it is well."""
    return replace(state, marks={place: mark for place, mark in state.marks.items() if place[0] != channel})


def changes(before: Health, after: Health) -> Iterator[Change]:
    """Give the bars that came down or were lifted between two states."""
    for place, mark in after.marks.items():
        old = before.marks.get(place, _CLEAN)
        came_down = mark.is_barred and (not old.is_barred or mark.since != old.since)
        if came_down or (old.is_barred and not mark.is_barred):
            channel, row, trouble = place
            for_s = mark.until - mark.since if came_down else None
            yield Change(channel=channel, row=row, trouble=trouble, is_barred=came_down, for_s=for_s)


def _marks(state: Health, target: TargetId) -> Iterator[tuple[Place, Mark]]:
    if not state.marks:
        return
    for trouble in Trouble:
        place = (target.channel, None if trouble in _CHANNEL_WIDE else target.row, trouble)
        mark = state.marks.get(place)
        if mark is not None:
            yield place, mark


def _with(state: Health, held: Mapping[Place, Mark]) -> Health:
    return replace(state, marks={**state.marks, **held}) if held else state


def _delivered(state: Health, target: TargetId, now: float, *, is_probe: bool) -> Health:
    cleared = {
        place: replace(mark, failures=(), is_barred=False, probe_since=None)
        for place, mark in _marks(state, target)
        if (mark.failures or mark.is_barred) and (now >= mark.until or (is_probe and place[2] not in _COOLING))
    }
    return _with(state, cleared)


def _holds(mark: Mark, rule: Rule, now: float) -> bool:
    """Whether a bar is down: for its time, and after that until a probe lifts it when it is one that probes."""
    return mark.is_barred and (rule.probes or now < mark.until)


def _longer(place: Place, mark: Mark, until: float) -> Mapping[Place, Mark]:
    return {place: replace(mark, until=until)} if place[2] in _COOLING and until > mark.until else {}


def _counting(mark: Mark, rule: Rule, now: float) -> tuple[float, ...]:
    recent = (at for at in mark.failures if rule.within_s is None or now - at <= rule.within_s)
    return (*recent, now)


def _cooling_s(trouble: Trouble, rule: Rule, failure: Failure) -> float:
    """Give what the upstream asked for: instead of the rule's time, or for a quota at least that."""
    said_s = failure.retry_after_s
    if said_s is None:
        return rule.bar_s
    return said_s if trouble is Trouble.RATE_LIMITED else max(said_s, rule.bar_s)
