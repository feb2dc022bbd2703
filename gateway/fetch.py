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
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import AddrInfoType
from aiohttp.http_exceptions import HttpProcessingError
from msgspec import Struct, field
from yarl import URL

from gateway import __version__
from gateway.contents import NOT_A_PICTURE, Fetched, Unfetched, Wanted
from gateway.core.netguard import is_address, is_public
from gateway.core.picture import PictureMeter
from gateway.core.record import timestamp
from gateway.core.weburl import BadUrl, Origin, WebUrl, read_url
from gateway.ports import Clock, Events
from gateway.spool import Spool, SpooledBody, SpoolFull

MOST_REDIRECTS: Final = 3
MOST_BYTES: Final = 64 * 1024 * 1024  # the largest pictures anybody makes are under 50 MB
WHOLE_S: Final = 60.0  # for one picture, redirects included
CONNECT_S: Final = 5.0
IDLE_S: Final = 10.0

_LONGEST_HEADER: Final = 8 * 1024
_MOST_HEADERS: Final = 64
_READ_BUFFER: Final = 64 * 1024
_MOST_ADDRESSES: Final = 16
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_JUST_BYTES: Final = frozenset({"", "application/octet-stream", "binary/octet-stream"})
_HEADERS: Final = (
    ("user-agent", f"waybill/{__version__}"),
    ("accept", "image/*"),
    ("accept-encoding", "identity"),
)

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
        if not found:
            return Unfetched(reason="unresolved")
        if not is_own and not all(self.is_public(address) for address in found):
            return Unfetched(reason="not_public")
        return found[:_MOST_ADDRESSES]

    async def _get(self, url: WebUrl, addresses: Sequence[str]) -> Fetched | Unfetched | str:
        """Make one call; a text is where a redirect leads."""
        try:
            async with (
                self._session(addresses) as session,
                session.get(URL(url.text, encoded=True), allow_redirects=False) as answer,
            ):
                if answer.status in _REDIRECTS and "location" in answer.headers:
                    return answer.headers["location"]
                refused = self._refusal(answer)
                return refused or await self._take(answer.content)
        except aiohttp.ServerTimeoutError:
            return Unfetched(reason="too_slow")
        except (aiohttp.ClientError, HttpProcessingError, OSError, UnicodeError) as error:
            is_tls = isinstance(error, (aiohttp.ClientSSLError, ssl.SSLError))
            return Unfetched(reason="tls" if is_tls else "broken")

    def _session(self, addresses: Sequence[str]) -> aiohttp.ClientSession:
        """Open a client that can reach these addresses and no other."""
        connector = aiohttp.TCPConnector(
            resolver=_Pinned(addresses),
            socket_factory=_dial_only(frozenset(addresses)),
            use_dns_cache=False,
            force_close=True,
            ssl=True if self.ssl_context is None else self.ssl_context,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=_HEADERS,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self.bounds.connect_s, sock_read=self.bounds.idle_s),
            trust_env=False,
            auto_decompress=False,
            read_bufsize=_READ_BUFFER,
            max_line_size=_LONGEST_HEADER,
            max_field_size=_LONGEST_HEADER,
            max_headers=_MOST_HEADERS,
        )

    def _refusal(self, answer: aiohttp.ClientResponse) -> Unfetched | None:
        """Say by its head why an answer is not taken."""
        if answer.status != 200:
            return Unfetched(reason=f"status_{answer.status}")
        if answer.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
            return Unfetched(reason="compressed")
        kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in _JUST_BYTES and not kind.startswith("image/"):
            return Unfetched(reason=NOT_A_PICTURE)
        if (answer.content_length or 0) > self.bounds.most_bytes:
            return Unfetched(reason="too_large")
        return None

    async def _take(self, content: aiohttp.StreamReader) -> Fetched | Unfetched:
        """Take the body into the spool."""
        body, meter = SpooledBody(self.spool), PictureMeter()
        kept = False
        try:
            async for piece in content.iter_any():
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


class _Pinned(AbstractResolver):
    """Gives the addresses that were judged, whatever is asked."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        del family  # whatever they are
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        """Nothing is held."""


def _dial_only(addresses: frozenset[str]) -> Callable[[AddrInfoType], socket.socket]:
    """Open sockets for these addresses; the last look before a connection is made."""

    def opened(address: AddrInfoType) -> socket.socket:
        if address[4][0] not in addresses:
            raise OSError("an address that was not judged")
        return socket.socket(family=address[0], type=address[1], proto=address[2])

    return opened
