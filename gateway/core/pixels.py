"""Reads a size as the API writes it. Pure and total."""

import re

_SIZE = re.compile(r"([0-9]{1,6})x([0-9]{1,6})")


def pixels_of(size: str | None) -> int | None:
    """Give width x height of ``1024x1024``; ``None`` for anything else (absent, ``auto``, a word)."""
    match = _SIZE.fullmatch(size or "")
    return int(match[1]) * int(match[2]) if match else None
