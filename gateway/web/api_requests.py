"""``GET /api/requests``: what was asked of the gateway, newest first, and how each request went.

Rules: a page starts after a request, never at a number of them, so that no page is slow and none repeats or leaves out
what was there when the first was asked for. A cursor belongs to the parameters it was given for.
"""

import orjson
from msgspec.structs import replace
from starlette.types import Receive, Scope

from gateway.core.ids import is_id
from gateway.ports import LedgerUnavailable
from gateway.ports.readings import Readings, RequestQuery, Standing
from gateway.web.admin import Addresses, Control
from gateway.web.answer import Answer
from gateway.web.api_query import Words, after, bad, cursor_of, moment, one, whole, words_of
from gateway.web.errors import OperatorError

LIMIT = 50
MOST = 500
PARAMETERS = (
    "owner", "channel", "model", "key", "class", "status", "since", "until", "tag", "limit", "cursor",
)  # fmt: skip
UNREADABLE = "The ledger cannot be read now."

_STATUSES = ", ".join(standing.value for standing in Standing)


def request_addresses(readings: Readings) -> Addresses:
    """Give the addresses that show requests."""

    async def listed(_control: Control, scope: Scope, _receive: Receive) -> Answer:
        query = query_of(words_of(scope, PARAMETERS, often=("tag",)))
        try:
            page = await readings.requests(query)
        except LedgerUnavailable as lost:
            raise OperatorError(503, UNREADABLE) from lost
        following = None if page.next is None else cursor_of(page.next, _asked(query))
        return Answer(status=200, body=orjson.dumps({"data": page.data, "next_cursor": following}))

    async def shown(_control: Control, scope: Scope, _receive: Receive) -> Answer:
        words_of(scope, ())
        name = scope["path_params"]["request_id"]
        try:
            record = await readings.request(name) if is_id("req", name) else None
        except LedgerUnavailable as lost:
            raise OperatorError(503, UNREADABLE) from lost
        if record is None:
            raise OperatorError(404, "The ledger has no request of this id.")
        return Answer(status=200, body=orjson.dumps(record))

    return {"/api/requests": {"GET": listed}, "/api/requests/{request_id}": {"GET": shown}}


def query_of(words: Words) -> RequestQuery:
    """Read what is asked of requests. Raises ``OperatorError``."""
    status, standing = _status(one(words, "status"))
    tags = tuple(dict.fromkeys(words.get("tag", ())))
    if not all("=" in tag for tag in tags):
        raise bad("The parameter tag must be like name=value.")
    query = RequestQuery(
        owner=one(words, "owner"),
        channel=one(words, "channel"),
        model=one(words, "model"),
        key=one(words, "key"),
        failure=one(words, "class"),
        status=status,
        standing=standing,
        tags=tags,
        since=moment(words, "since"),
        until=moment(words, "until"),
        limit=whole(words, "limit", 1, MOST) or LIMIT,
    )
    cursor = one(words, "cursor")
    return query if cursor is None else replace(query, before=after(cursor, _asked(query)))


def _status(text: str | None) -> tuple[int | None, Standing | None]:
    if text is None:
        return None, None
    if text in set(Standing):
        return None, Standing(text)
    if not (text.isascii() and text.isdigit() and len(text) == 3):
        raise bad(f"The parameter status must be an HTTP status or one of {_STATUSES}.")
    return int(text), None


def _asked(query: RequestQuery) -> str:
    """Give what a cursor is bound to: all that is asked for, but not how much of it at once."""
    return repr(replace(query, before=None, limit=0))
