"""What a caller's headers ask of the gateway, and which of them travel on.

Rules: a directive that cannot be followed is refused, never dropped; only three headers of a caller ever travel, the
third, ``traceparent``, when it is one. Must never read a credential.
"""

import re
from collections.abc import Mapping

from gateway.core.fields import bad_value, unsupported
from gateway.core.traceparent import continued
from gateway.core.types import Directives, Refusal

MAX_TAGS = 16
FORWARDED = ("openai-beta", "x-client-request-id")

_CHANNEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_TAG = re.compile(r"([A-Za-z0-9_.-]{1,64})=([A-Za-z0-9_.:/@+-]{1,64})")
_JSON_KINDS = frozenset({"application/json", "application/*", "*/*"})
_PRINTABLE = re.compile(r"[\x20-\x7e]{0,512}")


def read_directives(headers: Mapping[str, str]) -> Directives | Refusal:
    """Read ``x-route-pin``, ``x-route-fallback`` and ``x-request-tags``; names of ``headers`` are lower-case."""
    if "idempotency-key" in headers:
        return unsupported("Idempotency-Key", "This version of the gateway does not build replay.")
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        return bad_value("content-encoding", "the body must be sent without compression.")
    pin = headers.get("x-route-pin")
    if pin is not None and not _CHANNEL.fullmatch(pin):
        return bad_value("x-route-pin", "must be the name of one channel.")
    fallback = headers.get("x-route-fallback")
    if fallback not in (None, "off"):
        return bad_value("x-route-fallback", "the only value is 'off'.")
    tags = _tags(headers.get("x-request-tags", ""))
    if isinstance(tags, Refusal):
        return tags
    return Directives(pin=pin, fallback=fallback is None, tags=tags, takes_json=_takes_json(headers.get("accept", "")))


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
