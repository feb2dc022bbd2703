"""The server: it listens, says so, and ends in an orderly way.

Rules. Told to end, it says so at once, goes on taking connections for as long as it was told, then takes none. What has
begun is finished: a request whose head is on its way counts as begun. Nobody is told that its client has gone because
the server is going. What is not finished in time is cut short, answered and settled as it is; only what does not even
end then is cancelled. A signal after the first shortens the time that is left and never skips the settling.
"""

import asyncio
import contextlib
import math
import secrets
import signal
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Generator

import uvicorn
from msgspec import Struct
from starlette.types import ASGIApp
from uvicorn.loops.auto import auto_loop_factory

from gateway.core.ids import RANDOM_BYTES, new_id
from gateway.core.types import RequestId
from gateway.web.protocol import Protocol, ServerConfig
from gateway.web.receipt import DEFAULT_RECEIPT, Receipt

HURRY_S = 1.0  # what is left of the grace once the server is told to end again
LAST_LOOK_S = 0.05
DRAIN_LOOK_S = 0.02


def _nothing() -> None:
    """Nothing is to be done when the end begins."""


def _nobody() -> int:
    """Nothing goes on without a client."""
    return 0


async def _nothing_to_cut() -> None:
    """Nothing can be cut short."""


class Drain(Struct, frozen=True, kw_only=True):
    """How a server ends once it is told to. Seconds.

    ``begin`` is called at once; connections are taken for ``lead_s`` longer, so that whoever watches readiness can look
    away; then none is, and what has begun is finished within ``grace_s``. Told again, a second is all that is left.
    Whatever is still under way then is ``cut``: its upstream calls end, so that it is answered and settled as it is,
    for which it has ``settle_s`` (the ledger is waited for five seconds). What is left then is cancelled. ``aloft``
    counts requests that go on although their clients have gone; they are waited for like the others.
    """

    lead_s: float = 0.0
    grace_s: float = math.inf
    settle_s: float = 6.0
    begin: Callable[[], None] = _nothing
    cut: Callable[[], Awaitable[None]] = _nothing_to_cut
    aloft: Callable[[], int] = _nobody


DEFAULT_DRAIN = Drain()


class Server(uvicorn.Server):
    """A server that says when it listens, and that a signal ends in an orderly way, with exit code 0."""

    def __init__(self, config: ServerConfig, on_ready: Callable[[], None] | None, drain: Drain) -> None:
        super().__init__(config)
        self._on_ready = on_ready
        self._drain = drain
        self._close_at = math.inf  # on the loop's clock, as are all times here
        self._cut_at = math.inf

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then listen, then say so."""
        await super().startup(sockets)
        if self._on_ready is not None:
            self._on_ready()

    def leave(self) -> None:
        """Be told to end: orderly the first time, fast the second time."""
        now = asyncio.get_running_loop().time()
        if self._close_at == math.inf:
            self._drain.begin()
            self._close_at = now + self._drain.lead_s
        else:
            self._close_at = now
            self._cut_at = min(self._cut_at, now + HURRY_S)

    async def on_tick(self, counter: int) -> bool:
        """Go on until the time to close has come."""
        return await super().on_tick(counter) or asyncio.get_running_loop().time() >= self._close_at

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections, finish what has begun, cut what is not finished in time."""
        now = asyncio.get_running_loop().time
        if self._close_at == math.inf:
            self.leave()
        for listener in (*self.servers, *(sockets or ())):
            listener.close()
        await asyncio.sleep(LAST_LOOK_S)  # who connected in time may have its request on the way
        for connection in self._connections():
            connection.shutdown()
        self._cut_at = min(self._cut_at, now() + self._drain.grace_s)
        if not await self._finished():
            await self._cut()
        await self._abandon()
        await self.lifespan.shutdown()

    async def _cut(self) -> None:
        """End the calls under way, the requests on their way in, and after a moment the answers nobody reads."""
        await self._drain.cut()
        for connection in self._connections():
            connection.cut()
        now, settle_s = asyncio.get_running_loop().time(), self._drain.settle_s
        self._cut_at = now + min(HURRY_S, settle_s)
        if await self._finished():
            return
        for connection in self._connections():
            if connection.flow.write_paused:
                connection.transport.abort()
        self._cut_at = now + settle_s
        await self._finished()

    def _connections(self) -> list[Protocol]:
        return [one for one in self.server_state.connections if isinstance(one, Protocol)]

    async def _finished(self) -> bool:
        """Wait until nothing is under way; ``False`` when the time to cut came first."""
        while self.server_state.connections or self.server_state.tasks or self._drain.aloft():
            if asyncio.get_running_loop().time() >= self._cut_at:
                return False
            await asyncio.sleep(DRAIN_LOOK_S)
        return True

    async def _abandon(self) -> None:
        """Cancel what even a cut did not end; it settles itself on its way out."""
        left = set(self.server_state.tasks)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=self._drain.settle_s)
        for connection in self._connections():
            connection.transport.abort()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Take SIGINT and SIGTERM as the wish to end, until the loop closes: closing up is not to be interrupted."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, self.leave)
        yield


def random_request_id() -> RequestId:
    """Give a request id of this moment, for answers to what never became a request."""
    return RequestId(new_id("req", time.time_ns() // 1_000_000, secrets.token_bytes(RANDOM_BYTES)))


def build_server(
    app: ASGIApp,
    *,
    on_ready: Callable[[], None] | None = None,
    receipt: Receipt = DEFAULT_RECEIPT,
    new_request_id: Callable[[], RequestId] = random_request_id,
    drain: Drain = DEFAULT_DRAIN,
) -> Server:
    """Build a server; run it with ``await server.serve(sockets=[bound])``.

    ``on_ready`` is called once it listens.
    """
    return Server(ServerConfig(app, receipt, new_request_id), on_ready, drain)


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Give an event loop: uvloop's where it is installed."""
    return auto_loop_factory(use_subprocess=False)()
