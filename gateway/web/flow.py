"""When a connection is read and written: what uvicorn has for it, with nothing made before somebody has to wait.

A connection whose reader keeps up never needs the event that a writer waits for, and a request that was read whole
never again the one that its reader waits for; of ten thousand that wait for their pictures few ever do, and an event is
most of a kilobyte.
"""

import asyncio

from uvicorn.protocols.http.flow_control import FlowControl


class Flow(FlowControl):
    """The flow of one connection."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.read_paused = False
        self.write_paused = False
        self._writable: asyncio.Event | None = None  # while writing is paused

    async def drain(self) -> None:
        """Wait until there is room to write."""
        if self._writable is not None:
            await self._writable.wait()

    def pause_writing(self) -> None:
        """Say that there is no room."""
        if not self.write_paused:
            self.write_paused = True
            self._writable = asyncio.Event()

    def resume_writing(self) -> None:
        """Say that there is room again."""
        self.write_paused = False
        if self._writable is not None:
            self._writable.set()
            self._writable = None


class Signal:
    """Stands in for ``asyncio.Event`` where one task at most waits."""

    __slots__ = ("_is_set", "_waiter")

    def __init__(self) -> None:
        self._is_set = False
        self._waiter: asyncio.Future[None] | None = None

    def set(self) -> None:
        """Say that it has happened, until it is cleared."""
        self._is_set = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def clear(self) -> None:
        """Take it back."""
        self._is_set = False

    async def wait(self) -> None:
        """Wait until it has happened. Raises ``RuntimeError`` when somebody waits already."""
        if self._is_set:
            return
        if self._waiter is not None:
            raise RuntimeError("somebody waits already")
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
