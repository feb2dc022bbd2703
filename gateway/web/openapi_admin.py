"""The operator's calls, for ``/openapi.json``. A new address below ``/api`` gets its entry here."""

from gateway.core.brake import BrakeState
from gateway.core.spend import Dimension
from gateway.core.types import JsonObject
from gateway.ports.readings import Standing
from gateway.web.api_requests import LIMIT, MOST
from gateway.web.openapi import EVENTS, JSON, Guard, Operation, Parameter, named

TEXT: JsonObject = {"type": "string", "minLength": 1, "maxLength": 400}
TIME: JsonObject = {
    "type": "string",
    "description": "A day (its midnight, UTC) or a time with its zone.",
    "examples": ["2026-11-20", "2026-11-20T12:00:00Z"],
}
COUNT: JsonObject = {"type": "integer", "minimum": 1, "maximum": MOST, "default": LIMIT}
BY: JsonObject = {
    "type": "string",
    "default": Dimension.OWNER.value,
    "description": f"Each of {', '.join(Dimension)} at most once, with commas between them.",
    "examples": ["owner,model"],
}
STATUS: JsonObject = {
    "oneOf": [
        {"type": "string", "pattern": "^[0-9]{3}$"},
        {"type": "string", "enum": [standing.value for standing in Standing]},
    ]
}
TAGS: JsonObject = {"type": "string", "pattern": "^[^=]+=.*$", "maxLength": 400}
BRAKE: JsonObject = {
    "type": "object",
    "required": ["state"],
    "additionalProperties": False,
    "properties": {
        "state": {"type": "string", "enum": [state.value for state in BrakeState]},
        "until": {"type": ["string", "null"], "format": "date-time"},
        "reason": {"type": ["string", "null"], "maxLength": 200},
    },
}


def _asked(name: str, says: str, schema: JsonObject = TEXT, *, repeats: bool = False) -> Parameter:
    return Parameter(name=name, place="query", says=says, schema=schema, repeats=repeats)


def _named(name: str, says: str) -> Parameter:
    return Parameter(name=name, place="path", says=says, schema={"type": "string"})


def _read(path: str, name: str, says: str, gives: JsonObject, *parameters: Parameter) -> Operation:
    return Operation(
        method="GET",
        path=path,
        name=name,
        says=says,
        tag="operator",
        guard=Guard.OPERATOR,
        parameters=parameters,
        gives={JSON: gives},
    )


def _write(
    method: str, path: str, name: str, says: str, *parameters: Parameter, body: JsonObject | None = None
) -> Operation:
    return Operation(
        method=method,
        path=path,
        name=name,
        says=says,
        tag="operator",
        guard=Guard.OPERATOR,
        parameters=parameters,
        bodies=None if body is None else {JSON: body},
        gives={JSON: {"type": "object"}},
    )


_CURSOR = _asked("cursor", "Where the page before it ended: its `next_cursor`, for the same parameters.")
_SPAN = (_asked("since", "From then on.", TIME), _asked("until", "Up to then, without it.", TIME))
_ASSET = _named("asset_id", "The id of a picture.")
_KEY = _named("key_id", "The id of a key.")

OPERATOR = (
    _read(
        "/api/requests",
        "listRequests",
        "Requests, newest first. A page can hold fewer than were asked for; the last one has no `next_cursor`.",
        named("Requests"),
        _asked("owner", "The route owner that served."),
        _asked("channel", "The channel that served."),
        _asked("model", "The model that was asked for."),
        _asked("key", "The id of the key that asked."),
        _asked("class", "The class of the last failure, or our own error's code."),
        _asked("status", "An HTTP status, or how the request stands.", STATUS),
        *_SPAN,
        _asked("tag", "`name=value`; may stand more than once.", TAGS, repeats=True),
        _asked("limit", "How many at most.", COUNT),
        _CURSOR,
    ),
    _read(
        "/api/requests/{request_id}",
        "retrieveRequest",
        "One request.",
        named("Record"),
        _named("request_id", "The id of a request."),
    ),
    Operation(
        method="GET",
        path="/api/usage",
        name="readUsage",
        says="What was asked for, delivered, accepted and spent.",
        tag="operator",
        guard=Guard.OPERATOR,
        parameters=(_asked("by", "What to group by.", BY), *_SPAN),
        gives={JSON: named("Usage"), "text/csv": {"type": "string"}},
    ),
    _read("/api/catalog", "readCatalog", "Every row of every channel.", named("Catalog")),
    _read("/api/routes", "readRoutes", "The table of routes. No credential stands in it.", named("Routes")),
    Operation(
        method="POST",
        path="/api/routes/explain",
        name="explainRoute",
        says="The plan of a request, without sending it.",
        tag="operator",
        guard=Guard.OPERATOR,
        bodies={JSON: named("Question")},
        gives={JSON: named("Plan")},
    ),
    Operation(
        method="GET",
        path="/api/events",
        name="hearEvents",
        says="Records as they are made, each as an event `request.finished`.",
        tag="operator",
        guard=Guard.OPERATOR,
        gives={EVENTS: {"type": "string"}},
    ),
    _read("/api/config", "readConfig", "The routes file in force, and what became of later ones.", named("Config")),
    _write("POST", "/api/config/reload", "reloadConfig", "Read the routes file now."),
    _read("/api/channels", "listChannels", "How every channel stands.", named("Channels")),
    _write(
        "POST",
        "/api/channels/{name}",
        "brakeChannel",
        "Set the hand brake of a channel.",
        _named("name", "A channel's name."),
        body=BRAKE,
    ),
    _read(
        "/api/assets",
        "listAssets",
        "Kept pictures, newest first.",
        named("Assets"),
        _asked("request", "The id of the request that made it."),
        _asked("key", "The id of the key that asked for it."),
        _asked("model", "The model that made it."),
        _asked("verdict", "What was said of it.", {"type": "string", "enum": ["accepted", "rejected"]}),
        _asked("sha256", "The hash of its bytes."),
        _asked("limit", "How many at most.", COUNT),
        _CURSOR,
    ),
    _read("/api/assets/{asset_id}", "retrieveAsset", "One kept picture, with its lineage.", named("Asset"), _ASSET),
    _write("DELETE", "/api/assets/{asset_id}", "deleteAsset", "Delete a kept picture.", _ASSET),
    _write(
        "POST",
        "/api/assets/{asset_id}/verdict",
        "judgeAsset",
        "Accept or reject a picture, or take that back.",
        _ASSET,
        body={
            "type": "object",
            "required": ["verdict"],
            "additionalProperties": False,
            "properties": {"verdict": {"enum": ["accepted", "rejected", None]}},
        },
    ),
    _read("/api/keys", "listKeys", "All virtual keys.", named("Keys")),
    _write("POST", "/api/keys", "createKey", "Make a virtual key; it is shown this once.", body={"type": "object"}),
    _write("DELETE", "/api/keys/{key_id}", "revokeKey", "End a virtual key.", _KEY),
    _write("POST", "/api/keys/{key_id}/credit", "creditKey", "Add to a key's credits.", _KEY, body={"type": "object"}),
)
