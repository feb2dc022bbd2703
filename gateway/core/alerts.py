"""When an operator is told that something is wrong, and when that it is over: a pure reduction over signals.

Rules. What goes on is told once for each kind and subject, and again after ``repeat_s`` while it goes on; what came in
between is counted. The end is told once, and only of what was told. The number of subjects is bounded: the one that was
told longest ago is forgotten first, so the worst that forgetting does is to tell again.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, TypeAlias

from msgspec import Struct, field
from msgspec.structs import replace

from gateway.core.types import JsonObject

MOST_STANDING: Final = 1_000


class AlertKind(StrEnum):
    """What is wrong."""

    QUOTA_EXHAUSTED = "quota_exhausted"
    KEY_REJECTED = "key_rejected"
    ACCOUNT_NOT_READY = "account_not_ready"
    BUDGET = "budget"
    EXPOSURE = "exposure"  # money may be gone without a picture
    DISK = "disk"
    NOT_KEPT = "not_kept"  # a picture was delivered and is not in the store


OF_ONE_SERVER: Final = frozenset({AlertKind.DISK, AlertKind.NOT_KEPT})  # about its own disks and pictures


class AlertState(StrEnum):
    """Whether it goes on."""

    FIRING = "firing"
    RESOLVED = "resolved"


class AlertSettings(Struct, frozen=True, kw_only=True):
    """Where alerts go besides the log, and from when on. Percent for ``budget`` and ``disk``; ``secret`` signs."""

    webhook: str | None = None
    secret: str | None = None
    repeat_s: float = 3_600.0
    budget: tuple[int, ...] = (80, 100)
    disk: int = 90

    def __repr__(self) -> str:
        """Name it, and leave out the secret and the address, which may carry one."""
        return f"AlertSettings(repeat_s={self.repeat_s}, budget={self.budget}, disk={self.disk})"


class Signal(Struct, frozen=True, kw_only=True):
    """Something was seen to be wrong, or (``is_over``) not to be so any more. ``facts`` hold no secret, no prompt."""

    kind: AlertKind
    subject: str
    is_over: bool = False
    facts: JsonObject = field(default_factory=dict)


class Alert(Struct, frozen=True, kw_only=True):
    """What is told. ``times``: how often it was seen since it was told last, this time included."""

    kind: AlertKind
    subject: str
    state: AlertState
    times: int
    facts: JsonObject

    def as_json(self) -> JsonObject:
        """Give it with the interface's names."""
        return {
            "kind": self.kind.value,
            "subject": self.subject,
            "state": self.state.value,
            "times": self.times,
            "facts": {**self.facts},
        }


class Told(Struct, frozen=True, kw_only=True):
    """When something was told last, in seconds, and how often it was seen since."""

    at: float
    unsaid: int = 0


Standing: TypeAlias = Mapping[tuple[AlertKind, str], Told]


def judge(standing: Standing, signal: Signal, now: float, repeat_s: float) -> tuple[Standing, Alert | None]:
    """Take a signal in; gives what stands from then on, and what is to be told. ``now``: seconds that never go back."""
    about = (signal.kind, signal.subject)
    told = standing.get(about)
    if signal.is_over:
        if told is None:
            return standing, None
        rest = {one: its for one, its in standing.items() if one != about}
        return rest, _alert(signal, AlertState.RESOLVED, told.unsaid)
    if told is not None and now - told.at < repeat_s:
        return {**standing, about: replace(told, unsaid=told.unsaid + 1)}, None
    unsaid = 0 if told is None else told.unsaid
    kept = {one: its for one, its in standing.items() if one != about}
    if len(kept) >= MOST_STANDING:
        del kept[min(kept, key=lambda one: kept[one].at)]
    return {**kept, about: Told(at=now)}, _alert(signal, AlertState.FIRING, unsaid + 1)


def _alert(signal: Signal, state: AlertState, times: int) -> Alert:
    return Alert(kind=signal.kind, subject=signal.subject, state=state, times=times, facts=signal.facts)
