"""A line to a server on a unix socket that can be made slow: bytes pass after a while, in order, none is lost."""

import asyncio
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PIECE = 65_536


class SlowLine:
    """Listens in a directory of its own, under the server's name; ``delay_s`` holds for every piece, both ways."""

    def __init__(self, server: Path) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="wb-slow-"))
        self.delay_s = 0.0
        self._server = server
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        ready.wait(5)

    @property
    def path(self) -> Path:
        """Where it listens."""
        return self.directory / self._server.name

    def stop(self) -> None:
        """Drop every connection and stop listening."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def _run(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        listening = asyncio.start_unix_server(self._serve, self.directory / self._server.name)
        server = self._loop.run_until_complete(listening)
        ready.set()
        self._loop.run_forever()
        server.close()
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self._loop.run_until_complete(asyncio.sleep(0))  # transports close in the next turn of the loop
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind, ahead = await asyncio.open_unix_connection(self._server)
        with suppress(asyncio.CancelledError):
            await asyncio.gather(self._pass(reader, ahead), self._pass(behind, writer))

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while piece := await source.read(PIECE):
                await asyncio.sleep(self.delay_s)
                sink.write(piece)
                await sink.drain()
        except ConnectionError:
            pass  # one end has gone
        finally:
            sink.close()


@contextmanager
def slow_line(server: Path) -> Iterator[SlowLine]:
    """Run a line for as long as the context."""
    line = SlowLine(server)
    try:
        yield line
    finally:
        line.stop()
