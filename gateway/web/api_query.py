"""The query of an operator's call, read strictly: a word that is not known, stands twice or has no value is said to be.

Must never repeat what was sent: a message names parameters that this program knows, and none that came.
"""

import base64
import binascii
import hashlib
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import parse_qsl

from starlette.types import Scope

from gateway.core.ids import is_id
from gateway.web.errors import OperatorError

MOST_PARAMETERS = 40
MOST_CHARS = 400
_CHECK_BYTES = 8
_DAY = "2026-11-20"
_CURSOR = "The cursor is not one that this call gave, or not for the same parameters."

Words = Mapping[str, Sequence[str]]


def words_of(scope: Scope, known: Collection[str], *, often: Collection[str] = ()) -> Words:
    """Give the parameters by name; those of ``often`` may stand more than once. Raises ``OperatorError``."""
    try:
        text = scope["query_string"].decode("ascii")
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MOST_PARAMETERS)
    except (UnicodeDecodeError, ValueError):
        raise bad("The query cannot be read.") from None
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        if name not in known:
            raise bad(f"The query may have the parameters {', '.join(sorted(known))}.")
        if name in found and name not in often:
            raise bad(f"The parameter {name} may stand once.")
        if not value or len(value) > MOST_CHARS or "\0" in value:
            raise bad(f"The parameter {name} must have 1 to {MOST_CHARS} characters.")
        found.setdefault(name, []).append(value)
    return found


def one(words: Words, name: str) -> str | None:
    """Give the value of a parameter that may stand once."""
    return words[name][0] if name in words else None


def whole(words: Words, name: str, lowest: int, highest: int) -> int | None:
    """Give the whole number of a parameter. Raises ``OperatorError``."""
    text = one(words, name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(highest)) and lowest <= int(text) <= highest):
        raise bad(f"The parameter {name} must be a whole number from {lowest} to {highest}.")
    return int(text)


def moment(words: Words, name: str) -> datetime | None:
    """Give the time of a parameter, UTC: a day, which is its midnight, or a time with its zone. Raises."""
    text = one(words, name)
    if text is None:
        return None
    is_day = len(text) == len(_DAY)
    try:
        given = datetime.fromisoformat(text)
        if given.tzinfo is not None or is_day:
            return given.replace(tzinfo=UTC) if is_day else given.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise bad(f"The parameter {name} must be like {_DAY} or {_DAY}T12:00:00Z.")


def cursor_of(last_id: str, asked: str) -> str:
    """Give the cursor of the page after ``last_id``, for whoever asks for the same again (``asked``)."""
    body = last_id.encode("ascii")
    return base64.urlsafe_b64encode(_check(body, asked) + body).decode("ascii").rstrip("=")


def after(cursor: str, asked: str, prefix: str = "req") -> str:
    """Give the id that a cursor's page starts after. Raises ``OperatorError`` for one that was not given for this."""
    try:
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        body = data[_CHECK_BYTES:].decode("ascii")
    except (binascii.Error, ValueError):
        raise bad(_CURSOR) from None
    if not is_id(prefix, body) or cursor_of(body, asked) != cursor:
        raise bad(_CURSOR)
    return body


def bad(message: str) -> OperatorError:
    """Give the problem of a call that cannot be understood."""
    return OperatorError(400, message)


def _check(body: bytes, asked: str) -> bytes:
    return hashlib.sha256(b"\0".join((body, asked.encode("utf-8", "surrogatepass")))).digest()[:_CHECK_BYTES]
