"""Measures what one request waits for the ledger: ``with Waiting(job.wait):`` around each time that it does."""

import time

from gateway.ports import LedgerWait


class Waiting:
    """Adds the time that is spent within to what was waited before."""

    __slots__ = ("_since", "_wait")

    def __init__(self, wait: LedgerWait) -> None:
        self._wait = wait
        self._since = 0.0

    def __enter__(self) -> None:
        """Begin to wait."""
        self._since = time.monotonic()

    def __exit__(self, *_: object) -> None:
        """Have waited."""
        self._wait.spent_s += time.monotonic() - self._since
