"""The catalog of rows, the table of routes, and the plan of a request that is not sent.

Rules: what is shown is what is in force at this moment, with the health of this moment; nothing goes to an upstream and
nothing is written. A body to explain is read by the same intake as a request's, and given back at once.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

import orjson
from msgspec import Struct
from msgspec.structs import replace
from starlette.types import Receive, Scope

from gateway.core.plan_report import health_words, plan_json
from gateway.core.policy import plan
from gateway.core.table import RouteTable
from gateway.core.table_report import catalog_json, routes_json
from gateway.core.types import Directives, Facts, JsonObject, JsonValue, Refusal, Surface
from gateway.core.verification import Verification
from gateway.core.view import View
from gateway.intake import Incoming
from gateway.intake.directives import FALLBACK, PIN, TAGS, read_directives
from gateway.web.admin import Addresses, Control, read_body
from gateway.web.answer import Answer
from gateway.web.api_query import bad, words_of
from gateway.web.arrival import visit_of
from gateway.web.services import JobReader

MOST_BYTES = 4 * 1024 * 1024  # a body to explain may hold pictures
KEYS = frozenset({"model", "endpoint", "body", "headers"})
HEADERS = frozenset({PIN, FALLBACK, TAGS})

_SURFACES = ", ".join(surface.value for surface in Surface)


class Atlas(Struct, frozen=True, kw_only=True):
    """Where the routes are looked up. ``tried``: what smoke runs have found, the last of each row and surface."""

    table: Callable[[], RouteTable]
    view: Callable[[], View]
    tried: Callable[[], Awaitable[Sequence[Verification]]]
    intake: JobReader


class Question(Struct, frozen=True, kw_only=True):
    """What is to be explained."""

    surface: Surface
    model: str | None
    body: JsonObject | None
    headers: Mapping[str, str]


def catalog_addresses(atlas: Atlas) -> Addresses:
    """Give the addresses that show rows, routes and plans."""

    async def rows(control: Control, scope: Scope, _receive: Receive) -> Answer:
        words_of(scope, ())
        found = catalog_json(atlas.table(), control.brakes.report(), await atlas.tried(), control.clock.now().date())
        return Answer(status=200, body=orjson.dumps(found))

    async def routes(_control: Control, scope: Scope, _receive: Receive) -> Answer:
        words_of(scope, ())
        return Answer(status=200, body=orjson.dumps(routes_json(atlas.table())))

    async def explained(control: Control, scope: Scope, receive: Receive) -> Answer:
        asked = read_question(await read_body(scope, receive, MOST_BYTES))
        found = await _read(atlas, asked, scope)
        planned = found if isinstance(found, Refusal) else plan(*found, atlas.table(), atlas.view())
        return Answer(status=200, body=orjson.dumps(plan_json(planned, health_words(control.brakes.report()))))

    return {
        "/api/catalog": {"GET": rows},
        "/api/routes": {"GET": routes},
        "/api/routes/explain": {"POST": explained},
    }


def read_question(body: bytes) -> Question:
    """Read what is to be explained: ``{"model", "endpoint", "body", "headers"}``. Raises ``OperatorError``."""
    try:
        document: JsonValue = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, Mapping) or not document.keys() <= KEYS:
        raise bad(f"The body must be a JSON object with the keys {', '.join(sorted(KEYS))}.")
    surface, model = document.get("endpoint", Surface.GENERATIONS.value), document.get("model")
    if not isinstance(surface, str) or surface not in set(Surface):
        raise bad(f"The endpoint must be one of {_SURFACES}.")
    if not isinstance(model, str | None):
        raise bad("The model must be a text.")
    asked, headers = document.get("body"), document.get("headers")
    headers = {} if headers is None else headers
    if not isinstance(asked, Mapping | None):
        raise bad("The body to explain must be a JSON object.")
    if not isinstance(headers, Mapping) or not headers.keys() <= HEADERS:
        raise bad(f"The headers may be {', '.join(sorted(HEADERS))}.")
    given = {name: value for name, value in headers.items() if isinstance(value, str)}
    if len(given) < len(headers):
        raise bad("The value of a header must be a text.")
    return Question(surface=Surface(surface), model=model, body=asked, headers=given)


async def _read(atlas: Atlas, asked: Question, scope: Scope) -> tuple[Facts, Directives] | Refusal:
    if asked.body is None:
        directives = read_directives(asked.headers)
        return directives if isinstance(directives, Refusal) else (_facts(asked), directives)
    visit, data = visit_of(scope), orjson.dumps(asked.body)
    job = await atlas.intake.read(
        Incoming(
            surface=asked.surface,
            request_id=visit.request_id,
            time=visit.time,
            started=visit.started,
            headers={**asked.headers, "content-type": "application/json", "content-length": str(len(data))},
            chunks=_once(data),
        )
    )
    if isinstance(job, Refusal):
        return job
    job.body.close()
    return (job.facts if asked.model is None else replace(job.facts, asked_model=asked.model)), job.directives


def _facts(asked: Question) -> Facts:
    return Facts(surface=asked.surface, asked_model=asked.model)


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
