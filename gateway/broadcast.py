"""Records as they are made, for whoever listens at this moment: a log that also tells a few listeners.

Rules: telling never waits. Each listener has a bounded number of records before it; one that does not keep up hears no
more, and is told so, rather than that anybody waits for it or that memory fills. There is a bounded number of
listeners. What was told before somebody listened is not told again: that is what the ledger is for.

Belongs to one event loop; only records are passed on, and those are made on it.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from msgspec import Struct

from gateway.core.types import JsonObject
from gateway.ports import Events

RECORD = "request.finished"
LISTENERS = 32
DEPTH = 256


class Told(Struct, frozen=True, kw_only=True):
    """A record as listeners get it: ``text`` is its JSON, on one line."""

    request_id: str
    text: bytes


class Listener:
    """One who listens, from ``Broadcast.listen`` until ``leave``."""

    __slots__ = ("_changed", "_waiting", "is_closed", "is_late")

    def __init__(self) -> None:
        self._waiting: deque[Told] = deque()
        self._changed = asyncio.Event()
        self.is_late = False  # more was said than it took in
        self.is_closed = False

    def tell(self, told: Told) -> None:
        """Put a record before the listener, unless it did not keep up."""
        if len(self._waiting) >= DEPTH:
            self.is_late = True
            self._waiting.clear()
        if not self.is_late:
            self._waiting.append(told)
        self._changed.set()

    def close(self) -> None:
        """Say nothing more."""
        self.is_closed = True
        self._changed.set()

    async def hear(self, within_s: float) -> Told | None:
        """Wait for the next record; ``None``: there was none within this time, or there will be none any more."""
        if not self._waiting and not self.is_over:
            self._changed.clear()
            try:
                async with asyncio.timeout(within_s):
                    await self._changed.wait()
            except TimeoutError:
                return None
        return self._waiting.popleft() if self._waiting and not self.is_over else None

    @property
    def is_over(self) -> bool:
        """Whether nothing more will be heard."""
        return self.is_late or self.is_closed


class Broadcast:
    """Implements ``ports.Events``: each event goes on to ``log``, and each record to the listeners too.

    ``encode`` gives the JSON of a value on one line, whatever it holds.
    """

    def __init__(self, log: Events, encode: Callable[[JsonObject], bytes]) -> None:
        self._log = log
        self._encode = encode
        self._listeners: set[Listener] = set()
        self._closed = False

    @property
    def listening(self) -> int:
        """How many listen."""
        return len(self._listeners)

    def emit(self, event: JsonObject) -> None:
        """Log one event, and tell a record to whoever listens. Never blocks and never raises."""
        self._log.emit(event)
        if self._listeners and event.get("event") == RECORD:
            text = self._encode({name: value for name, value in event.items() if name != "event"})
            told = Told(request_id=str(event.get("request_id")), text=text)
            for listener in self._listeners:
                listener.tell(told)

    def listen(self) -> Listener | None:
        """Begin to listen; ``None``: as many as may do already, or nothing more will be told."""
        if self._closed or len(self._listeners) >= LISTENERS:
            return None
        listener = Listener()
        self._listeners.add(listener)
        return listener

    def leave(self, listener: Listener) -> None:
        """Listen no more; idempotent."""
        self._listeners.discard(listener)

    def close(self) -> None:
        """Let all listeners go; nobody listens after that."""
        self._closed = True
        for listener in self._listeners:
            listener.close()
