"""What is said when every target that could serve a request rests: come back when the first of them does.

A target rests while health bars it, while an operator has stopped its channel, or while its channel's limits are used
up. The error is the one of the target that comes back soonest: 429 when it is only being asked too much, else 503.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from msgspec import Struct

from gateway.core.health import Trouble
from gateway.core.types import Excluded, Fault, Refusal

CHANNEL_LIMIT: Final = "channel_limit"
CHANNEL_DRAINED: Final = "channel_drained"
CHANNEL_OFF: Final = "channel_off"

SOONEST_S: Final = 1.0
BRAKE_RETRY_S: Final = 60.0  # a brake that names no end

_RATES: Final = frozenset({CHANNEL_LIMIT, Trouble.RATE_LIMITED.value})
_TOO_MUCH: Final = (429, "rate_limit_exceeded", "is asked as much as it may be")
_NOT_WELL: Final = (503, "no_healthy_target", "rests")
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


class Resting(Struct, frozen=True, kw_only=True):
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
    status, code, does = _TOO_MUCH if soonest.reason in _RATES else _NOT_WELL
    return Refusal(
        status=status,
        code=code,
        message=f"Every target that could serve this request {does} ({reasons}). Nothing was sent; try again later.",
        fault=_FAULTS.get(soonest.reason, Fault.ROUTING),
        excluded=tuple(excluded),
        retry_after_s=max(SOONEST_S, soonest.back_in_s),
    )
