"""What is said when every target that could serve a request rests: come back when the first of them does.

A target rests while health bars it, while an operator has stopped its channel, or while its channel's limits are used
up. The error is the one of the target that comes back soonest: 429 when it is only being asked too much, else 503.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from gateway.core.health import Trouble
from gateway.core.types import Excluded, Fault, Refusal

CHANNEL_LIMIT: Final = "channel_limit"
CHANNEL_DRAINED: Final = "channel_drained"
CHANNEL_OFF: Final = "channel_off"

SOONEST_S: Final = 1.0
BRAKE_RETRY_S: Final = 60.0  # a brake that names no end

_ASKED_TOO_MUCH: Final = frozenset({CHANNEL_LIMIT, Trouble.RATE_LIMITED.value})
_FAULTS: Final[Mapping[str, Fault]] = MappingProxyType(
    {
        CHANNEL_LIMIT: Fault.ACCOUNT,
        Trouble.EJECTED: Fault.UPSTREAM,
        Trouble.RATE_LIMITED: Fault.ACCOUNT,
        Trouble.QUOTA_EXHAUSTED: Fault.ACCOUNT,
        Trouble.KEY_REJECTED: Fault.ACCOUNT,
        Trouble.ACCOUNT_NOT_READY: Fault.ACCOUNT,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resting:
    """A target that is not asked now: ``target`` is ``channel/row``, ``back_in_s`` the soonest it may be."""

    target: str
    reason: str
    back_in_s: float

    @property
    def excluded(self) -> Excluded:
        """What the record says of it."""
        return Excluded(target=self.target, reason=self.reason)


def refusal(resting: Sequence[Resting], excluded: Iterable[Excluded]) -> Refusal:
    """Refuse a request whose every target rests; ``resting`` has at least one."""
    soonest = min(resting, key=lambda one: one.back_in_s)
    reasons = "; ".join(f"{one.target}: {one.reason}" for one in resting)
    is_rate = soonest.reason in _ASKED_TOO_MUCH
    return Refusal(
        status=429 if is_rate else 503,
        code="rate_limit_exceeded" if is_rate else "no_healthy_target",
        message=f"No target of this route can be asked right now ({reasons}). Nothing was sent; try again later.",
        fault=_FAULTS.get(soonest.reason, Fault.ROUTING),
        excluded=tuple(excluded),
        retry_after_s=max(SOONEST_S, soonest.back_in_s),
    )
