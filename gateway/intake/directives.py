"""What a caller's headers ask of the gateway, and which of them travel on.

Rules: a directive that cannot be followed is refused, never dropped; only three headers of a caller ever travel, the
third, ``traceparent``, when it is one. Must never read a credential.
"""

import hashlib
import re
from collections.abc import Mapping

from gateway.core.fields import bad_value, unsupported
from gateway.core.flights import FLIGHT
from gateway.core.ids import is_id
from gateway.core.traceparent import continued
from gateway.core.types import Directives, Refusal

MAX_TAGS = 16
FORWARDED = ("openai-beta", "x-client-request-id")

PIN = "x-route-pin"
FALLBACK = "x-route-fallback"
TAGS = "x-request-tags"

_CHANNEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_TAG = re.compile(r"([A-Za-z0-9_.-]{1,64})=([A-Za-z0-9_.:/@+-]{1,64})")
_JSON_KINDS = frozenset({"application/json", "application/*", "*/*"})
_KEY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")
_PRINTABLE = re.compile(r"[\x20-\x7e]{0,512}")


def read_directives(headers: Mapping[str, str]) -> Directives | Refusal:
    """Read ``x-route-pin``, ``x-route-fallback`` and ``x-request-tags``; names of ``headers`` are lower-case."""
    key = headers.get("idempotency-key")
    if key is not None and not _KEY.fullmatch(key):
        return bad_value("Idempotency-Key", "must be 1 to 255 printable ASCII characters.")
    flight = headers.get("x-flight-id")
    if flight is not None and not is_id(FLIGHT, flight):
        return bad_value("x-flight-id", "must be the id of a flight.")
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        return bad_value("content-encoding", "the body must be sent without compression.")
    pin = headers.get(PIN)
    if pin is not None and not _CHANNEL.fullmatch(pin):
        return bad_value(PIN, "must be the name of one channel.")
    fallback = headers.get(FALLBACK)
    if fallback not in (None, "off"):
        return bad_value(FALLBACK, "the only value is 'off'.")
    tags = _tags(headers.get(TAGS, ""))
    if isinstance(tags, Refusal):
        return tags
    return Directives(
        pin=pin,
        fallback=fallback is None,
        tags=tags,
        takes_json=_takes_json(headers.get("accept", "")),
        idempotency=None if key is None else hashlib.sha256(key.encode("ascii")).hexdigest(),
        flight=flight,
        respond_async="respond-async" in headers.get("prefer", "").lower() and _prefers_async(headers["prefer"]),
        is_retry=headers.get("x-stainless-retry-count", "0") not in ("", "0"),
    )


def refuse_replay(directives: Directives) -> Refusal | None:
    """Refuse, where nothing is bought, what only makes sense where something is."""
    if directives.idempotency is not None:
        return unsupported("Idempotency-Key", "It is taken where something is bought: with the three POSTs.")
    if directives.flight is not None:
        return unsupported("x-flight-id", "It is taken with the three POSTs.")
    return None


def _prefers_async(prefer: str) -> bool:
    """Whether one of the preferences is ``respond-async``; others are for others, as RFC 7240 has it."""
    return any(word.partition(";")[0].strip().lower() == "respond-async" for word in prefer.split(","))


def _takes_json(accept: str) -> bool:
    """Whether a client may be given JSON; one that says nothing takes anything, and so does one that asks for JSON."""
    kinds = {kind.partition(";")[0].strip().lower() for kind in accept.split(",")} - {""}
    return not kinds or not kinds.isdisjoint(_JSON_KINDS)


def _tags(text: str) -> tuple[tuple[str, str], ...] | Refusal:
    words = [word.strip(" \t") for word in text.split(",", MAX_TAGS)] if text.strip(" \t") else []
    found = [_TAG.fullmatch(word) for word in words]
    tags = {match[1]: match[2] for match in found if match is not None}
    if len(words) > MAX_TAGS or len(tags) != len(words):
        return bad_value(
            "x-request-tags", f"must be at most {MAX_TAGS} different tags, name=value, each of at most 64 characters."
        )
    return tuple(tags.items())


def read_forwarded(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...] | Refusal:
    """Give the caller's headers that travel to the upstream."""
    trace = continued(headers.get("traceparent", ""))
    found = tuple((name, headers[name]) for name in FORWARDED if name in headers)
    for name, value in found:
        if not _PRINTABLE.fullmatch(value):
            return bad_value(name, "must be printable ASCII of at most 512 characters.")
    return found if trace is None else (*found, ("traceparent", trace))
