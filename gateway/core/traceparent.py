"""A caller's trace, continued: the ``traceparent`` header of W3C Trace Context. Pure.

Rules: what is not a valid header is no trace, and no mistake of the caller's. A later version of the header is read as
far as this one knows it, and goes on as version 00. Nothing is invented: a request without a trace has none.
"""

import re
from typing import Final

_HEADER: Final = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(?P<rest>-.*)?"
)
_INVALID_VERSION: Final = "ff"
_OURS: Final = "00"
_SAMPLED: Final = 1


def continued(text: str) -> str | None:
    """Give the header as this gateway passes it on; ``None``: there is no trace in it."""
    match = _HEADER.fullmatch(text.strip(" \t"))
    if match is None or match["version"] == _INVALID_VERSION:
        return None
    if match["version"] == _OURS and match["rest"] is not None:
        return None
    if not (match["trace"].strip("0") and match["span"].strip("0")):
        return None
    flags = int(match["flags"], 16) if match["version"] == _OURS else int(match["flags"], 16) & _SAMPLED
    return f"{_OURS}-{match['trace']}-{match['span']}-{flags:02x}"


def in_span(header: str, span_id: str) -> str:
    """Give a header that ``continued`` gave with another span: 16 hexadecimal digits, not all zero."""
    version, trace, _, flags = header.split("-")
    return f"{version}-{trace}-{span_id}-{flags}"
