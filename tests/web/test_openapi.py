"""The document of what is served: sound, whole, and true of every route of the application."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import schemathesis
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.routing import Route, Router

import gateway
from gateway.core.errand import Errand
from gateway.core.forecast import CHECK
from gateway.core.types import Surface
from gateway.web.admin import OperatorPage
from gateway.web.app import _Dispatch
from gateway.web.edge import Edge
from gateway.web.flights import FlightPage
from gateway.web.openapi import Operation, document
from gateway.web.openapi_admin import OPERATOR
from gateway.web.openapi_paths import API, SERVICE
from gateway.web.openapi_schemas import SCHEMAS
from gateway.web.states import wanted
from tests.fakes.gateway import running_gateway
from tests.web.house import House, ask, get, serving

SHIPPED = (Path(gateway.__file__).parent / "catalog" / "routes.yaml").read_text("utf-8")
OPERATIONS: tuple[Operation, ...] = (*API, *SERVICE, *OPERATOR)
DOCUMENT: Mapping[str, Any] = document(OPERATIONS, SCHEMAS, "0.0.0")


def test_the_document_is_sound() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()
    assert len(list(schemathesis.openapi.from_dict(dict(DOCUMENT)).get_all_operations())) == len(OPERATIONS)


def test_every_operation_has_a_name_of_its_own_and_every_schema_is_used() -> None:
    names = [operation.name for operation in OPERATIONS]
    assert len(set(names)) == len(names)
    text = orjson.dumps(DOCUMENT).decode()
    assert set(re.findall(r"#/components/schemas/(\w+)", text)) == set(SCHEMAS)


async def test_it_is_served_to_whoever_asks() -> None:
    async with serving(House().app()) as port:
        reply = await ask(port, get("/openapi.json"))
    assert (reply.status, reply["content-type"]) == (200, "application/json")
    assert reply.json["paths"] == DOCUMENT["paths"]


def served() -> Iterator[tuple[str, str]]:
    """Give path and method of every route, from the application's own tables."""
    yield from ((f"/v1/{surface.value}", "POST") for surface in Surface)
    yield f"/v1/{CHECK}", "POST"
    for last in ("", "/cancel", "/input_items"):
        path = f"/v1/responses/resp_1{last}"
        yield from ((path.replace("resp_1", "{response_id}"), method) for method in wanted(path))
    yield from ((f"/v1/responses/{name}", "POST") for name in ("input_tokens", "compact"))


def test_every_errand_has_its_address() -> None:
    described = {(operation.path, operation.method) for operation in OPERATIONS}
    assert set(served()) <= described
    assert len({path for path, _ in served()}) == len(Surface) + len(set(Errand)) - 1


async def test_every_route_of_the_application_is_described_and_no_other(tmp_path: Path) -> None:
    async with running_gateway(SHIPPED, tmp_path) as running:
        routes = list(routes_of(running.gateway.app))
    described: dict[str, set[str]] = {}
    for operation in OPERATIONS:
        described.setdefault(operation.path, set()).add(operation.method)
    routes += [(path, {method}) for path, method in served()]
    every: dict[str, set[str]] = {}
    for path, methods in routes:
        every.setdefault(path, set()).update(methods)
    assert every == described


def routes_of(app: object) -> Iterator[tuple[str, set[str]]]:
    assert isinstance(app, Edge)
    dispatch = app._app
    assert isinstance(dispatch, _Dispatch)
    router = dispatch.router
    assert isinstance(router, Router)
    for route in router.routes:
        assert isinstance(route, Route)
        path = re.sub(r":path\}", "}", route.path)
        page = route.endpoint
        if isinstance(page, OperatorPage):
            if page.pages is not None:
                yield path, set(page.pages)
        else:
            yield path, {"GET", "DELETE"} if isinstance(page, FlightPage) else {"GET"}
