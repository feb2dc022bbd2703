"""Which path is answered by what.

Rules: the three POSTs are found by their exact path before any router runs. Everything else is a small answer made from
what is in memory, and what is said of a request of the API is settled before it is said. A path is known or it is not:
no redirects, no guessing at slashes. What the API has and this version has not answers 404 with a sentence that says
so, and names the right surface where there is one.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager

import orjson
from msgspec import Struct
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway import __version__
from gateway.core.types import JsonObject, Surface
from gateway.waiting import Waiting
from gateway.web.admin import Control, operator_pages
from gateway.web.answer import Answer, respond_early
from gateway.web.arrival import visit_of
from gateway.web.assets import AssetPage
from gateway.web.edge import API, Edge, settle_here
from gateway.web.errors import MethodNotAllowed, ModelNotFound, NotOffered, UnknownUrl
from gateway.web.flights import FlightPage
from gateway.web.health import alive, readiness
from gateway.web.models import model_json, model_list
from gateway.web.openapi import document
from gateway.web.openapi_admin import OPERATOR
from gateway.web.openapi_paths import API as API_CALLS
from gateway.web.openapi_paths import SERVICE
from gateway.web.openapi_schemas import SCHEMAS
from gateway.web.post import serve
from gateway.web.services import Services
from gateway.web.states import wanted

__all__ = ["Lifespan", "Services", "build_app"]

Lifespan = Callable[[], AbstractAsyncContextManager[None]]
Page = Callable[[Scope], Awaitable[Answer]]

POSTS = frozenset(f"/v1/{surface.value}" for surface in Surface)
READS = ("GET", "HEAD")
METRICS = b"text/plain; version=1.0.0; charset=utf-8"

_CHAT = (
    "Chat completions are not offered here. Use POST /v1/responses for text and turns that draw, or "
    "POST /v1/images/generations and /v1/images/edits for pictures."
)
_VARIATIONS = "Image variations are not offered here. Use POST /v1/images/edits."
_COMPLETIONS = "Completions are not offered here. Use POST /v1/responses."
_NAMED: Mapping[str, str] = {
    "/v1/chat/completions": _CHAT,
    "/v1/completions": _COMPLETIONS,
    "/v1/images/variations": _VARIATIONS,
}
_NOT_BUILT = (
    "/v1/files",
    "/v1/uploads",
    "/v1/conversations",
    "/v1/responses",
    "/v1/images",
    "/v1/batches",
    "/v1/embeddings",
    "/v1/audio",
    "/v1/videos",
    "/v1/moderations",
    "/v1/assistants",
    "/v1/threads",
    "/v1/vector_stores",
    "/v1/realtime",
)
_NOT_OFFERED = "This endpoint is not offered by this version of the gateway."
_BASE_URL = "There is nothing at this address. A client's base_url must end in /v1, exactly once."
_HELD = ("/v1/images/", "/v1/responses", "/v1/models", "/v1/flights/", "/v1/chat/")
_PICTURES = (
    "There is nothing at this address. Pictures are made at POST /v1/images/generations, and changed at "
    "POST /v1/images/edits."
)
_SLASH = "There is nothing at this address. Leave out the slash at its end."
_NO_WEBSOCKET = "WebSocket connections are not offered by this version of the gateway. Use POST /v1/responses."


class _Reads(Struct, frozen=True, kw_only=True):
    """An address that can be read: GET and HEAD, nothing else."""

    services: Services
    page: Page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in READS:
            raise MethodNotAllowed(READS)
        answer = await self.page(scope)
        await settle_here(self.services, scope, answer.status)
        await respond_early(scope, receive, send, answer)


class _Dispatch(Struct, frozen=True, kw_only=True):
    """The hot paths first, then the router."""

    services: Services
    router: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(API):
            await self._admit(scope)
        methods = wanted(scope["path"]) if scope["type"] == "http" else {}
        if not methods:
            await self.router(scope, receive, send)
        elif scope["method"] in methods:
            await serve(self.services, methods[scope["method"]], scope, receive, send)
        elif _asks_for_websocket(scope):
            raise NotOffered(_NO_WEBSOCKET)
        else:
            raise MethodNotAllowed(tuple(methods))

    async def _admit(self, scope: Scope) -> None:
        """Learn who asks, before anything is read."""
        if self.services.gate is not None:
            visit = visit_of(scope)
            with Waiting(visit.wait):
                visit.principal = await self.services.gate.admit(scope)


def build_app(services: Services, control: Control | None = None, lifespan: Lifespan | None = None) -> ASGIApp:
    """Build the application; without ``control`` there is no operator.

    ``lifespan`` is entered before the first request and left after the last one.
    """
    reads = {**_pages(services), **({} if control is None else {"/metrics": _metrics(control)})}
    routes = [Route(path, _Reads(services=services, page=page), methods=None) for path, page in reads.items()]
    if services.exhibits is not None:
        routes.append(Route("/assets/{token:path}", AssetPage(exhibits=services.exhibits), methods=None))
    if services.flights is not None:
        routes.append(Route("/v1/flights/{name}", FlightPage(services.flights), methods=None))
    if control is not None:
        routes += [Route(path, page, methods=None) for path, page in operator_pages(control).items()]
    router = Router(
        routes=routes,
        redirect_slashes=False,
        default=_unknown,
        lifespan=None if lifespan is None else lambda _app: lifespan(),
    )
    return Edge(services, _Dispatch(services=services, router=router))


def _pages(services: Services) -> Mapping[str, Page]:
    table = services.table

    async def models(scope: Scope) -> Answer:
        return _json(model_list(table(), visit_of(scope).principal))

    async def model(scope: Scope) -> Answer:
        now = table()
        route = now.routes.get(scope["path_params"]["name"])
        is_shown = route is not None and visit_of(scope).principal.may_use(route.name)
        shown = model_json(now, route) if route is not None and is_shown else None
        if shown is None:
            raise ModelNotFound
        return _json(shown)

    async def ready(_scope: Scope) -> Answer:
        state = await services.state()
        return _json(readiness(table(), state), 200 if state.is_ready else 503)

    text = orjson.dumps(document((*API_CALLS, *SERVICE, *OPERATOR), SCHEMAS, __version__))

    async def described(_scope: Scope) -> Answer:
        return Answer(status=200, body=text)

    async def live(_scope: Scope) -> Answer:
        return _json(alive())

    return {
        "/": _welcome,
        "/healthz": live,
        "/readyz": ready,
        "/openapi.json": described,
        "/v1/models": models,
        "/v1/models/{name:path}": model,
    }


def _metrics(control: Control) -> Page:
    async def metrics(scope: Scope) -> Answer:
        await control.door.check_reader(scope)
        return Answer(status=200, body=control.metrics(), content_type=METRICS)

    return metrics


async def _unknown(scope: Scope, _receive: Receive, _send: Send) -> None:
    """Refuse what no route matched; a sentence for what a caller of this API may well look for."""
    path = scope["path"]
    named = _NAMED.get(path)
    if named is not None:
        raise NotOffered(named)
    if _asks_for_websocket(scope):
        raise NotOffered(_NO_WEBSOCKET)
    if path.rstrip("/") in POSTS:
        raise UnknownUrl(_SLASH)
    if path.startswith("/v1/images/"):
        raise UnknownUrl(_PICTURES)
    if any(path == known or path.startswith(f"{known}/") for known in _NOT_BUILT):
        raise NotOffered(_NOT_OFFERED)
    if _is_off_base(path):
        raise UnknownUrl(_BASE_URL)
    raise UnknownUrl


def _is_off_base(path: str) -> bool:
    """Whether a path would be one of the API's if ``/v1`` stood before it once."""
    below = path
    while below.startswith(API):
        below = below.removeprefix("/v1")
    once = f"/v1{below}"
    return once != path and once.startswith(_HELD)


def _asks_for_websocket(scope: Scope) -> bool:
    return any(name == b"upgrade" and value.lower() == b"websocket" for name, value in scope["headers"])


async def _welcome(_scope: Scope) -> Answer:
    return _json(
        {
            "name": "waybill",
            "version": __version__,
            "api": "/v1",
            "models": "/v1/models",
            "health": "/healthz",
            "ready": "/readyz",
            "metrics": "/metrics",
            "openapi": "/openapi.json",
        }
    )


def _json(document: JsonObject, status: int = 200) -> Answer:
    return Answer(status=status, body=orjson.dumps(document))
