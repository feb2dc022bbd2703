"""``/openapi.json``: what this version serves, as an OpenAPI 3.1 document, put together from tables.

The operations stand in ``openapi_paths`` (the API) and ``openapi_admin`` (the operator's calls), their shapes in
``openapi_schemas``. Rules: every route of the application stands here, and nothing else; a test holds the two together.
Bodies of the API itself are OpenAI's and go through as they are: only what this program acts on is described.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum

from msgspec import Struct

from gateway.core.types import JsonObject, JsonValue

JSON = "application/json"
PROBLEM = "application/problem+json"
EVENTS = "text/event-stream"


class Guard(StrEnum):
    """Who may call."""

    NOBODY = "nobody"  # whoever asks
    KEY = "key"  # a virtual key, unless the gateway is open
    OPERATOR = "operator"


class Parameter(Struct, frozen=True, kw_only=True):
    """One parameter of a call; ``place``: query, path or header."""

    name: str
    place: str
    says: str
    schema: JsonObject
    repeats: bool = False

    def as_json(self) -> JsonObject:
        """Give it as the document has it; one that repeats is a list, exploded."""
        schema: JsonObject = {"type": "array", "items": self.schema} if self.repeats else self.schema
        return {
            "name": self.name,
            "in": self.place,
            "description": self.says,
            "required": self.place == "path",
            "schema": schema,
        }


class Operation(Struct, frozen=True, kw_only=True):
    """One call. ``bodies`` and ``gives``: media type -> schema; ``status`` is that of its good answer.

    ``stamped``: its answers carry the stamps of a request.
    """

    method: str
    path: str
    name: str
    says: str
    tag: str
    guard: Guard
    parameters: tuple[Parameter, ...] = ()
    bodies: Mapping[str, JsonObject] | None = None
    needs_body: bool = True
    gives: Mapping[str, JsonObject] | None = None
    status: int = 200
    also: Mapping[int, str] | None = None  # further good answers, and when they come
    stamped: bool = False

    def as_json(self) -> JsonObject:
        """Give it as the document has it."""
        document: dict[str, JsonValue] = {
            "operationId": self.name,
            "summary": self.says,
            "tags": [self.tag],
            "security": [] if self.guard is Guard.NOBODY else [{self.guard.value: []}, {}],
            "responses": self._answers(),
        }
        if self.parameters:
            document["parameters"] = [one.as_json() for one in self.parameters]
        if self.bodies is not None:
            document["requestBody"] = {"required": self.needs_body, "content": _content(self.bodies)}
        return document

    def _answers(self) -> JsonObject:
        stamps: JsonObject = {"headers": _headers(STAMPS if self.stamped else ())}
        good: JsonObject = {"description": "Done.", **stamps, "content": _content(self.gives or {})}
        others = {str(status): {"description": says} for status, says in (self.also or {}).items()}
        if self.guard is Guard.NOBODY and self.tag == "service":
            return {str(self.status): good, **others}
        errors = "Problem" if self.guard is Guard.OPERATOR else "Refusal" if self.stamped else "Error"
        return {
            str(self.status): good,
            **others,
            **{range_: {"$ref": f"#/components/responses/{errors}"} for range_ in ("4XX", "5XX")},
        }


STAMPS: Mapping[str, str] = {
    "x-request-id": "The id of the request: the same in log, ledger and dashboard.",
    "x-route-owner": "The owner of the channel that served; on failure, of the last attempt.",
    "x-route-channel": "That channel.",
    "x-upstream-request-id": "That attempt's request id, as the upstream gave it.",
    "x-model-mapping": "`asked=…; sent=…; served=…`: `served` is what the upstream reported, else `unverified`.",
    "x-route-attempts": "How many attempts were started.",
    "x-retry-reason": "`class:detail` of the attempt before the last.",
    "x-route-warnings": "What was changed for the upstream, and what came that was not asked for.",
    "x-cost": "`0.053000 USD; state=exact; unit=tokens`: what all attempts of this request cost.",
    "x-credits": "Credits that the key was charged.",
    "x-asset-ids": "The ids of the kept pictures.",
    "x-flight-id": "The id of the flight: where a call that outlives its connection is found.",
    "server-timing": "`upstream;dur=…, gateway;dur=…`, in milliseconds.",
}
ADVICE: Mapping[str, str] = {
    "x-should-retry": "Whether sending it again can help; the OpenAI SDKs obey it.",
    "retry-after": "Seconds until then.",
}


def document(operations: Iterable[Operation], schemas: Mapping[str, JsonObject], version: str) -> JsonObject:
    """Put the document together."""
    paths: dict[str, dict[str, JsonValue]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = operation.as_json()
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Waybill",
            "version": version,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": "An OpenAI-compatible gateway for image work that leaves a waybill for every picture.",
        },
        "servers": [{"url": "/"}],
        "tags": [
            {"name": "api", "description": "OpenAI's API, as far as this gateway serves it."},
            {"name": "assets", "description": "Kept pictures."},
            {"name": "operator", "description": "For whoever runs the gateway."},
            {"name": "service", "description": "For whoever watches it."},
        ],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {
                "Error": _failure(JSON, "Error", {**ADVICE, "x-request-id": STAMPS["x-request-id"]}),
                "Refusal": _failure(JSON, "Error", {**STAMPS, **ADVICE}),
                "Problem": _failure(PROBLEM, "Problem", {"x-request-id": STAMPS["x-request-id"]}),
            },
            "headers": {
                name: {"description": says, "schema": {"type": "string"}} for name, says in {**STAMPS, **ADVICE}.items()
            },
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "A virtual key."},
                "operator": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "`WAYBILL_ADMIN_KEY`, or a key with the scope `admin`.",
                },
            },
        },
    }


def named(schema: str) -> JsonObject:
    """Refer to a schema of the document."""
    return {"$ref": f"#/components/schemas/{schema}"}


def _content(shapes: Mapping[str, JsonObject]) -> JsonObject:
    return {media_type: {"schema": schema} for media_type, schema in shapes.items()}


def _headers(names: Iterable[str]) -> JsonObject:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _failure(media_type: str, schema: str, headers: Mapping[str, str]) -> JsonObject:
    return {
        "description": "It was not done.",
        "headers": _headers(headers),
        "content": _content({media_type: named(schema)}),
    }
