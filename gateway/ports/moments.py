"""Time, and log lines."""

from datetime import datetime
from typing import Protocol

from gateway.core.types import JsonObject


class Clock(Protocol):
    """Time, given in: ``monotonic`` seconds for durations, ``now`` (UTC, aware) for the record."""

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""
        ...

    def now(self) -> datetime:
        """The wall clock, UTC."""
        ...


class Events(Protocol):
    """Log lines: one JSON object a line on stdout."""

    def emit(self, event: JsonObject) -> None:
        """Queue one line. Never blocks and never raises; a full queue drops and counts."""
        ...
