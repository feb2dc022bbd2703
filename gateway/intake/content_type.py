"""Which of the two bodies a content type announces, and its boundary.

Rules: strict, so that the upstream cannot read the same bytes another way: one media type, UTF-8, a boundary as RFC
2046 allows it. The type that travels is written anew from what was understood.
"""

import re

from msgspec import Struct

from gateway.core.fields import bad_value
from gateway.core.types import Refusal, Surface

_PARAMETER = re.compile(r';[ \t]*([A-Za-z0-9!#$%&*+.^_`|~-]+)=(?:"([^"\\\r\n]*)"|([^\s";,\\]+))[ \t]*')
_JSON = re.compile(r"application/(?:json|[a-z0-9!#$&^_.-]+\+json)")
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")
_TOKEN = re.compile(r"[0-9A-Za-z'+_.-]+")
_UTF8 = frozenset({"utf-8", "utf8", "us-ascii"})
_HEADER = "content-type"


class BodyKind(Struct, frozen=True, kw_only=True):
    """A body to come: ``boundary`` is that of a form, ``None`` says JSON; ``content_type`` is what travels."""

    content_type: str
    boundary: str | None = None


def read_content_type(header: str | None, surface: Surface) -> BodyKind | Refusal:
    """Understand a content type on a surface: JSON everywhere, a form on edits only."""
    form_allowed = surface is Surface.EDITS
    expected = "must be application/json or multipart/form-data." if form_allowed else "must be application/json."
    essence, _, rest = (header or "").partition(";")
    stated = rest.rstrip("; \t")
    parameters = _parameters(f";{stated}" if stated else "")
    media = essence.strip(" \t").lower()
    if parameters is None:
        return bad_value(_HEADER, expected)
    if parameters.get("charset", "utf-8").lower() not in _UTF8:
        return bad_value(_HEADER, "the charset must be utf-8.")
    if _JSON.fullmatch(media):
        return BodyKind(content_type="application/json")
    if media != "multipart/form-data" or not form_allowed:
        return bad_value(_HEADER, expected)
    boundary = parameters.get("boundary", "")
    if not _BOUNDARY.fullmatch(boundary):
        return bad_value(_HEADER, "multipart/form-data needs a boundary of 1 to 70 characters.")
    written = boundary if _TOKEN.fullmatch(boundary) else f'"{boundary}"'
    return BodyKind(content_type=f"multipart/form-data; boundary={written}", boundary=boundary)


def _parameters(text: str) -> dict[str, str] | None:
    """Give the parameters by lower-case name; ``None`` when they are ill-formed or one comes twice."""
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        match = _PARAMETER.match(text, at)
        if match is None or match[1].lower() in found:
            return None
        found[match[1].lower()] = match[2] if match[2] is not None else match[3]
        at = match.end()
    return found
