"""``/api/assets``: kept pictures, newest first, with what they came from and what came of them; verdicts; their end.

Rules: a page starts after a picture, never at a number of them. A picture that is gone is not there, whatever the
reason; its bytes follow once no other picture has them. A call did what it says, or changed nothing.
"""

from collections.abc import Callable, Sequence
from typing import Final

import orjson
from msgspec import Struct
from msgspec.structs import replace
from starlette.types import Receive, Scope

from gateway.core.assets import DELETION_POLICY, PREFIX, Asset, AssetId, Verdict
from gateway.core.ids import is_id
from gateway.core.record import MISSING, image_json, present, timestamp
from gateway.core.types import JsonObject, JsonValue
from gateway.ports import AssetBooks, AssetQuery, LedgerUnavailable
from gateway.web.admin import Addresses, Control, read_body
from gateway.web.answer import Answer
from gateway.web.api_query import Words, after, bad, cursor_of, one, whole, words_of
from gateway.web.arrival import origin_of
from gateway.web.errors import OperatorError

LIMIT: Final = 50
MOST: Final = 500
PARAMETERS: Final = ("request", "key", "model", "verdict", "sha256", "limit", "cursor")

_UNREADABLE: Final = "The ledger cannot be read now."
_UNWRITTEN: Final = "The ledger cannot be written now, so nothing has changed."
_UNKNOWN: Final = "There is no picture of this id."
_VERDICTS: Final = ", ".join(verdict.value for verdict in Verdict)


class Shelves(Struct, frozen=True, kw_only=True):
    """Where pictures are looked up; ``url`` gives the address of one, for who reached us by an origin."""

    books: AssetBooks
    url: Callable[[Asset, str], str | None]


def asset_addresses(shelves: Shelves) -> Addresses:
    """Give the addresses of kept pictures below ``/api``."""

    async def listed(_control: Control, scope: Scope, _receive: Receive) -> Answer:
        query = query_of(words_of(scope, PARAMETERS))
        try:
            page = await shelves.books.page(query)
            shown = await _shown(shelves, page.data, scope)
        except LedgerUnavailable as lost:
            raise OperatorError(503, _UNREADABLE) from lost
        following = None if page.next is None else cursor_of(page.next, _asked(query))
        return _json({"data": shown, "next_cursor": following})

    async def shown(_control: Control, scope: Scope, _receive: Receive) -> Answer:
        words_of(scope, ())
        return await _one(shelves, scope)

    async def removed(control: Control, scope: Scope, _receive: Receive) -> Answer:
        try:
            is_known = await shelves.books.remove(_id_of(scope), control.clock.now())
        except LedgerUnavailable as lost:
            raise OperatorError(503, _UNWRITTEN) from lost
        if not is_known:
            raise OperatorError(404, _UNKNOWN)
        return _json({"asset_id": _id_of(scope), "deleted": True})

    async def judged(control: Control, scope: Scope, receive: Receive) -> Answer:
        verdict = read_verdict(await read_body(scope, receive))
        try:
            is_known = await shelves.books.judge(_id_of(scope), verdict, control.clock.now())
        except LedgerUnavailable as lost:
            raise OperatorError(503, _UNWRITTEN) from lost
        if not is_known:
            raise OperatorError(404, _UNKNOWN)
        return await _one(shelves, scope)

    return {
        "/api/assets": {"GET": listed},
        "/api/assets/{asset_id}": {"GET": shown, "DELETE": removed},
        "/api/assets/{asset_id}/verdict": {"POST": judged},
    }


def query_of(words: Words) -> AssetQuery:
    """Read what is asked of pictures. Raises ``OperatorError``."""
    verdict = one(words, "verdict")
    if verdict is not None and verdict not in set(Verdict):
        raise bad(f"The parameter verdict must be one of {_VERDICTS}.")
    query = AssetQuery(
        request=one(words, "request"),
        scope=one(words, "key"),
        model=one(words, "model"),
        verdict=None if verdict is None else Verdict(verdict),
        sha256=one(words, "sha256"),
        limit=whole(words, "limit", 1, MOST) or LIMIT,
    )
    cursor = one(words, "cursor")
    return query if cursor is None else replace(query, before=after(cursor, _asked(query), PREFIX))


def read_verdict(body: bytes) -> Verdict | None:
    """Read ``{"verdict": "accepted|rejected|null"}``. Raises ``OperatorError``."""
    try:
        document: JsonValue = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict) or document.keys() != {"verdict"}:
        raise bad("The body must be a JSON object with the key verdict.")
    verdict = document["verdict"]
    if verdict is None:
        return None
    if not isinstance(verdict, str) or verdict not in set(Verdict):
        raise bad(f"The verdict must be one of {_VERDICTS}, or null.")
    return Verdict(verdict)


def asset_json(asset: Asset, url: str | None, children: Sequence[AssetId]) -> JsonObject:
    """Give a picture as the operator sees it; what is unknown is absent, but verdict and lineage are always there."""
    return {
        **present(
            {
                "asset_id": asset.asset_id,
                "request_id": asset.request_id,
                "key_id": asset.scope or None,
                "time": timestamp(asset.time),
                "model": asset.model,
                **image_json(asset.image),
                "media_type": asset.media_type,
                "asset": None if asset.is_stored else MISSING,
                "path": asset.path,
                "url": url,
                "expires_at": timestamp(asset.expires),
                "deletion_policy": DELETION_POLICY,
            }
        ),
        "verdict": asset.verdict,
        "parents": [{"asset_id": parent.asset_id, "role": parent.role} for parent in asset.parents],
        "children": list(children),
    }


async def _one(shelves: Shelves, scope: Scope) -> Answer:
    try:
        asset = await shelves.books.find(_id_of(scope))
        found = [] if asset is None else await _shown(shelves, [asset], scope)
    except LedgerUnavailable as lost:
        raise OperatorError(503, _UNREADABLE) from lost
    if not found:
        raise OperatorError(404, _UNKNOWN)
    return _json(found[0])


async def _shown(shelves: Shelves, found: Sequence[Asset], scope: Scope) -> list[JsonObject]:
    children = await shelves.books.children([asset.asset_id for asset in found])
    origin = origin_of(scope)
    return [asset_json(one, shelves.url(one, origin), children.get(one.asset_id, ())) for one in found]


def _id_of(scope: Scope) -> str:
    """Give the id in the path. Raises ``OperatorError`` for what is none."""
    name: str = scope["path_params"]["asset_id"]
    if not is_id(PREFIX, name):
        raise OperatorError(404, _UNKNOWN)
    return name


def _asked(query: AssetQuery) -> str:
    return repr(replace(query, before=None, limit=0))


def _json(document: JsonObject) -> Answer:
    return Answer(status=200, body=orjson.dumps(document))
