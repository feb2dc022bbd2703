"""The operator's calls: the configuration, and the hand brake of a channel.

Rules: nothing here is answered before the door was passed; errors are problems of RFC 9457; no answer holds a secret,
and none is kept by a cache. What can be read can be asked for with HEAD. A call either did what it says or changed
nothing.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Protocol

import orjson
from msgspec import Struct, field
from msgspec.structs import replace
from starlette.types import Receive, Scope, Send

from gateway.core.brake import Brake, BrakeState
from gateway.core.record import timestamp
from gateway.core.types import JsonObject, JsonValue
from gateway.intake import ClientGone
from gateway.ports import Clock, LedgerUnavailable
from gateway.reload import Reloader, Why, config_json
from gateway.web.answer import NO_STORE, Answer, respond_early
from gateway.web.arrival import Upload, visit_of
from gateway.web.door import Door
from gateway.web.errors import MethodNotAllowed, OperatorError, UnknownUrl

MOST_BYTES = 16 * 1024
MOST_REASON_CHARS = 200
_BRAKE_KEYS = frozenset({"state", "until", "reason"})
_STATES = ", ".join(state.value for state in BrakeState)


Page = Callable[["Control", Scope, Receive], Awaitable["Answer | Streamed"]]
Addresses = Mapping[str, Mapping[str, Page]]  # by path, then by method


class Streamed(Struct, frozen=True):
    """An answer that is written as it comes to be; ``write`` sends all of it, its head too."""

    write: Callable[[Send], Awaitable[None]]


class ChannelBrakes(Protocol):
    """Where hand brakes are set."""

    async def brake(self, name: str, state: BrakeState, until: datetime | None, reason: str | None) -> Brake | None:
        """Set one; ``None``: no such channel. Raises ``LedgerUnavailable``."""
        ...

    def report(self) -> JsonObject:
        """Say how every channel stands."""
        ...


class Control(Struct, frozen=True, kw_only=True):
    """What the operator's calls work with. ``metrics`` gives the figures in Prometheus' text format.

    ``addresses``: what else there is below ``/api``, with what answers it.
    """

    door: Door
    config: Reloader
    brakes: ChannelBrakes
    clock: Clock
    metrics: Callable[[], bytes]
    addresses: Addresses = field(default_factory=dict)


class OperatorPage(Struct, frozen=True, kw_only=True):
    """An address of the operator's: its methods, each with what answers it; ``None``: there is nothing."""

    control: Control
    pages: Mapping[str, Page] | None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call."""
        await self.control.door.check_operator(scope)
        if self.pages is None:
            raise UnknownUrl
        method = scope["method"]
        page = self.pages.get("GET" if method == "HEAD" else method)
        if page is None:
            raise MethodNotAllowed(allowed(self.pages))
        answer = await page(self.control, scope, receive)
        if isinstance(answer, Streamed):
            await answer.write(send)
            return
        await respond_early(scope, receive, send, replace(answer, headers=(*answer.headers, NO_STORE)))


def allowed(methods: Iterable[str]) -> tuple[str, ...]:
    """Give the methods of an address; what can be read can be asked for without its body."""
    return tuple(name for method in methods for name in ((method, "HEAD") if method == "GET" else (method,)))


def operator_pages(control: Control) -> Mapping[str, OperatorPage]:
    """Give the addresses below ``/api``; what is not among them is unknown, but only to the operator."""
    addresses: Addresses = {
        "/api/config": {"GET": show_config},
        "/api/config/reload": {"POST": reload_config},
        "/api/channels": {"GET": show_channels},
        "/api/channels/{name}": {"POST": set_brake},
        **control.addresses,
    }
    pages = {path: OperatorPage(control=control, pages=methods) for path, methods in addresses.items()}
    return {**pages, "/api/{rest:path}": OperatorPage(control=control, pages=None)}


async def show_config(control: Control, _scope: Scope, _receive: Receive) -> Answer:
    """Say which file is in force, and what became of later ones."""
    return _json(config_json(control.config.status))


async def reload_config(control: Control, _scope: Scope, _receive: Receive) -> Answer:
    """Read the file now. Raises ``OperatorError`` with its mistakes when it was not taken."""
    status = await control.config.reload(Why.REQUEST)
    rejected = status.rejected
    if rejected is not None:
        raise OperatorError(
            422,
            "The routes file has mistakes, so nothing has changed.",
            extra={"version": status.version, "count": rejected.count, "mistakes": rejected.mistakes},
        )
    return _json(config_json(status))


async def show_channels(control: Control, _scope: Scope, _receive: Receive) -> Answer:
    """Say how every channel stands: its hand brake, what is under way, which rows rest."""
    return _json(control.brakes.report())


async def set_brake(control: Control, scope: Scope, receive: Receive) -> Answer:
    """Set the hand brake of a channel: ``{"state": "on|drained|off", "until": …, "reason": …}``."""
    wanted = read_brake(await read_body(scope, receive), control.clock.now())
    try:
        brake = await control.brakes.brake(scope["path_params"]["name"], wanted.state, wanted.until, wanted.reason)
    except LedgerUnavailable as lost:
        raise OperatorError(503, "The ledger cannot be written now, so nothing has changed.") from lost
    if brake is None:
        raise OperatorError(404, "The routes file has no channel of this name.")
    return _json(
        {
            "channel": scope["path_params"]["name"],
            "state": brake.state,
            "until": timestamp(brake.until) if brake.until is not None else None,
            "reason": brake.reason,
        }
    )


def read_brake(body: bytes, now: datetime) -> Brake:
    """Read what is asked of a channel. Raises ``OperatorError`` with one sentence."""
    try:
        document: JsonValue = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, Mapping):
        raise _bad("The body must be a JSON object.")
    if not document.keys() <= _BRAKE_KEYS:
        raise _bad("The body may have the keys state, until and reason.")
    state, reason = document.get("state"), document.get("reason")
    if not isinstance(state, str) or state not in set(BrakeState):
        raise _bad(f"The state must be one of {_STATES}.")
    if reason is not None and not (isinstance(reason, str) and len(reason) <= MOST_REASON_CHARS and _is_line(reason)):
        raise _bad(f"The reason must be one line of at most {MOST_REASON_CHARS} characters.")
    return Brake(state=BrakeState(state), until=_until(document.get("until"), now), reason=reason or None)


def _until(value: JsonValue, now: datetime) -> datetime | None:
    if value is None:
        return None
    try:
        given = datetime.fromisoformat(value) if isinstance(value, str) else None
        until = given.astimezone(UTC) if given is not None and given.tzinfo is not None else None
    except (ValueError, OverflowError):
        until = None
    if until is None:
        raise _bad("The time in until must be like 2026-11-20T12:00:00Z.")
    if until <= now:
        raise _bad("The time in until is over.")
    return until


def _is_line(text: str) -> bool:
    return text.isprintable() and text == text.strip()


def _bad(message: str) -> OperatorError:
    return OperatorError(400, message)


async def read_body(scope: Scope, receive: Receive, most: int = MOST_BYTES) -> bytes:
    """Read a call's body whole, of at most so many bytes. Raises ``OperatorError``."""
    taken = bytearray()
    try:
        async for chunk in Upload(receive, visit_of(scope)):
            taken += chunk
            if len(taken) > most:
                raise OperatorError(413, f"The body may have {most} bytes.")
    except ClientGone:
        raise _bad("The body did not come whole.") from None
    return bytes(taken)


def _json(document: JsonObject, status: int = 200) -> Answer:
    return Answer(status=status, body=orjson.dumps(document))
