"""Durations and sizes as people write them, and the other words with a form of their own.

Every function takes what stood in the file and gives the value, or raises ``ValueError`` with one sentence that says
what to write instead. No sentence repeats what was given, since it may be a secret in the wrong place.
"""

import re
from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit

from gateway.config.mistake import suggestion

_NUMBER = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)\s?([A-Za-z]*)")
_NO_TIME = re.compile(r"0{1,9}(?:\.0{1,6})?\s?(?:ms|s|m|h|d)")
_SECONDS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,6})?")
_CHANNEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_URL_TEXT = re.compile(r"[!-~]+")
_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")

DURATIONS: Mapping[str, float] = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
MAX_SECONDS = 365 * 86_400.0  # beyond it clocks and dates overflow, and nobody waits
SIZES: Mapping[str, int] = {
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
}


def seconds(value: object) -> float:
    """Read a duration (``500ms``, ``3s``, ``2m``, ``1h``, ``30d``) as seconds; more than zero, at most a year."""
    duration = _measure(value, DURATIONS, "a duration", "580s")
    if duration > MAX_SECONDS:
        raise ValueError("must be at most 365d")
    return duration


def wait(value: object) -> float:
    """Read a duration that may also be no time at all (``0s``)."""
    return 0.0 if isinstance(value, str) and _NO_TIME.fullmatch(value) else seconds(value)


def stretch(value: str) -> float:
    """Read how long something may take as seconds: a duration, or a bare number of seconds; zero is one too."""
    if _SECONDS.fullmatch(value):
        return seconds(f"{value}s") if float(value) else 0.0
    return seconds(value)


def octets(value: object) -> int:
    """Read a size (``32MB`` is 32 million bytes, ``1MiB`` is 1,048,576) as bytes; at least one."""
    return int(_measure(value, SIZES, "a size", "32MB"))


def whole(value: object) -> int:
    """Read a whole number, also one that came out of a variable and so is text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}", value):
        return int(value)
    raise ValueError("must be a whole number")


def text(value: str) -> str:
    """Take a line of text: something printable, at most 200 characters, no space at its ends."""
    if not value:
        raise ValueError("must not be empty")
    if len(value) > 200 or not value.isprintable() or value != value.strip():
        raise ValueError("must be one line of at most 200 printable characters, without a space at its ends")
    return value


def header_text(value: str) -> str:
    """Take a text that travels in a response header: printable ASCII besides."""
    if not text(value).isascii():
        raise ValueError("must be ASCII, since it travels in a response header")
    return value


def channel_name(value: str) -> str:
    """Take a channel's name: it travels in headers and stands before the slash of ``channel/row``."""
    if not _CHANNEL.fullmatch(value):
        raise ValueError("a channel's name is letters, digits, '.', '_' and '-', at most 64 of them")
    return value


def http_url(value: str) -> str:
    """Take an ``http(s)`` address without credentials, query or fragment; its trailing slash is dropped."""
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise ValueError("is not a URL: its host or port cannot be read") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be an http:// or https:// URL with a host")
    _refuse_parts(value, parts)
    if not _URL_TEXT.fullmatch(value) or "\\" in value or not _HOST.fullmatch(parts.hostname) or port == 0:
        raise ValueError("is not a URL: it holds a character or port that no URL has")
    return value.rstrip("/")


def host_of(url: str) -> str:
    """Give ``host[:port]`` of a URL that ``http_url`` took."""
    return urlsplit(url).netloc.lower()


def _refuse_parts(value: str, parts: SplitResult) -> None:
    if "@" in parts.netloc:
        raise ValueError("must not carry credentials: a channel's key belongs in api_key")
    if "?" in value:
        raise ValueError("must not carry a query")
    if "#" in value:
        raise ValueError("must not carry a fragment")


def _measure(value: object, units: Mapping[str, float], kind: str, example: str) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        raise ValueError(f"needs a unit: {kind} is written like {example}")  # noqa: TRY004  # pydantic reads ValueError
    match = _NUMBER.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"must be {kind}, written like {example}")
    number, unit = match.groups()
    if not unit:
        raise ValueError(f"needs a unit: {kind} is written like {example}")
    if unit not in units:
        raise ValueError(f"{kind} has one of the units {', '.join(units)}{suggestion(unit, units)}")
    amount = float(number) * units[unit]
    if amount * (1000 if "ms" in units else 1) < 1:
        raise ValueError("must be more than zero")
    return amount
