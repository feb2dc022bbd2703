"""When a connection is read and written: uvicorn's flow control, with nothing made before somebody has to wait.

A connection whose reader keeps up never needs the event that a writer waits for; of ten thousand that wait for their
pictures few ever do, and an event is most of a kilobyte.
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
