"""What of a foreign text may leave the process: no credential, no picture, no address's private parts.

Rules: remove too much rather than too little; the result is never longer than its cap and can always be encoded. A
secret that is known is removed in every fragment of eight characters or more; one that is not known is removed by its
shape. It must never be the only guard: what is not needed is not repeated at all.
"""

import re
from collections.abc import Mapping, Sequence

from gateway.core.keyed import Keyed

MAX_CHARS = 2_000
HEADER_BYTES = 256

_READ_CHARS = 2 * MAX_CHARS
_FRAGMENT = 8
_SHORTEST_SECRET = 4
_MASK = "***"

_ADDRESS = re.compile(
    r"([a-z][a-z0-9+.-]{0,20}://)(?:[^\s?#\"'<>]*@)?([^\s?#\"'<>]*)(\?[^\s#\"'<>]*)?(?:#[^\s\"'<>]*)?", re.IGNORECASE
)
_QUERY_VALUE = re.compile(r"=[^&]*")
_SHAPES = (
    re.compile(r"()\bdata:[^\s\"'<>,;]{0,100}[,;][^\s\"'<>]*", re.IGNORECASE),
    re.compile(r"(\b(?:bearer|basic)\s{1,3})[^\s\"',]+", re.IGNORECASE),
    re.compile(
        r"(\b(?:(?:x-)?api[-_ ]?key|access[-_]?token|authorization|password|secret|token)\"?"
        r"(?:\s\w{1,20}){0,3}\s{0,3}[:=]\s{0,3}\"?)[^\s\"',;}]+",
        re.IGNORECASE,
    ),
    re.compile(r"(\bkey\s(?:ending|starting|beginning)\s(?:in|with)\s)[^\s\"']+", re.IGNORECASE),
    re.compile(r"()[^\s\"'=:]{0,64}\*{3,}[^\s\"',;)]*"),
    re.compile(r"()\b(?:sk|wb|pk|rk|xai|gsk|sess)[-_][A-Za-z0-9_-]{6,}"),
    re.compile(r"()\b(?:org-|proj_)[A-Za-z0-9]{8,}"),
    re.compile(r"()\bAIza[A-Za-z0-9_-]{20,}"),
    re.compile(r"()\beyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){1,4}"),
    re.compile(r"()[A-Za-z0-9+/_-]{64,}={0,2}"),
)
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,79}")
_UNSPEAKABLE = re.compile(r"[^\x20-\x7e\xa0-\xff]")


def redact(text: str, secrets: Sequence[str] = ()) -> str:
    """Give ``text`` without credentials, inline data, URL user parts and query values; at most 2,000 characters.

    ``secrets`` are those known to be near (the channels' keys); those under four characters are left out.
    """
    safe = text[:_READ_CHARS].encode("utf-8", "replace").decode()
    for secret in secrets:
        safe = _without(safe, secret)
    safe = _ADDRESS.sub(_bare_address, safe)
    for shape in _SHAPES:
        safe = shape.sub(rf"\1{_MASK}", safe)
    return safe if len(safe) <= MAX_CHARS else safe[: MAX_CHARS - 1] + "…"


def _without(text: str, secret: str) -> str:
    """Mask each run of ``text`` that consists of fragments of ``secret``."""
    size = min(_FRAGMENT, len(secret))
    if size < _SHORTEST_SECRET:
        return text
    fragments = {secret[at : at + size] for at in range(len(secret) - size + 1)}
    kept: list[str] = []
    hidden_until = 0
    for at, letter in enumerate(text):
        if text[at : at + size] in fragments:
            if at >= hidden_until:
                kept.append(_MASK)
            hidden_until = at + size
        if at >= hidden_until:
            kept.append(letter)
    return "".join(kept)


def _bare_address(match: re.Match[str]) -> str:
    scheme, place, query = match[1], match[2], match[3]
    return f"{scheme}{place}{_QUERY_VALUE.sub('=' + _MASK, query or '')}"


def without(headers: Mapping[str, str], secret: str) -> Mapping[str, str]:
    """Give an upstream's headers without those that repeat the key it was sent."""
    if len(secret) < _SHORTEST_SECRET or not any(secret in value for value in headers.values()):
        return headers
    return {name: value for name, value in headers.items() if secret not in value}


def is_plain(word: str) -> bool:
    """Whether a foreign word is harmless enough to be repeated in a header or a message: short, plain, no secret."""
    return _PLAIN.fullmatch(word) is not None and "//" not in word and redact(word) == word


def prompt_hash(key: Keyed, text: str) -> str:
    """Give ``hmac:`` and 32 hexadecimal digits: the keyed HMAC-SHA256 of a prompt, cut to 128 bits."""
    return "hmac:" + key.digest(text.encode("utf-8", "surrogatepass")).hex()[:32]


def header_value(text: str) -> str:
    """Give ``text`` as a header can carry it: no control character, Latin-1 only, at most 256 bytes."""
    return _UNSPEAKABLE.sub("", text)[:HEADER_BYTES].strip()
