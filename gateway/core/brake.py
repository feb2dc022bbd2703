"""The hand brake of a channel: what an operator said of it, and until when.

``on``: as the routes file says. ``drained``: no new work; what is under way ends, and what can only go here (a
follow-up bound to the channel) still may. ``off``: nothing is sent. A brake whose time is over is on. Pure.
"""

from datetime import datetime
from enum import StrEnum

from msgspec import Struct


class BrakeState(StrEnum):
    """How far a channel is stopped."""

    ON = "on"
    DRAINED = "drained"
    OFF = "off"


class Brake(Struct, frozen=True, kw_only=True):
    """What was said of one channel. ``until``: aware; absent: until it is said otherwise."""

    state: BrakeState
    until: datetime | None = None
    reason: str | None = None
    set_at: datetime | None = None

    def at(self, now: datetime) -> BrakeState:
        """Give the state that holds at ``now`` (aware)."""
        return BrakeState.ON if self.until is not None and self.until <= now else self.state
