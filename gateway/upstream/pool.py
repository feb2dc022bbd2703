"""Kept connections to upstreams, by site; the last one kept is the first one used again.

Rules it keeps: a connection that is idle for longer than ``KEEP_S``, that its peer has hung up, or on which bytes came
that nobody asked for is never given out. There is no limit on how many are open: ``max_in_flight`` is the caller's. All
of a pool's connections use one TLS context.

It must never repeat a request or wait for a free connection.
"""

import asyncio
import ssl
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from gateway.core.types import Cause
from gateway.upstream.connection import Connection
from gateway.upstream.dialing import Names, Unreachable, connect, verifying

KEEP_S: Final = 5.0  # a connection idle for longer is not reused: the peer may be closing it just now
_PORTS: Final = {"http": 80, "https": 443}


Idle = dict[Connection, float]  # since when, oldest first


class Site:
    """Where a ``base_url`` leads, and the connections that are kept there, which others may share."""

    __slots__ = ("authority", "host", "idle", "is_tls", "port", "prefix")

    def __init__(self, base_url: str) -> None:
        parts = urlsplit(base_url)
        self.is_tls = parts.scheme == "https"
        self.host = parts.hostname or ""
        self.port = parts.port or _PORTS.get(parts.scheme, 80)
        self.prefix = parts.path
        host = f"[{self.host}]" if ":" in self.host else self.host
        self.authority = host if self.port == _PORTS.get(parts.scheme) else f"{host}:{self.port}"
        self.idle: Idle = {}


class Pool:
    """All connections of one client. ``tls``: how peers are verified; ``None`` asks the system's store.

    ``keep_s``: how long an idle one is of use.
    """

    __slots__ = ("_alarm", "_busy", "_idle", "_keep_s", "_loop", "_names", "_sites", "_tls", "_tls_lock")

    def __init__(self, tls: ssl.SSLContext | None, *, keep_s: float = KEEP_S) -> None:
        self._keep_s = keep_s
        self._loop = asyncio.get_running_loop()
        self._names = Names()
        self._tls = tls
        self._tls_lock = asyncio.Lock()
        self._sites: dict[str, Site] = {}
        self._idle: dict[tuple[bool, str, int], Idle] = {}
        self._busy: dict[Connection, Site] = {}
        self._alarm: asyncio.TimerHandle | None = None

    def site(self, base_url: str) -> Site:
        """Give what is known of a ``base_url``; there are as many as the routes file has named."""
        known = self._sites.get(base_url)
        if known is None:
            known = self._sites[base_url] = Site(base_url)
            known.idle = self._idle.setdefault((known.is_tls, known.host, known.port), known.idle)
        return known

    def take(self, site: Site) -> Connection | None:
        """Give the connection that was kept last, if one is of use."""
        while site.idle:
            connection, since = site.idle.popitem()
            if connection.is_usable and self._loop.time() - since <= self._keep_s:
                self._busy[connection] = site
                return connection
            connection.abort()
        return None

    async def open(self, site: Site) -> Connection:
        """Open a new connection. Raises ``Unreachable``."""
        if not site.host.isascii():
            raise Unreachable(Cause.DNS)  # a configured name is in its ASCII form
        addresses = await self._names.addresses(site.host, site.port)
        tls = await self._context() if site.is_tls else None
        connection = await connect(
            lambda: Connection(self._loop, partial(self._forget, site)), addresses, tls, site.host
        )
        self._busy[connection] = site
        return connection

    def give_back(self, connection: Connection) -> None:
        """Keep a connection whose exchange is over, if it is of further use; else drop it."""
        site = self._busy.pop(connection, None)
        if site is None or not connection.is_kept:
            connection.abort()
            return
        connection.rest()
        site.idle[connection] = self._loop.time()
        if self._alarm is None:
            self._alarm = self._loop.call_later(self._keep_s, self._sweep)

    def close(self) -> None:
        """Drop every connection, also those in use."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        for idle in self._idle.values():
            for connection in idle:
                connection.abort()
            idle.clear()
        for connection in self._busy:
            connection.abort()
        self._busy.clear()

    def _forget(self, site: Site, connection: Connection) -> None:
        """Take note that a connection has ended."""
        self._busy.pop(connection, None)
        site.idle.pop(connection, None)

    def _sweep(self) -> None:
        """Drop what was idle for too long."""
        self._alarm = None
        now = self._loop.time()
        waiting = False
        for idle in self._idle.values():
            for connection in [one for one, since in idle.items() if now - since >= self._keep_s]:
                del idle[connection]
                connection.abort()
            waiting = waiting or bool(idle)
        if waiting:
            self._alarm = self._loop.call_later(self._keep_s / 2, self._sweep)

    async def _context(self) -> ssl.SSLContext:
        """Make the TLS context when it is first needed, in a thread: reading the system's store takes a while."""
        async with self._tls_lock:
            if self._tls is None:
                self._tls = await asyncio.to_thread(verifying)
            return self._tls
