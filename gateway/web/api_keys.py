"""The operator's calls about virtual keys: list them, make one, end one, add to its balance.

Rules: a key is shown in the one answer that makes it, and nowhere else. A call did what it says, or changed nothing.
What the database does, it does in a thread: nobody waits for it but the one who asked.
"""

import asyncio
from collections.abc import Callable

import orjson
from msgspec import Struct
from starlette.types import Receive, Scope

from gateway.core.keys import currencies, read_credits, read_order
from gateway.core.table import RouteTable
from gateway.core.types import JsonObject, JsonValue
from gateway.ports import Clock, KeyOffice, LedgerUnavailable
from gateway.web.admin import Addresses, Control, read_body
from gateway.web.answer import Answer
from gateway.web.errors import OperatorError

_UNWRITTEN = "The ledger cannot be written now, so nothing has changed."
_UNKNOWN = "There is no key of this id."


class Desk(Struct, frozen=True, kw_only=True):
    """Where keys are made and changed; ``table`` tells in which currencies prices are."""

    office: KeyOffice
    table: Callable[[], RouteTable]
    clock: Clock
    new_key_id: Callable[[], str]
    new_grant_id: Callable[[], str]
    new_text: Callable[[], str]

    async def listed(self) -> JsonObject:
        """Give all keys, newest first. Raises ``OperatorError``."""
        try:
            rows = await asyncio.to_thread(self.office.listed, self.clock.now())
        except LedgerUnavailable as lost:
            raise OperatorError(503, "The ledger cannot be read now.") from lost
        return {"data": [row.as_json() for row in rows]}

    async def create(self, order: JsonObject) -> JsonObject:
        """Make a key. Raises ``OperatorError``."""
        try:
            terms = read_order(order, currencies(self.table()))
        except ValueError as wrong:
            raise _bad(wrong) from None
        key_id, text = self.new_key_id(), self.new_text()
        try:
            await asyncio.to_thread(self.office.create, key_id, text, terms, self.clock.now())
        except LedgerUnavailable as lost:
            raise OperatorError(503, _UNWRITTEN) from lost
        return {"id": key_id, "key": text}

    async def revoke(self, key_id: str) -> JsonObject:
        """End a key. Raises ``OperatorError``."""
        try:
            is_known = await asyncio.to_thread(self.office.revoke, key_id, self.clock.now())
        except LedgerUnavailable as lost:
            raise OperatorError(503, _UNWRITTEN) from lost
        if not is_known:
            raise OperatorError(404, _UNKNOWN)
        return {"id": key_id, "revoked": True}

    async def credit(self, key_id: str, order: JsonObject) -> JsonObject:
        """Add to a key's balance. Raises ``OperatorError``."""
        if order.keys() != {"credits"}:
            raise OperatorError(400, "The body must be a JSON object with the key credits.")
        try:
            amount = read_credits(order["credits"])
        except ValueError as wrong:
            raise _bad(wrong) from None
        grant_id, now = self.new_grant_id(), self.clock.now()
        try:
            row = await asyncio.to_thread(self.office.credit, key_id, grant_id, amount, now)
        except LedgerUnavailable as lost:
            raise OperatorError(503, _UNWRITTEN) from lost
        if row is None:
            raise OperatorError(404, "There is no key of this id, or it was revoked.")
        return row.as_json()


def key_addresses(desk: Desk) -> Addresses:
    """Give the addresses of keys below ``/api``."""

    async def listed(_control: Control, _scope: Scope, _receive: Receive) -> Answer:
        return _json(await desk.listed())

    async def create(_control: Control, scope: Scope, receive: Receive) -> Answer:
        return _json(await desk.create(read_object(await read_body(scope, receive))))

    async def revoke(_control: Control, scope: Scope, _receive: Receive) -> Answer:
        return _json(await desk.revoke(scope["path_params"]["key_id"]))

    async def credit(_control: Control, scope: Scope, receive: Receive) -> Answer:
        order = read_object(await read_body(scope, receive))
        return _json(await desk.credit(scope["path_params"]["key_id"], order))

    return {
        "/api/keys": {"GET": listed, "POST": create},
        "/api/keys/{key_id}": {"DELETE": revoke},
        "/api/keys/{key_id}/credit": {"POST": credit},
    }


def read_object(body: bytes) -> JsonObject:
    """Read a body as a JSON object. Raises ``OperatorError``."""
    try:
        document: JsonValue = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict):
        raise OperatorError(400, "The body must be a JSON object.")
    return document


def _bad(wrong: ValueError) -> OperatorError:
    said = str(wrong)
    return OperatorError(400, f"{said[:1].upper()}{said[1:]}.")


def _json(document: JsonObject) -> Answer:
    return Answer(status=200, body=orjson.dumps(document))
