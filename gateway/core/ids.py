"""Ids of requests, attempts and the like: a prefix, an underscore and 32 hexadecimal digits, ordered by time.

Twelve digits are the Unix time in milliseconds, twenty are random. Time and randomness are given in: two calls with the
same arguments give the same id.
"""

import re

RANDOM_BYTES = 10
_DIGITS = re.compile(r"[0-9a-f]{32}")


def new_id(prefix: str, now_ms: int, random_bytes: bytes) -> str:
    """Give ``prefix_`` and 32 hex digits; ``now_ms`` is Unix time (48 bits), ``random_bytes`` are ten.

    Raises ``ValueError`` when either does not fit: that is a bug of the caller.
    """
    if len(random_bytes) != RANDOM_BYTES or not 0 <= now_ms < 1 << 48:
        raise ValueError("an id takes 48 bits of time and ten random bytes")
    return f"{prefix}_{now_ms:012x}{random_bytes.hex()}"


def is_id(prefix: str, text: str) -> bool:
    """Whether ``text`` is written as an id of this prefix."""
    return text.startswith(f"{prefix}_") and _DIGITS.fullmatch(text, len(prefix) + 1) is not None
