"""The headers that tell a client who served it: a record in, header pairs out; pure.

Rules: unknown means absent. Every value is printable Latin-1 of at most 256 bytes, whatever an upstream or a caller put
into the words it is made of, and a model's name cannot forge another part of ``x-model-mapping``. ``x-request-id`` is
not made here: the edge puts it on every answer. A header of an upstream travels only by being named here.
"""

import math
import re
from collections.abc import Iterable
from urllib.parse import quote

from gateway.core.record import Mapping3, Record
from gateway.core.redact import HEADER_BYTES, header_value

Headers = list[tuple[bytes, bytes]]

_TRAVELLING = frozenset({"openai-processing-ms", "openai-version"})
_RETRIABLE = frozenset({409, 429, 503})
_SOONEST_S = 1
_MODEL_CHARS = " !#$%&'()*+,/:<>?@[]^`{|}~"  # all that is printable but ; and = and the quotes' look-alikes
_PLAIN = re.compile(r"[A-Za-z0-9._-]+")  # what most models' names are made of
_CUT = "~"
MOST_ASSETS = 16  # named on the answer: more than a request may ask for


def stamps(record: Record) -> Headers:
    """Give the stamps of a settled request, in the order of the public table.

    ``x-route-attempts`` is always there, also as 0: a record knows how many attempts were started.
    """
    found: list[tuple[str, str | None]] = []
    if record.attempts:
        last = record.attempts[-1]
        found += [
            ("x-route-owner", last.owner),
            ("x-route-channel", last.channel),
            ("x-upstream-request-id", last.upstream_request_id),
        ]
    if record.mapping is not None:
        found.append(("x-model-mapping", mapping_value(record.mapping)))
    found += [
        ("x-route-attempts", str(len(record.attempts))),
        ("x-retry-reason", record.retry_reason),
        ("x-route-warnings", _warnings(record.result.warnings)),
        ("x-cost", _cost(record)),
        ("x-credits", _credits(record)),
        ("server-timing", _timing(record)),
    ]
    return [*_encoded(found), *_assets(record)]


def unstarted(headers: Iterable[tuple[bytes, bytes]], elapsed_s: float) -> Headers:
    """Give the stamps of an answer that has none yet, and for which nothing was started."""
    if any(name == b"x-route-attempts" for name, _ in headers):
        return []
    return [(b"x-route-attempts", b"0"), (b"server-timing", b"gateway;dur=%.1f" % max(0.0, elapsed_s * 1000))]


def advice(record: Record, *, may_retry: bool, retry_after_s: float | None) -> Headers:
    """Say whether trying an error again can help: only ours, only when this request started no attempt."""
    if not (may_retry and record.result.status in _RETRIABLE and not record.attempts):
        return [(b"x-should-retry", b"false")]
    return retry_advice(retry_after_s)


def retry_advice(retry_after_s: float | None) -> Headers:
    """Give the two headers that tell a client when to come back; ``None``: never. Whole seconds, at least one."""
    if retry_after_s is None:
        return [(b"x-should-retry", b"false")]
    seconds = max(_SOONEST_S, math.ceil(retry_after_s))
    return [(b"x-should-retry", b"true"), (b"retry-after", b"%d" % seconds)]


def travelled(upstream_headers: Iterable[tuple[str, str]]) -> Headers:
    """Give those of an upstream's headers that a client may see."""
    return _encoded((name, value) for name, value in upstream_headers if name in _TRAVELLING)


def mapping_value(mapping: Mapping3) -> str:
    """Write the three model names, and the tool's two; long names are cut evenly to fit and end in ``~`` then."""
    words = [("asked", mapping.asked), ("sent", mapping.sent), ("served", mapping.served or "unverified")]
    if mapping.tool_asked is not None:
        words.append(("tool_asked", mapping.tool_asked))
    if mapping.tool_sent is not None:
        words.append(("tool_sent", mapping.tool_sent))
    parts = [(label, word if _PLAIN.fullmatch(word) else _quoted(word)) for label, word in words]
    whole = _joined(parts)
    if len(whole) <= HEADER_BYTES:
        return whole
    room = (HEADER_BYTES - len(_joined([(label, "") for label, _ in parts]))) // len(parts)
    return _joined([(label, word if len(word) <= room else word[: room - 1] + _CUT) for label, word in parts])


def _quoted(word: str) -> str:
    return quote(word, safe=_MODEL_CHARS, errors="replace")


def _joined(parts: list[tuple[str, str]]) -> str:
    return "; ".join([f"{label}={word}" for label, word in parts])


def _cost(record: Record) -> str | None:
    """Give the cost of all attempts; the head of a stream goes out before it is known."""
    cost = None if record.stream else record.cost
    return None if cost is None else cost.stamp


def _credits(record: Record) -> str | None:
    """Give the credits that the key was charged; of a stream they are known at its end only."""
    return None if record.stream or record.credits is None else str(record.credits)


def _warnings(words: Iterable[str]) -> str | None:
    """List the warnings, as many whole words as a header holds."""
    said = ""
    for word in words:
        longer = f"{said}, {word}" if said else word
        said = longer if len(longer) <= HEADER_BYTES else said
    return said or None


def _assets(record: Record) -> Headers:
    """List the pictures that were kept; the record has them all."""
    found = [asset.asset_id for asset in record.result.assets if asset is not None]
    return [(b"x-asset-ids", ",".join(found[:MOST_ASSETS]).encode())] if found else []


def _timing(record: Record) -> str:
    gateway = f"gateway;dur={record.gateway_ms}"
    return f"upstream;dur={record.upstream_ms}, {gateway}" if record.attempts else gateway


def _encoded(pairs: Iterable[tuple[str, str | None]]) -> Headers:
    """Drop what is unknown or says nothing once it is cleaned."""
    clean = [(name, header_value(value)) for name, value in pairs if value is not None]
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in clean if value]
