"""One request as it reaches the gateway: its identity, whether a body comes with it, and that body in pieces.

Rules: a request gets its id before anything is judged about it. A client that leaves while it is still sending is
``ClientGone`` for whoever reads; nothing here decides what that means.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Self

from msgspec import Struct, field
from starlette.types import Receive, Scope

from gateway.core.principal import ANYONE, Principal
from gateway.core.types import RequestId
from gateway.intake.incoming import ClientGone, Take
from gateway.ports import LedgerWait

LEAVING = "waybill.leaving"

_VISIT = "waybill.visit"


class Visit(Struct, kw_only=True):
    """Who a request is, and how far it got.

    ``settled`` turns true once its record has been written by the relay, ``body_read`` once its last byte was seen,
    ``has_left`` when the client goes, where the protocol below tells it (``tells_leaving``). ``principal`` is who asks,
    once the door knows; ``headers`` go on its answer, whatever that is; ``wait`` is what it has waited for the ledger;
    ``take`` is given the pieces of its body by the protocol, where that can hand them on as they arrive.
    """

    request_id: RequestId
    time: datetime
    started: float  # Clock.monotonic()
    settled: bool = False
    body_read: bool = False
    has_left: bool = False
    on_leave: Callable[[], None] | None = None
    principal: Principal = ANYONE
    headers: tuple[tuple[bytes, bytes], ...] = ()
    drawn: int = 0
    wait: LedgerWait = field(default_factory=LedgerWait)
    take: Take | None = None

    def tap(self, take: Take | None) -> None:
        """Say who takes the pieces that arrive from now on; ``None``: whoever asks for them."""
        self.take = take

    def leave(self) -> None:
        """Say that the client has gone."""
        self.has_left = True
        if self.on_leave is not None:
            self.on_leave()

    def watch(self, on_leave: Callable[[], None] | None) -> None:
        """Call ``on_leave`` when the client goes, at once if it has gone; ``None`` stops watching."""
        self.on_leave = on_leave
        if on_leave is not None and self.has_left:
            on_leave()


def begin_visit(scope: Scope, visit: Visit) -> None:
    """Tie the visit to its request, for all who handle the request and for the protocol below."""
    scope.setdefault("state", {})[_VISIT] = visit


def visit_of(scope: Scope) -> Visit:
    """Give the request's identity; the edge has tied it before anybody else runs."""
    visit = known_visit(scope)
    if visit is None:
        raise LookupError("no visit was begun for this request")
    return visit


def known_visit(scope: Scope) -> Visit | None:
    """Give the request's identity, or nothing when the edge has not seen it yet."""
    found = scope.get("state", {}).get(_VISIT)
    return found if isinstance(found, Visit) else None


def tells_leaving(scope: Scope) -> bool:
    """Whether the protocol below calls ``Visit.leave``, so that nobody need wait for the client to go."""
    return LEAVING in scope.get("extensions", ())


def headers_of(scope: Scope) -> Mapping[str, str]:
    """Give the headers by lower-case name; the values of a repeated one are joined by commas."""
    found: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def origin_of(scope: Scope) -> str:
    """Give scheme and host that the caller reached us by; its one ``Host`` was found valid before anybody else ran."""
    host = next((value for name, value in scope["headers"] if name == b"host"), b"")
    return f"{scope.get('scheme', 'http')}://{host.decode('latin-1')}" if host else ""


def has_unread_body(scope: Scope) -> bool:
    """Whether the head announces a body, even an empty chunked one, of which the end was not seen."""
    return not visit_of(scope).body_read and any(
        name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0") != b"")
        for name, value in scope["headers"]
    )


class Upload:
    """The body of a request as it comes, some pieces of it empty; read once. Raises ``ClientGone``.

    It tells the visit when its end was seen.
    """

    __slots__ = ("_receive", "_visit")

    def __init__(self, receive: Receive, visit: Visit) -> None:
        self._receive = receive
        self._visit = visit

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._visit.body_read:
            raise StopAsyncIteration
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        self._visit.body_read = not message.get("more_body", False)
        body: bytes = message.get("body", b"")
        return body
