"""Threads of their own for one kind of look-up, and a bound on how long anybody waits for them.

A database that does not answer keeps its threads; so those of one room are few, and no other work of the process ever
waits behind them. Who has waited long enough is told that the ledger cannot be had; a look-up that was not begun by
then is not made.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from gateway.ports import LedgerUnavailable

WAIT_S: Final = 2.0

T = TypeVar("T")


class Room:
    """``fault`` is what is said when an answer does not come within ``wait_s`` seconds."""

    def __init__(self, name: str, threads: int, fault: str, wait_s: float = WAIT_S) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._fault = fault
        self._wait_s = wait_s

    async def ask(self, look: Callable[[], T], wait_s: float | None = None) -> T:
        """Look something up, in at most ``wait_s`` seconds if that is less. Raises ``LedgerUnavailable``."""
        try:
            async with asyncio.timeout(self._wait_s if wait_s is None else min(wait_s, self._wait_s)):
                return await asyncio.get_running_loop().run_in_executor(self._threads, look)
        except TimeoutError:
            raise LedgerUnavailable(self._fault) from None

    def wait(self, look: Callable[[], T]) -> T:
        """Look something up for a thread that may block. Raises ``LedgerUnavailable``."""
        asked = self._threads.submit(look)
        try:
            return asked.result(self._wait_s)
        except TimeoutError:
            asked.cancel()
            raise LedgerUnavailable(self._fault) from None

    def close(self) -> None:
        """Begin no more look-ups; idempotent."""
        self._threads.shutdown(wait=False, cancel_futures=True)
