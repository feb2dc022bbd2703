"""A call that is begun before its body is whole: connect, send the head and what there is, and wait for the rest.

Rules it keeps:
- The end never goes out here; a peer that was sent no more than this has no request to carry out.
- Whoever goes on with the call takes the connection over as it stands, or gets none when anything speaks against it.
- A caller that sends nothing worth a call for the call's ``idle_s``, or is not done at ``give_up_at``, holds no
  connection any longer.
- What comes of it otherwise is nobody's failure: it is dropped without a word.

It must never decide what may go out, and never repeat anything.
"""

import asyncio
from collections.abc import Callable

from gateway.core.ahead import LEAST, stands
from gateway.core.types import Phase
from gateway.ports import Call, Growing
from gateway.upstream.connection import Connection
from gateway.upstream.pool import Pool
from gateway.upstream.requesting import TURN_AFTER, head_of


class Leading:
    """Implements ``ports.Lead``. ``over`` is called once it has ended, unless somebody has taken it over."""

    __slots__ = (
        *("_call", "_connection", "_growing", "_heard", "_heard_at", "_is_wanted", "_over", "_pool", "_task"),
        "given",
    )

    def __init__(self, call: Call, growing: Growing, pool: Pool, over: Callable[["Leading"], None]) -> None:
        self._call = call
        self._growing = growing
        self._pool = pool
        self._over = over
        self._connection: Connection | None = None
        self._is_wanted = False
        self._heard, self._heard_at = 0, asyncio.get_running_loop().time()  # how much the caller had sent, and when
        self.given = 0
        self._task = asyncio.ensure_future(self._send())
        self._task.add_done_callback(self._ended)

    def more(self) -> None:
        """Send what there is now, mostly without waking anybody for it; much of it is sent in turns of its own."""
        self._listen()
        connection = self._connection
        if connection is None or not self._may_go_on(connection):
            return
        if self._write(connection) and self._write(connection):
            connection.nudge()

    def cut(self) -> None:
        """Drop it, unless it was taken over; idempotent."""
        if not self._is_wanted:
            self._task.cancel()

    async def end(self) -> None:
        """Wait until it has been cut."""
        await asyncio.wait([self._task])

    async def hand_over(self) -> Connection | None:
        """Give the connection, ``given`` bytes into the body, to whoever sends the rest; ``None``: begin anew."""
        self._is_wanted = True
        if self._connection is not None:
            self._connection.nudge()
        try:
            await asyncio.wait([self._task])
        except asyncio.CancelledError:
            self._is_wanted = False
            self._task.cancel()
            self._drop()
            raise
        connection = self._connection
        if connection is None or not _is_sound(connection):
            self._drop()
            return None
        self._connection = None  # it is not held any longer than it is used
        self.given = self._growing.given
        return connection

    def _ended(self, task: asyncio.Future[None]) -> None:
        """Give the connection back, unless somebody goes on with it; what went wrong is nobody's failure."""
        if task.cancelled() or task.exception() is not None or not self._is_wanted:
            self._drop()
        self._over(self)

    async def _send(self) -> None:
        """Send what there is, until somebody goes on with it, the caller is silent or nothing can follow any more."""
        call, loop = self._call, asyncio.get_running_loop()
        site = self._pool.site(call.channel.base_url)
        wire, length = call.wire, self._growing.length
        head = head_of(wire.method, site.prefix + wire.path, site.authority, wire.headers, length)
        connection = self._pool.take(site)
        if connection is None:
            async with asyncio.timeout(call.connect_s):
                connection = await self._pool.open(site)
        self._connection = connection
        if self._is_wanted or not connection.begin(head):
            return
        unpaused = 0
        while self._may_go_on(connection):
            unpaused += (size := self._write(connection))
            if unpaused >= TURN_AFTER:
                unpaused = 0
                await asyncio.sleep(0)
            elif not size:
                until = min(call.give_up_at, self._heard_at + call.idle_s)
                if loop.time() >= until:
                    return
                await connection.wait(until)

    def _listen(self) -> None:
        """Take note of what the caller has sent since, if that was worth a call."""
        if self._growing.reach - self._heard >= LEAST:
            self._heard, self._heard_at = self._growing.reach, asyncio.get_running_loop().time()

    def _write(self, connection: Connection) -> int:
        """Send some of what there is, if the peer takes it; gives how many bytes that was."""
        some = self._growing.take() if _is_open(connection) else ()
        if not some:
            return 0
        connection.write(some)
        return sum(map(len, some))

    def _may_go_on(self, connection: Connection) -> bool:
        return not self._is_wanted and _is_sound(connection)

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()
            self._pool.give_back(connection)


def _is_open(connection: Connection) -> bool:
    return connection.is_writable and connection.phase is Phase.SENT


def _is_sound(connection: Connection) -> bool:
    """Whether the rest can follow, or what was answered before it came is an answer."""
    if connection.phase in (Phase.UNSENT, Phase.SENT):
        return connection.cause is None and connection.is_usable
    return connection.incoming is not None and stands(connection.incoming.status)
