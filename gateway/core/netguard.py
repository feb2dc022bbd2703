"""Who can reach an address; said of its text alone, no name is looked up."""

import ipaddress
from typing import Final

FORWARDED: Final = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")  # a proxy was between


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``: ``localhost``, or an address of the loopback networks."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
