"""The bounds on what a client sends and how it reads; ``web/protocol.py`` keeps to them."""

from msgspec import Struct


class Receipt(Struct, frozen=True, kw_only=True):
    """What is granted to a client. Seconds and bytes.

    In every ``idle_s`` at least ``idle_bytes`` of a body must come. ``stall_s``: how long an answer may wait for its
    reader. ``linger_s`` and ``linger_bytes``: what is still read after an answer that ends the connection.
    ``keep_alive_s``: how long a connection may be idle between requests.
    """

    head_s: float = 10.0
    head_bytes: int = 64 * 1024
    trailer_bytes: int = 8 * 1024
    idle_s: float = 60.0
    idle_bytes: int = 16 * 1024
    stall_s: float = 60.0
    linger_s: float = 1.0
    linger_bytes: int = 1024 * 1024
    keep_alive_s: int = 75


DEFAULT_RECEIPT = Receipt()
