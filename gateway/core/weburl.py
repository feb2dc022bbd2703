"""The address of a picture, read so strictly that no two programs can read it differently.

Rules: http or https; no user part; a host that is a name of letters, digits, hyphens and dots, or a canonical address;
a port that pictures are served on. Whatever else an address may hold is refused, not repaired: white space, control
characters, backslashes, what is not ASCII. It must never look a name up.
"""

import re
from typing import Final
from urllib.parse import urljoin

from msgspec import Struct

from gateway.core.netguard import is_address, looks_like_an_address

LONGEST: Final = 8 * 1024  # characters; signed links are long
PORTS: Final = frozenset({80, 443, 8080, 8443})

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_PARTS: Final = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://"
    r"(?P<host>\[[^\]/?#@]*\]|[^/?#@:\[\]]*)(?::(?P<port>[0-9]{0,5}))?"
    r"(?P<target>(?:/[^?#]*)?(?:\?[^#]*)?)(?:#.*)?"
)
_NAME: Final = re.compile(
    r"(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
)
_UNPRINTABLE: Final = re.compile(r"[^\x21-\x7e]|[\\\"<>^`{|}]")


class Origin(Struct, frozen=True, kw_only=True):
    """Where an address leads: ``host`` in lower case, an IPv6 address without its brackets."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """Host and port as the ``host`` header says them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


class WebUrl(Struct, frozen=True, kw_only=True):
    """An address that was read. ``target`` is path and query as they stand, at least ``/``."""

    origin: Origin
    target: str

    @property
    def text(self) -> str:
        """The address, written anew from its parts."""
        return f"{self.origin.scheme}://{self.origin.authority}{self.target}"

    def joined(self, location: str) -> str:
        """Give where a ``location`` header leads from here; whether that is an address is not said."""
        return urljoin(self.text, location)


class BadUrl(Struct, frozen=True, kw_only=True):
    """An address that is not taken; ``reason`` is a word."""

    reason: str


def read_url(text: str, own: Origin | None = None) -> WebUrl | BadUrl:
    """Read an address. ``own``: an origin that is trusted, and so may have any port."""
    if len(text) > LONGEST:
        return BadUrl(reason="too_long")
    if _UNPRINTABLE.search(text):
        return BadUrl(reason="bad_characters")
    found = _PARTS.fullmatch(text)
    scheme = (found["scheme"] if found is not None else text.partition(":")[0]).lower()
    if scheme not in _DEFAULT_PORTS:
        return BadUrl(reason="bad_scheme")
    if found is None or not (host := _host(found["host"])):
        return BadUrl(reason="bad_host")
    port = int(found["port"]) if found["port"] else _DEFAULT_PORTS[scheme]
    origin = Origin(scheme=scheme, host=host, port=port)
    if origin != own and port not in PORTS:
        return BadUrl(reason="bad_port")
    target = found["target"]
    return WebUrl(origin=origin, target=target if target.startswith("/") else f"/{target}")


def origin_of(url: str) -> Origin | None:
    """Give the origin of an operator's own address (``base_url``); ``None`` when it is none, or empty."""
    found = _PARTS.fullmatch(url)
    if found is None or found["scheme"].lower() not in _DEFAULT_PORTS or not (host := _host(found["host"])):
        return None
    scheme = found["scheme"].lower()
    return Origin(scheme=scheme, host=host, port=int(found["port"]) if found["port"] else _DEFAULT_PORTS[scheme])


def _host(text: str) -> str | None:
    """Give a host in lower case; ``None`` when two programs might not agree on it."""
    if text.startswith("["):
        inner = text[1:-1].lower()
        return inner if ":" in inner and is_address(inner) else None
    host = text.lower()
    if looks_like_an_address(host):
        return host if is_address(host) else None
    name = host.removesuffix(".")
    return name if len(name) <= 253 and _NAME.fullmatch(name) else None
