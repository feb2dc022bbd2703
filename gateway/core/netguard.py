"""Who can reach an address, and whether an address may be reached for a stranger; said of its text alone.

No name is looked up here. Rules: an address is public only when the registries of IANA say that it is, or when it
carries within it (``::ffff:a.b.c.d``, ``64:ff9b::a.b.c.d``) an IPv4 address that is; tunnels that lead elsewhere (6to4,
Teredo, ISATAP, IPv4-compatible) are not. Only the canonical way to write an address is one: what some libraries also
read as an address (``127.1``, ``0x7f000001``, ``2130706433``, ``0177.0.0.1``) is none. What is not known is not public.
"""

import ipaddress
import re
from typing import Final

FORWARDED: Final = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")  # a proxy was between

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _networks(*texts: str) -> tuple[_Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


# IANA IPv4 Special-Purpose Address Registry, multicast, class E, and addresses at which clouds answer their guests.
_NOT_PUBLIC_4: Final = _networks(
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24"),
    *("192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24"),
    *("198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
    "168.63.129.16/32",  # Azure's own services, on an address that looks public
)
_GLOBAL_6: Final = ipaddress.IPv6Network("2000::/3")  # the only part that is given out
# IANA IPv6 Special-Purpose Address Registry, as far as it lies within.
_NOT_PUBLIC_6: Final = _networks(
    "2001::/23",  # Teredo, benchmarking, ORCHID and others
    "2001:db8::/32",
    "2002::/16",  # 6to4
    "2620:4f:8000::/48",
    "3ffe::/16",  # the 6bone, given back
    "3fff::/20",
)
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_ISATAP: Final = frozenset({0x00005EFE, 0x02005EFE})
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*", re.IGNORECASE)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``: ``localhost``, or an address of the loopback networks."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def is_public(address: str) -> bool:
    """Whether an address, written canonically and without a zone, is one that anybody on the internet can reach."""
    if "%" in address:
        return False  # a zone: it is of a link
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        return _is_public_6(found)
    return _is_public_4(found)


def is_address(host: str) -> bool:
    """Whether a host is an address as it is written canonically, an IPv6 one without brackets."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return "%" not in host


def looks_like_an_address(host: str) -> bool:
    """Whether some library would take a host for an IPv4 address: its last label is a number in some notation."""
    return _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]) is not None


def _is_public_4(address: ipaddress.IPv4Address) -> bool:
    return not any(address in network for network in _NOT_PUBLIC_4)


def _is_public_6(address: ipaddress.IPv6Address) -> bool:
    within = address.ipv4_mapped
    if within is None and address in _NAT64:
        within = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if within is not None:
        return _is_public_4(within)
    if (int(address) >> 32) & 0xFFFFFFFF in _ISATAP:
        return False
    return address in _GLOBAL_6 and not any(address in network for network in _NOT_PUBLIC_6)
