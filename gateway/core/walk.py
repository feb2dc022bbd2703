"""What to do after each attempt: try another target, or give up, and why.

Rules: targets are tried in the plan's order, each once, unless the route says to ask the same one again after a class
of failure; never more attempts than the plan allows, never past the deadline, never after the client has gone. A repeat
waits: as long as the upstream said, and a full jitter that doubles; what would have to wait too long, or has no retry
budget left, is not repeated. Then the route's ``on_failure``, else the class's own action decides, except after content
has reached the client or the client has left; an option that was not taken leads to those targets only whose contract
states it. After a class that the route's ``downgrade`` names the same target is asked again for less, within the bounds
of a repeat; where ``on_failure`` leads on to others, they are asked for less too. Nobody is asked whose quote, added to
what was spent, passes the route's ``max_cost``. So a walk ends after at most one step per allowed attempt and one more.
It must never look at a clock or throw a die: both are given in.
"""

from collections.abc import Collection, Sequence
from enum import StrEnum
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from gateway.core.downgrade import FINAL, asked_as, next_step_down
from gateway.core.plan import Plan, Target
from gateway.core.table import Route
from gateway.core.types import Action, Cause, Failure, FailureClass

SAME: Final = "same"  # what an attempt's row says when its target is asked again
DOWNGRADE: Final = "downgrade"  # and when it is asked again for less
JITTER_S: Final = 0.5  # the first repeat's jitter; each further one's is twice as long
LONGEST_JITTER_S: Final = 8.0
LONGEST_PAUSE_S: Final = 30.0

_OVERDUE: Final = frozenset({FailureClass.TIMEOUT, FailureClass.UNREACHABLE})


class Tried(Struct, frozen=True, kw_only=True):
    """One attempt that failed: the index of its target in ``Plan.targets``, and how.

    ``steps``: the route's steps down that were taken when it was made. ``spent_micro``: what it cost at most.
    """

    target: int
    failure: Failure
    steps: tuple[int, ...] = ()
    spent_micro: int = 0


class GiveUpReason(StrEnum):
    """Why no further attempt is made."""

    STOPPED = "stopped"  # the failure's action says so
    EXHAUSTED = "exhausted"  # every target was tried
    MAX_ATTEMPTS = "max_attempts"
    DEADLINE = "deadline"
    CLIENT_GONE = "client_gone"
    MAX_COST = "max_cost"  # what is left may cost more than the route allows


class Try(Struct, frozen=True, kw_only=True):
    """Ask this target; the attempt has ``allowed_s`` seconds, and ``overdue`` is what to call it when they pass.

    ``pause_s``: wait so long before, since it is a repeat; absent: it is none. ``is_first``: nothing was tried before.
    ``is_last``: no other target is left. ``steps``: the steps down that are taken by now; ``target`` is as they say.
    """

    index: int
    target: Target
    allowed_s: float
    overdue: Cause
    pause_s: float | None = None
    is_first: bool = False
    is_last: bool = False
    steps: tuple[int, ...] = ()


class Road(Struct, frozen=True, kw_only=True):
    """What of the moment changes the next step: targets that were passed over, a die in [0, 1), the retry budget."""

    passed: Collection[int] = ()
    die: float = 0.0
    may_repeat: bool = False


class GiveUp(Struct, frozen=True, kw_only=True):
    """The walk is over. ``dear``: the targets that were left, and cost too much."""

    reason: GiveUpReason
    dear: tuple[int, ...] = ()


CLEAR: Final = Road()


def next_step(
    plan: Plan, history: Sequence[Tried], now_s: float, started_s: float, *, client_gone: bool, road: Road = CLEAR
) -> Try | GiveUp:
    """Say what comes after ``history``. ``now_s`` and ``started_s`` (of the request) are seconds of one clock."""
    left_s = plan.deadline_s - (now_s - started_s)
    reason = _end(history, left_s, client_gone=client_gone)
    if reason is not None:
        return GiveUp(reason=reason)
    again = _again(plan, history, road, left_s)
    if again is not None:
        return again
    gone = {attempt.target for attempt in history} | set(road.passed)
    left = [at for at in range(len(plan.targets)) if at not in gone]
    if history and action_after(plan.route, history[-1].failure) is Action.STOP:
        option = refused_option(plan.route, history[-1].failure)
        left = [at for at in left if option is not None and plan.targets[at].contract.states(option)]
        if not left:
            return GiveUp(reason=GiveUpReason.STOPPED)
    if not left:
        return GiveUp(reason=GiveUpReason.EXHAUSTED)
    if len(history) >= plan.max_attempts:
        return GiveUp(reason=GiveUpReason.MAX_ATTEMPTS)
    return _next(plan, history, left, left_s)


def _next(plan: Plan, history: Sequence[Tried], left: Sequence[int], left_s: float) -> Try | GiveUp:
    """Ask the first of those that are left, for less when a step down says so; who costs too much is passed over."""
    steps = _steps_onward(plan, history)
    offers = [_try(plan, at, steps, left_s) for at in left]
    offered = [offer for offer in offers if offer is not None]
    if not offered:
        return GiveUp(reason=GiveUpReason.EXHAUSTED)
    within = [offer for offer in offered if _is_within(plan, history, offer.target)]
    if not within:
        return GiveUp(reason=GiveUpReason.MAX_COST, dear=tuple(offer.index for offer in offered))
    return replace(within[0], is_first=not history, is_last=len(within) == 1)


def _again(plan: Plan, history: Sequence[Tried], road: Road, left_s: float) -> Try | None:
    """Ask the last target again, as it was asked or for less; ``None``: the route does not, or it may not."""
    if not history or history[-1].failure.kind in FINAL or history[-1].target in road.passed:
        return None
    if len(history) >= plan.max_attempts or not road.may_repeat:
        return None
    last = history[-1]
    before = sum(attempt.target == last.target for attempt in history) - 1
    pause_s = (last.failure.retry_after_s or 0.0) + road.die * min(LONGEST_JITTER_S, JITTER_S * 2.0**before)
    if pause_s > LONGEST_PAUSE_S or pause_s >= left_s:
        return None
    steps = last.steps
    if before >= plan.route.repeats.get(last.failure.kind, 0):
        down = next_step_down(plan, last.steps, last.failure.kind)
        if down is None or not plan.route.downgrade[down].stays:
            return None
        steps = (*last.steps, down)
    found = _try(plan, last.target, steps, left_s - pause_s)
    if found is None or not _is_within(plan, history, found.target) or _is_no_less(plan, last, found):
        return None
    return replace(found, pause_s=pause_s)


def _is_no_less(plan: Plan, last: Tried, found: Try) -> bool:
    """Whether a step down comes to nothing here, because the contract says the new value in the old word."""
    before = asked_as(plan, last.target, last.steps)
    return found.steps != last.steps and before is not None and before.facts == found.target.facts


def _steps_onward(plan: Plan, history: Sequence[Tried]) -> tuple[int, ...]:
    """Give the steps down that hold for the next target: those taken, and one that leads on."""
    if not history:
        return ()
    last = history[-1]
    down = next_step_down(plan, last.steps, last.failure.kind)
    leads_on = down is not None and not plan.route.downgrade[down].stays
    return (*last.steps, down) if down is not None and leads_on else last.steps


def _is_within(plan: Plan, history: Sequence[Tried], target: Target) -> bool:
    ceiling = plan.route.max_cost
    return ceiling is None or ceiling.bars(target.quote, sum(attempt.spent_micro for attempt in history)) is None


def action_after(route: Route, failure: Failure) -> Action:
    """Give the action for a failure on this route, repeats aside."""
    if failure.kind in FINAL:
        return Action.STOP
    return route.on_failure.get(failure.kind, failure.action)


def refused_option(route: Route, failure: Failure) -> str | None:
    """Give the parameter that an upstream did not take, when a target whose contract states it may be asked instead."""
    if failure.kind is not FailureClass.UNSUPPORTED_OPTION or failure.kind in route.on_failure or failure.error is None:
        return None
    return (failure.error.param or "").rpartition(".")[2] or None


def _try(plan: Plan, index: int, steps: tuple[int, ...], left_s: float) -> Try | None:
    target = asked_as(plan, index, steps)
    if target is None:
        return None
    return Try(
        index=index,
        target=target,
        allowed_s=min(target.patience_s, left_s),
        overdue=Cause.DEADLINE if left_s < target.patience_s else Cause.PATIENCE,
        steps=steps,
    )


def _end(history: Sequence[Tried], left_s: float, *, client_gone: bool) -> GiveUpReason | None:
    if client_gone:
        return GiveUpReason.CLIENT_GONE
    last = history[-1].failure if history else None
    # A timer may fire a tick early: the attempt that met the deadline is the last, whatever the clock says.
    if left_s <= 0 or (last is not None and last.kind in _OVERDUE and last.detail == Cause.DEADLINE):
        return GiveUpReason.DEADLINE
    return None
