"""The head of one part of a form: its field's name, and whether its bytes are a picture, a file or a text.

Rules: one ``Content-Disposition`` with one plain name, or the form is refused: whatever two parsers might read in two
ways does not pass. A file's name is not kept.
"""

import re
from collections.abc import Sequence

from msgspec import Struct

from gateway.core.fields import bad_value
from gateway.core.types import InputRole, Refusal

MAX_HEAD = 8 * 1024  # bytes of one part's headers

_DISPOSITION = re.compile(
    rb'form-data((?:[ \t]*;[ \t]*[A-Za-z0-9_*-]+[ \t]*=[ \t]*(?:"(?:[^"\\]|\\.)*"|[^\s";\\]+))+)[ \t;]*'
)
_NAMES = re.compile(rb'[; \t"]name[ \t]*\*?[0-9]*[ \t]*=', re.IGNORECASE)
_NAME = re.compile(
    rb';[ \t]*name[ \t]*=[ \t]*(?:"([A-Za-z0-9_.\[\]-]{1,100})"|([A-Za-z0-9_.\[\]-]{1,100}))[ \t]*(?:;|$)',
    re.IGNORECASE,
)
_FILENAME = re.compile(rb"[; \t]filename[ \t]*\*?[ \t]*=", re.IGNORECASE)
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_CHARSET = re.compile(rb"charset[ \t]*=[ \t]*\"?([A-Za-z0-9_-]*)", re.IGNORECASE)
_PLAIN_ENCODINGS = frozenset({b"7bit", b"8bit", b"binary"})
_UTF8 = frozenset({b"utf-8", b"utf8", b"us-ascii"})
_ROLES = {"image": InputRole.IMAGE, "image[]": InputRole.IMAGE, "mask": InputRole.MASK, "markup": InputRole.MARKUP}


class PartHead(Struct, frozen=True, kw_only=True):
    """One field of a form. ``role`` is that of a picture; ``is_file``: it has a file name, so it is no text."""

    name: str
    is_file: bool
    role: InputRole | None


def malformed(rule: str) -> Refusal:
    """Refuse a form that is none; ``rule`` is what it breaks."""
    return Refusal(status=400, code="invalid_value", message=f"Invalid multipart form: {rule}")


def read_head(headers: Sequence[tuple[bytes, bytes]]) -> PartHead | Refusal:
    """Understand a part's headers (names in any case)."""
    dispositions = [value for name, value in headers if name.lower() == b"content-disposition"]
    if len(dispositions) != 1:
        return malformed("each part needs one Content-Disposition header.")
    disposition = dispositions[0].strip(b" \t")
    name = _NAME.search(disposition)
    is_plain = _DISPOSITION.fullmatch(disposition) and not _CONTROL.search(disposition)
    if not is_plain or name is None or len(_NAMES.findall(disposition)) != 1:
        return malformed("each part needs a Content-Disposition of form-data with one plain name.")
    text = (name[1] or name[2]).decode("ascii")
    role = _ROLES.get(text)
    is_file = role is not None or _FILENAME.search(disposition) is not None
    return _encoding_refusal(text, headers, is_file=is_file) or PartHead(name=text, is_file=is_file, role=role)


def _encoding_refusal(name: str, headers: Sequence[tuple[bytes, bytes]], *, is_file: bool) -> Refusal | None:
    for header, value in headers:
        if header.lower() == b"content-transfer-encoding" and value.strip(b" \t").lower() not in _PLAIN_ENCODINGS:
            return bad_value(name, "a part must not have a Content-Transfer-Encoding.")
        charset = _CHARSET.search(value) if header.lower() == b"content-type" and not is_file else None
        if charset is not None and charset[1].lower() not in _UTF8:
            return bad_value(name, "the charset of a text must be utf-8.")
    return None
