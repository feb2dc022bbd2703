"""The command line's HTTP client: the only place in ``cli`` that talks to a running gateway.

Failures are values. Proxies of the environment are not used: a gateway's address is meant as it is written.
"""

import re
from dataclasses import dataclass

import httpx2
import orjson

from gateway.core.table import Secret
from gateway.core.types import JsonObject

TIMEOUT_S = 5.0
_ERRNO = re.compile(r"\[Errno -?\d+\] ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer: its status, and its body when that was a JSON object."""

    status: int
    document: JsonObject | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreached:
    """No answer came; ``why`` is a few words."""

    why: str


def get(url: str, api_key: Secret | None = None, *, timeout_s: float = TIMEOUT_S) -> Reply | Unreached:
    """Fetch one address. Redirects are not followed."""
    return _ask("GET", url, None, api_key, timeout_s)


def post(
    url: str, document: JsonObject, api_key: Secret | None = None, *, timeout_s: float = TIMEOUT_S
) -> Reply | Unreached:
    """Send one JSON object to an address. Redirects are not followed."""
    return _ask("POST", url, orjson.dumps(document), api_key, timeout_s)


def _ask(method: str, url: str, body: bytes | None, api_key: Secret | None, timeout_s: float) -> Reply | Unreached:
    headers = {} if api_key is None else {"authorization": f"Bearer {api_key.reveal()}"}
    if body is not None:
        headers["content-type"] = "application/json"
    try:
        answer = httpx2.request(method, url, content=body, headers=headers, timeout=timeout_s, trust_env=False)
    except httpx2.TimeoutException:
        return Unreached(why=f"no answer within {timeout_s:g} s")
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        return Unreached(why=_ERRNO.sub("", str(error)).lower() or type(error).__name__)
    return Reply(status=answer.status_code, document=_object(answer.content))


def _object(body: bytes) -> JsonObject | None:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) else None
