"""Guarded download of pictures whose addresses others gave: the one place that calls where an upstream points to.

Rules it keeps, at each hop anew:
- The address is read strictly (``core/weburl``): http or https, no user part, ports 80, 443, 8080 and 8443.
- A name is looked up once. Every address that comes of it must be public (``core/netguard``), or nothing is called; the
  connection is made to one of exactly these, whatever the name means a moment later. TLS verifies the name.
- The channel's own origin (scheme, host and port of its ``base_url``) may lie anywhere, since the operator named it;
  but not for a redirect that came from somewhere else.
- At most ``MOST_REDIRECTS``. No credential, cookie or referrer is sent, no proxy taken from the environment.
- What comes is a 200, not compressed, called a picture (or just bytes) by its type, and a picture by its first bytes;
  at most ``MOST_BYTES``, within ``WHOLE_S``, never silent for ``IDLE_S``. It goes to the spool; no pixel is decoded.

Whatever goes wrong is a value; it must never raise for what a name, a peer or a network does.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from msgspec import Struct, field

from gateway.bodies.contents import NOT_A_PICTURE, Fetched, Unfetched, Wanted
from gateway.bodies.spool import Spool, SpooledBody, SpoolFull
from gateway.core.netguard import is_address, is_public
from gateway.core.picture import PictureMeter
from gateway.core.record import timestamp
from gateway.core.types import Cause, Phase
from gateway.core.weburl import BadUrl, Origin, WebUrl, read_url
from gateway.ports import Clock, Events, ExchangeBroken
from gateway.upstream.connection import Connection
from gateway.upstream.dialing import Unreachable, address_of, connect, verifying
from gateway.upstream.requesting import head_of

MOST_REDIRECTS: Final = 3
MOST_BYTES: Final = 64 * 1024 * 1024  # the largest pictures anybody makes are under 50 MB
WHOLE_S: Final = 60.0  # for one picture, redirects included
CONNECT_S: Final = 5.0
IDLE_S: Final = 10.0

_MOST_ADDRESSES: Final = 16
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_JUST_BYTES: Final = frozenset({"", "application/octet-stream", "binary/octet-stream"})
_HEADERS: Final = (("accept", "image/*"), ("connection", "close"))

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Looks a name up: all its addresses. Raises ``OSError``."""


async def system_resolve(host: str, port: int) -> Sequence[str]:
    """Ask the system. Raises ``OSError``."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(one[4][0]) for one in found))


class Bounds(Struct, frozen=True, kw_only=True):
    """How much and how long (module docstring); seconds and bytes."""

    most_bytes: int = MOST_BYTES
    whole_s: float = WHOLE_S
    connect_s: float = CONNECT_S
    idle_s: float = IDLE_S


class Fetch(Struct, kw_only=True):
    """Downloads pictures; implements ``contents.Fetcher``. ``resolve`` and ``is_public`` are seams for tests."""

    spool: Spool
    events: Events
    clock: Clock
    bounds: Bounds = field(default_factory=Bounds)
    ssl_context: ssl.SSLContext | None = None  # ``None``: peers are verified against the system's store
    resolve: Resolve = system_resolve
    is_public: Callable[[str], bool] = is_public
    _under_way: set[asyncio.Timeout] = field(default_factory=set)
    _is_cut: bool = False

    async def fetch(self, wanted: Wanted) -> Fetched | Unfetched:
        """Get one picture; one that cannot be had is told of in the log, without its address."""
        got = await self._fetch(wanted)
        if isinstance(got, Unfetched):
            self.events.emit(
                {
                    "event": "picture.not_fetched",
                    "time": timestamp(self.clock.now()),
                    "request_id": wanted.request_id,
                    "reason": got.reason,
                }
            )
        return got

    async def _fetch(self, wanted: Wanted) -> Fetched | Unfetched:
        if self._is_cut:
            return Unfetched(reason="interrupted")
        now = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout_at(min(wanted.give_up_at, now + self.bounds.whole_s)) as scope:
                self._under_way.add(scope)
                try:
                    return await self._follow(wanted.url, wanted.own)
                finally:
                    self._under_way.discard(scope)
        except TimeoutError:
            return self._overdue()

    def _overdue(self) -> Unfetched:
        return Unfetched(reason="interrupted" if self._is_cut else "too_slow")

    def cut(self) -> None:
        """End every download that is under way, and every later one before it begins."""
        self._is_cut = True
        now = asyncio.get_running_loop().time()
        for scope in self._under_way:
            scope.reschedule(now)

    async def _follow(self, url: str, own: Origin | None) -> Fetched | Unfetched:
        for _ in range(MOST_REDIRECTS + 1):
            read = read_url(url, own)
            if isinstance(read, BadUrl):
                return Unfetched(reason=read.reason)
            trusted = own if read.origin == own else None
            addresses = await self._addresses(read.origin, is_own=trusted is not None)
            if isinstance(addresses, Unfetched):
                return addresses
            got = await self._get(read, addresses)
            if not isinstance(got, str):
                return got
            url, own = read.joined(got), trusted
        return Unfetched(reason="too_many_redirects")

    async def _addresses(self, origin: Origin, *, is_own: bool) -> Sequence[str] | Unfetched:
        """Look a host up, once, and judge all that comes of it."""
        try:
            found = [origin.host] if is_address(origin.host) else await self.resolve(origin.host, origin.port)
        except (OSError, UnicodeError):
            return Unfetched(reason="unresolved")
        if not found or not all(is_address(address) for address in found):
            return Unfetched(reason="unresolved")
        if not is_own and not all(self.is_public(address) for address in found):
            return Unfetched(reason="not_public")
        return found[:_MOST_ADDRESSES]

    async def _get(self, url: WebUrl, addresses: Sequence[str]) -> Fetched | Unfetched | str:
        """Make one call; a text is where a redirect leads. Raises ``TimeoutError``."""
        connection: Connection | None = None
        try:
            async with asyncio.timeout(self.bounds.connect_s):
                connection = await self._connect(url.origin, addresses)
            return await self._ask(connection, url)
        except Unreachable as error:
            return Unfetched(reason="tls" if error.cause is Cause.TLS else "broken")
        except ExchangeBroken:
            return Unfetched(reason="broken")
        finally:
            if connection is not None:
                connection.abort()

    async def _connect(self, origin: Origin, addresses: Sequence[str]) -> Connection:
        """Connect to one of these addresses and to no other. Raises ``Unreachable``."""
        loop = asyncio.get_running_loop()
        if origin.scheme == "https" and self.ssl_context is None:
            self.ssl_context = await asyncio.to_thread(verifying)
        tls = self.ssl_context if origin.scheme == "https" else None
        places = [address_of(address, origin.port) for address in addresses]
        return await connect(lambda: Connection(loop), places, tls, origin.host)

    async def _ask(self, connection: Connection, url: WebUrl) -> Fetched | Unfetched | str:
        """Ask, and take what comes."""
        connection.begin(head_of("GET", url.target, url.origin.authority, _HEADERS, None))
        while connection.phase is Phase.SENT and connection.cause is None:
            await self._more(connection)
        incoming = connection.incoming
        if incoming is None or connection.phase < Phase.ANSWERED:
            return Unfetched(reason="broken")
        if incoming.status in _REDIRECTS and "location" in incoming.headers:
            return incoming.headers["location"]
        return self._refusal(incoming.status, incoming.headers) or await self._take(connection)

    async def _piece(self, connection: Connection) -> bytes:
        """Give the next piece of the body; empty at the end. Raises ``ExchangeBroken`` and ``TimeoutError``."""
        while (piece := connection.piece()) is None:
            if connection.phase is Phase.DONE:
                return b""
            if connection.cause is not None:
                raise ExchangeBroken(connection.cause)
            await self._more(connection)
        return piece

    async def _more(self, connection: Connection) -> None:
        """Wait for more. Raises ``TimeoutError`` when nothing comes for too long."""
        if not await connection.wait(asyncio.get_running_loop().time() + self.bounds.idle_s):
            raise TimeoutError

    def _refusal(self, status: int, headers: Mapping[str, str]) -> Unfetched | None:
        """Say by its head why an answer is not taken."""
        if status != 200:
            return Unfetched(reason=f"status_{status}")
        if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
            return Unfetched(reason="compressed")
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in _JUST_BYTES and not kind.startswith("image/"):
            return Unfetched(reason=NOT_A_PICTURE)
        if int(headers.get("content-length", "0")) > self.bounds.most_bytes:
            return Unfetched(reason="too_large")
        return None

    async def _take(self, connection: Connection) -> Fetched | Unfetched:
        """Take the body into the spool."""
        body, meter = SpooledBody(self.spool), PictureMeter()
        kept = False
        try:
            while piece := await self._piece(connection):
                if body.length + len(piece) > self.bounds.most_bytes:
                    return Unfetched(reason="too_large")
                body.append(piece)
                meter.feed(piece)
            image = meter.facts()
            if image.format == "unknown":
                return Unfetched(reason=NOT_A_PICTURE)
            body.seal()
            kept = True
            return Fetched(body=body, image=image)
        except SpoolFull:
            return Unfetched(reason="no_room")
        finally:
            if not kept:
                body.close()
