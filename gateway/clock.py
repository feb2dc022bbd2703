"""The machine's clocks; the one place where the program reads them to stamp what it records."""

import time
from datetime import UTC, datetime


class SystemClock:
    """Implements ``ports.Clock``."""

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""
        return time.monotonic()

    def now(self) -> datetime:
        """The wall clock, UTC."""
        return datetime.now(UTC)
