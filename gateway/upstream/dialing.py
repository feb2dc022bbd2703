"""From a name to a connected socket: look up, race the addresses, speak TLS.

Rules it keeps:
- A name is looked up in a thread, once for all who ask at the same time, and remembered for ``_REMEMBER_S``.
- Addresses are tried a quarter of a second apart, the families in turn; the first that answers is taken (RFC 8305).
- TLS verifies the name against the system's store unless another context is given, and offers HTTP/1.1 alone.
- Sockets are probed while silent: pictures take minutes, and middle boxes forget silent connections.
- What goes wrong is ``Unreachable`` with its cause: lookup, connecting and TLS are told apart by where they failed.

It must never take a proxy from the environment, bound its own time (callers do), or write a byte of a request.
"""

import asyncio
import encodings.idna  # noqa: F401 - else the first name that is looked up reads it, in the middle of a request
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain, zip_longest
from typing import Final, TypeVar

from msgspec import Struct

from gateway.core.netguard import is_address, looks_like_an_address
from gateway.core.types import Cause

Address = tuple[str, int] | tuple[str, int, int, int]
Ask = Callable[[str, int], Awaitable[Sequence[Address]]]
P = TypeVar("P", bound=asyncio.Protocol)

_REMEMBER_S: Final = 10.0
_MOST_NAMES: Final = 512
_APART_S: Final = 0.25
_PROBE_AFTER_S: Final = 45  # below the 60 s at which the strictest middle boxes forget a silent connection
_PROBE_EVERY_S: Final = 15
_PROBES: Final = 4


class Unreachable(Exception):
    """No connection; nothing of a request was sent."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(cause.value)
        self.cause = cause


class _Name(Struct, kw_only=True):
    """What is known of one name and port."""

    lock: asyncio.Lock
    addresses: Sequence[Address] = ()
    until: float = 0.0


class Names:
    """Looks names up, by asking ``ask``, and remembers; one per client."""

    __slots__ = ("_ask", "_known")

    def __init__(self, ask: Ask | None = None) -> None:
        self._ask = ask or look_up
        self._known: dict[tuple[str, int], _Name] = {}

    async def addresses(self, host: str, port: int) -> Sequence[Address]:
        """Give where a host lies, the families in turn. Raises ``Unreachable``."""
        if is_address(host):
            return [address_of(host, port)]
        if looks_like_an_address(host):
            raise Unreachable(Cause.CONNECT_FAILED)  # 127.1, 0x7f.1: not every program agrees on what that is
        loop = asyncio.get_running_loop()
        name = self._known.get((host, port))
        if name is None:
            self._make_room()
            name = self._known[host, port] = _Name(lock=asyncio.Lock())
        async with name.lock:
            if loop.time() >= name.until:
                name.addresses = await self._ask(host, port)
                name.until = loop.time() + _REMEMBER_S
            return name.addresses

    def _make_room(self) -> None:
        if len(self._known) >= _MOST_NAMES:
            self._known = {key: name for key, name in self._known.items() if name.lock.locked()}


async def look_up(host: str, port: int) -> Sequence[Address]:
    """Ask the system for all addresses of a name, the families in turn. Raises ``Unreachable``."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Unreachable(Cause.DNS) from error
    if not found:
        raise Unreachable(Cause.DNS)
    firsts: list[Address] = []
    others: list[Address] = []
    for family, *_, place in found:
        scope = int(place[3]) if len(place) == 4 else 0  # of a link-local address
        (firsts if family == found[0][0] else others).append(address_of(str(place[0]), port, scope))
    return [address for address in chain(*zip_longest(firsts, others)) if address is not None]


def address_of(host: str, port: int, scope: int = 0) -> Address:
    """Give a canonical address in the form that sockets take."""
    return (host, port, 0, scope) if ":" in host else (host, port)


def verifying() -> ssl.SSLContext:
    """Make the context for peers that the system's store knows (``SSL_CERT_FILE`` is OpenSSL's, and counts)."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


async def connect(factory: Callable[[], P], addresses: Sequence[Address], tls: ssl.SSLContext | None, name: str) -> P:
    """Connect to the first of ``addresses`` that answers; TLS, if any, is for ``name``. Raises ``Unreachable``."""
    opened = await _Race().run(addresses)
    loop = asyncio.get_running_loop()
    try:
        _, protocol = await loop.create_connection(
            factory, sock=opened, ssl=tls, server_hostname=name.rstrip(".") if tls is not None else None
        )
    except (OSError, ssl.CertificateError) as error:
        raise Unreachable(Cause.CONNECT_FAILED if tls is None else Cause.TLS) from error
    return protocol


class _Race:
    """Tries addresses one after the other, each a little later than the one before it; the first to answer wins."""

    def __init__(self) -> None:
        self._opened: list[socket.socket] = []
        self._refusals: list[OSError] = []

    async def run(self, addresses: Sequence[Address]) -> socket.socket:
        """Give a connected socket. Raises ``Unreachable`` for the first address's reason."""
        try:
            if len(addresses) == 1:
                await self._try(addresses[0])
            else:
                await self._try_all(addresses)
            if self._opened:
                return self._opened.pop(0)
        finally:
            for late in self._opened:
                late.close()
        raise Unreachable(_cause(self._refusals[0]) if self._refusals else Cause.CONNECT_FAILED)

    async def _try_all(self, addresses: Sequence[Address]) -> None:
        async with asyncio.TaskGroup() as group:
            running: set[asyncio.Task[None]] = set()
            for address in addresses:
                running.add(group.create_task(self._try(address)))
                _, running = await asyncio.wait(running, timeout=_APART_S, return_when=asyncio.FIRST_COMPLETED)
                if self._opened:
                    break
            while running and not self._opened:
                _, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in running:
                task.cancel()

    async def _try(self, address: Address) -> None:
        try:
            opened = open_socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
        except OSError as error:
            self._refusals.append(error)
            return
        done = False
        try:
            await asyncio.get_running_loop().sock_connect(opened, address)
            done = True
            self._opened.append(opened)
        except OSError as error:
            self._refusals.append(error)
        finally:
            if not done:
                opened.close()


def _cause(refusal: OSError) -> Cause:
    if isinstance(refusal, ConnectionRefusedError):
        return Cause.CONNECT_REFUSED
    return Cause.CONNECT_TIMEOUT if isinstance(refusal, TimeoutError) else Cause.CONNECT_FAILED


def open_socket(family: socket.AddressFamily) -> socket.socket:
    """Open a socket that does not block, does not gather small writes, and is probed while silent."""
    opened = socket.socket(family, socket.SOCK_STREAM)
    opened.setblocking(False)
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    probes = (("TCP_KEEPIDLE", _PROBE_AFTER_S), ("TCP_KEEPINTVL", _PROBE_EVERY_S), ("TCP_KEEPCNT", _PROBES))
    for name, value in probes:
        option = getattr(socket, name, None)  # macOS names the first one differently and keeps its own pace
        if option is not None:
            opened.setsockopt(socket.IPPROTO_TCP, option, value)
    return opened
