"""What to do after each attempt: try another target, or give up, and why.

Rules: each target is tried at most once, in the plan's order; never more attempts than the plan allows, never past the
deadline, never after the client has gone. A route's ``on_failure`` goes before the class's own action, except after
content has reached the client or the client has left. So a walk ends after at most one step per target and one more.
It must never look at a clock: the time is given in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from gateway.core.policy import Plan, Target
from gateway.core.table import Route
from gateway.core.types import Action, Cause, Failure, FailureClass

_FINAL: Final = frozenset({FailureClass.CUT, FailureClass.CLIENT_GONE})
_OVERDUE: Final = frozenset({FailureClass.TIMEOUT, FailureClass.UNREACHABLE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One attempt that failed: the index of its target in ``Plan.targets``, and how."""

    target: int
    failure: Failure


class GiveUpReason(StrEnum):
    """Why no further attempt is made."""

    STOPPED = "stopped"  # the failure's action says so
    EXHAUSTED = "exhausted"  # every target was tried
    MAX_ATTEMPTS = "max_attempts"
    DEADLINE = "deadline"
    CLIENT_GONE = "client_gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """Ask this target now; the attempt has ``allowed_s`` seconds, and ``overdue`` is what to call it when they pass."""

    index: int
    target: Target
    allowed_s: float
    overdue: Cause


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveUp:
    """The walk is over."""

    reason: GiveUpReason


def next_step(
    plan: Plan, history: Sequence[Tried], now_s: float, started_s: float, *, client_gone: bool
) -> Try | GiveUp:
    """Say what comes after ``history``. ``now_s`` and ``started_s`` (of the request) are seconds of one clock."""
    left_s = plan.deadline_s - (now_s - started_s)
    tried = {attempt.target for attempt in history}
    index = next((at for at in range(len(plan.targets)) if at not in tried), None)
    reason = _obstacle(plan, history, left_s, client_gone=client_gone)
    if reason is not None:
        return GiveUp(reason=reason)
    if index is None:
        return GiveUp(reason=GiveUpReason.EXHAUSTED)
    if len(history) >= plan.max_attempts:
        return GiveUp(reason=GiveUpReason.MAX_ATTEMPTS)
    target = plan.targets[index]
    return Try(
        index=index,
        target=target,
        allowed_s=min(target.patience_s, left_s),
        overdue=Cause.DEADLINE if left_s < target.patience_s else Cause.PATIENCE,
    )


def action_after(route: Route, failure: Failure) -> Action:
    """Give the action for a failure on this route."""
    if failure.kind in _FINAL:
        return Action.STOP
    return route.on_failure.get(failure.kind, failure.action)


def _obstacle(plan: Plan, history: Sequence[Tried], left_s: float, *, client_gone: bool) -> GiveUpReason | None:
    if client_gone:
        return GiveUpReason.CLIENT_GONE
    last = history[-1].failure if history else None
    # A timer may fire a tick early: the attempt that met the deadline is the last, whatever the clock says.
    if left_s <= 0 or (last is not None and last.kind in _OVERDUE and last.detail == Cause.DEADLINE):
        return GiveUpReason.DEADLINE
    if last is not None and action_after(plan.route, last) is Action.STOP:
        return GiveUpReason.STOPPED
    return None
