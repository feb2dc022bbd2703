"""The command line's HTTP client: the only place in ``cli`` that talks to a running gateway.

Failures are values. Proxies of the environment are not used: a gateway's address is meant as it is written.
"""

import re
import time
from collections.abc import Callable, Mapping

import httpx2
import orjson
from msgspec import Struct

from gateway.core.table import Secret
from gateway.core.types import JsonObject

TIMEOUT_S = 5.0
EVENT_STREAM = "text/event-stream"
MOST_BYTES = 1_000_000_000
_ERRNO = re.compile(r"\[Errno -?\d+\] ")


class Reply(Struct, frozen=True, kw_only=True):
    """An answer: its status, and its body when that was a JSON object."""

    status: int
    document: JsonObject | None


class Unreached(Struct, frozen=True, kw_only=True):
    """No whole answer came; ``why`` is a few words.

    ``sent``: the request may have been acted on. ``was_late``: the time was over.
    """

    why: str
    sent: bool = False
    was_late: bool = False


class Letter(Struct, frozen=True, kw_only=True):
    """A request as it goes out: its headers without the key, and its body."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes = b""


class Answer(Struct, frozen=True, kw_only=True):
    """A whole answer: header names in lower case, how long it took, and its bytes unless a listener took them."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    took_s: float

    @property
    def document(self) -> JsonObject | None:
        """The body when it is a JSON object."""
        return _object(self.body)


def get(url: str, api_key: Secret | None = None, *, timeout_s: float = TIMEOUT_S) -> Reply | Unreached:
    """Fetch one address. Redirects are not followed."""
    return _ask("GET", url, None, api_key, timeout_s)


def post(
    url: str, document: JsonObject, api_key: Secret | None = None, *, timeout_s: float = TIMEOUT_S
) -> Reply | Unreached:
    """Send one JSON object to an address. Redirects are not followed."""
    return _ask("POST", url, orjson.dumps(document), api_key, timeout_s)


def send(
    letter: Letter,
    *,
    timeout_s: float,
    api_key: Secret | None = None,
    listen: Callable[[bytes], None] | None = None,
    most_bytes: int = MOST_BYTES,
) -> Answer | Unreached:
    """Send one request and take its whole answer. ``timeout_s`` bounds each silence, not the whole.

    ``listen`` is given the pieces of a stream of events as they come; then the answer has no body. An answer of more
    than ``most_bytes`` is given up. Redirects are not followed.
    """
    begun = time.monotonic()
    headers = {**letter.headers, **({} if api_key is None else {"authorization": f"Bearer {api_key.reveal()}"})}
    limit = httpx2.Timeout(timeout_s, connect=min(timeout_s, TIMEOUT_S))
    try:
        with httpx2.stream(
            letter.method, letter.url, content=letter.body, headers=headers, timeout=limit, trust_env=False
        ) as answer:
            is_stream = answer.headers.get("content-type", "").startswith(EVENT_STREAM)
            body = _taken(answer, listen if is_stream else None, most_bytes)
            heads = {name.lower(): value for name, value in answer.headers.items()}
    except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
        return Unreached(why=_words(error))
    except httpx2.TimeoutException:
        return Unreached(why=late(timeout_s), sent=True, was_late=True)
    except httpx2.HTTPError as error:
        return Unreached(why=_words(error), sent=True)
    if body is None:
        return Unreached(why=f"the answer has more than {most_bytes:,} bytes", sent=True)
    return Answer(status=answer.status_code, headers=heads, body=body, took_s=time.monotonic() - begun)


def late(timeout_s: float) -> str:
    """Say that the time is over."""
    return f"no answer within {timeout_s:g} s"


def _taken(answer: httpx2.Response, listen: Callable[[bytes], None] | None, most_bytes: int) -> bytes | None:
    """Take the body; nothing when it is too large."""
    kept = bytearray()
    count = 0
    for piece in answer.iter_bytes():
        count += len(piece)
        if count > most_bytes:
            return None
        if listen is None:
            kept += piece
        else:
            listen(piece)
    return bytes(kept)


def _words(error: Exception) -> str:
    return _ERRNO.sub("", str(error)).lower() or type(error).__name__


def _ask(method: str, url: str, body: bytes | None, api_key: Secret | None, timeout_s: float) -> Reply | Unreached:
    headers = {} if api_key is None else {"authorization": f"Bearer {api_key.reveal()}"}
    if body is not None:
        headers["content-type"] = "application/json"
    try:
        answer = httpx2.request(method, url, content=body, headers=headers, timeout=timeout_s, trust_env=False)
    except httpx2.TimeoutException:
        return Unreached(why=late(timeout_s), was_late=True)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        return Unreached(why=_words(error))
    return Reply(status=answer.status_code, document=_object(answer.content))


def _object(body: bytes) -> JsonObject | None:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) else None
