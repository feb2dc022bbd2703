"""What is read from the database over and over, by a thread of its own, so that whoever wants it never waits.

While the database cannot be read, what was known holds. ``reread`` is for who has just written: it is known at once.
"""

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

T = TypeVar("T")


class Polled(Generic[T]):
    """Something as it was read at most ``poll_s`` ago; ``nothing`` before it could be read. Ended by ``close``."""

    def __init__(self, name: str, engine: Engine, read: Callable[[Connection], T], nothing: T, poll_s: float) -> None:
        self.known = nothing
        self._engine = engine
        self._read = read
        self._poll_s = poll_s
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self.reread()
        self._thread = threading.Thread(target=self._watch, name=name, daemon=True)
        self._thread.start()

    def reread(self) -> None:
        """Read it now. Blocks."""
        with self._lock, suppress(SQLAlchemyError), self._engine.begin() as connection:
            self.known = self._read(connection)

    def close(self) -> None:
        """End the thread; idempotent."""
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(self._poll_s):
            self.reread()
