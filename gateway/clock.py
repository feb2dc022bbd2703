"""The machine's clocks; the one place where the program reads them to stamp what it records."""

import time
from datetime import UTC, datetime
from functools import partial


class SystemClock:
    """Implements ``ports.Clock``; it is read some thirty times for a request, so nothing stands in between.

    ``monotonic``: seconds on a clock that never goes back. ``now``: the wall clock, UTC.
    """

    monotonic = staticmethod(time.monotonic)
    now = staticmethod(partial(datetime.now, UTC))
