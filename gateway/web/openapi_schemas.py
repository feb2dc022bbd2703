"""The shapes in ``/openapi.json``. What a shape does not name may stand in it all the same."""

from collections.abc import Mapping

from gateway.core.failures import CONSEQUENCES
from gateway.core.money import CostState
from gateway.core.spend import Dimension
from gateway.core.types import Fault, JsonObject, JsonValue, Outcome, Surface
from gateway.web.api_catalog import HEADERS

TEXT: JsonObject = {"type": "string"}
MAYBE_TEXT: JsonObject = {"type": ["string", "null"]}
TIME: JsonObject = {"type": "string", "format": "date-time"}
COUNT: JsonObject = {"type": "integer", "minimum": 0}
MAYBE_COUNT: JsonObject = {"type": ["integer", "null"], "minimum": 0}
NUMBER: JsonObject = {"type": "number", "minimum": 0}
FLAG: JsonObject = {"type": "boolean"}
OBJECT: JsonObject = {"type": "object"}
SURFACES: JsonObject = {"type": "array", "items": {"enum": [surface.value for surface in Surface]}}


def _object(properties: Mapping[str, JsonValue], *required: str) -> JsonObject:
    return {"type": "object", "properties": properties, "required": list(required)}


def _list(of: JsonObject) -> JsonObject:
    return {"type": "array", "items": of}


def _ref(name: str) -> JsonObject:
    return {"$ref": f"#/components/schemas/{name}"}


def _page(of: str, *, cursor: bool = True) -> JsonObject:
    data: dict[str, JsonValue] = {"data": _list(_ref(of))}
    if not cursor:
        return _object(data, "data")
    return _object({**data, "next_cursor": MAYBE_TEXT}, "data", "next_cursor")


IMAGE_REQUEST: JsonObject = _object(
    {
        "model": TEXT,
        "prompt": TEXT,
        "n": {"type": "integer", "minimum": 1, "maximum": 10},
        "size": TEXT,
        "quality": TEXT,
        "background": TEXT,
        "output_format": TEXT,
        "output_compression": {"type": "integer", "minimum": 0, "maximum": 100},
        "moderation": TEXT,
        "partial_images": {"type": "integer", "minimum": 0, "maximum": 3},
        "stream": FLAG,
        "response_format": {"enum": ["url", "b64_json"]},
    },
    "prompt",
)
BYTES: JsonObject = {"type": "string", "format": "binary"}

RECORD: JsonObject = _object(
    {
        "time": TIME,
        "request_id": {"type": "string", "pattern": "^req_[0-9a-f]{32}$"},
        "key_id": TEXT,
        "team": TEXT,
        "tags": {"type": "object", "additionalProperties": TEXT},
        "end_user_hash": TEXT,
        "endpoint": TEXT,
        "path": {"type": "string", "maxLength": 200, "description": "Only of an address that is none."},
        "stream": FLAG,
        "state": {"enum": ["open", "interrupted"], "description": "Only of a request that was not settled."},
        "asked_model": TEXT,
        "route_owner": TEXT,
        "channel": TEXT,
        "row": TEXT,
        "base_url_host": TEXT,
        "model_mapping": _object({"asked": TEXT, "sent": TEXT, "served": TEXT, "tool_asked": TEXT, "tool_sent": TEXT}),
        "billing": TEXT,
        "output_rights": TEXT,
        "config_version": TEXT,
        "request_shape": OBJECT,
        "result": _object(
            {
                "status": {"type": "integer", "description": "0: no answer was given, as far as is known."},
                "delivery": {"enum": ["b64_json", "url", "both", "stream", "none"]},
                "response_id": TEXT,
                "code": TEXT,
                "told_status": {"type": "integer", "description": "What the client was told instead."},
                "told_code": TEXT,
                "images": _list(OBJECT),
                "partial_images_received": COUNT,
                "partial_images_sent": COUNT,
                "warnings": _list(TEXT),
            },
            "status",
        ),
        "usage": OBJECT,
        "cost": _ref("Cost"),
        "credits": COUNT,
        "exposure_micro": COUNT,
        "fault": {"enum": [fault.value for fault in Fault]},
        "attempts": _list(_ref("Attempt")),
        "retry_count": COUNT,
        "retry_reason": TEXT,
        "excluded": _list(_object({"target": TEXT, "reason": TEXT}, "target", "reason")),
        "idempotency": OBJECT,
        "flight_id": TEXT,
        "latency_ms": NUMBER,
        "upstream_ms": NUMBER,
        "gateway_ms": NUMBER,
        "verdict": {"enum": ["accepted", "rejected", None]},
    },
    "time",
    "request_id",
    "endpoint",
    "result",
)
ATTEMPT: JsonObject = _object(
    {
        "n": {"type": "integer", "minimum": 1},
        "attempt_id": TEXT,
        "channel": TEXT,
        "owner": TEXT,
        "row": TEXT,
        "surface": TEXT,
        "region": TEXT,
        "sent_model": TEXT,
        "started_ms": NUMBER,
        "ahead_bytes": COUNT,
        "ahead_ms": NUMBER,
        "first_byte_ms": NUMBER,
        "duration_ms": NUMBER,
        "status": {"type": "integer"},
        "class": {"enum": sorted(kind.value for kind in CONSEQUENCES)},
        "detail": TEXT,
        "outcome": {"enum": [outcome.value for outcome in Outcome]},
        "action": TEXT,
        "upstream_request_id": TEXT,
        "usage": OBJECT,
        "cost_micro": COUNT,
        "exposure_micro": COUNT,
    },
    "n",
    "attempt_id",
    "channel",
    "owner",
)
COST: JsonObject = _object(
    {
        "amount_micro": COUNT,
        "currency": TEXT,
        "unit": TEXT,
        "state": {"enum": [state.value for state in CostState]},
        "price_id": TEXT,
        "lines": _list(OBJECT),
    },
    "unit",
    "state",
)
SUM: JsonObject = _object(
    {
        "unit": TEXT,
        "currency": TEXT,
        "amount_micro": COUNT,
        "state": {"enum": [state.value for state in CostState]},
        "exposure_micro": COUNT,
    },
    "unit",
    "currency",
    "amount_micro",
    "state",
)
GROUP: JsonObject = _object(
    {
        **{dimension.value: MAYBE_TEXT for dimension in Dimension},
        "requests": COUNT,
        "images": COUNT,
        "delivered": COUNT,
        "accepted": COUNT,
        "rejected": COUNT,
        "failed": COUNT,
        "attempts": COUNT,
        "cost": _list(_ref("Sum")),
        "waste_micro": MAYBE_COUNT,
        "cost_per_accepted_micro": MAYBE_COUNT,
        "cost_per_accepted_currency": MAYBE_TEXT,
        "credits": COUNT,
        "missing_price_requests": COUNT,
        "rescued_images": COUNT,
        "rescued_micro": MAYBE_COUNT,
        "lost_requests": COUNT,
        "lost_micro": MAYBE_COUNT,
    },
    *("requests", "images", "delivered", "accepted", "rejected", "failed", "cost", "credits"),
)
CATALOG_ROW: JsonObject = _object(
    {
        "channel": TEXT,
        "row": TEXT,
        "owner": TEXT,
        "kind": TEXT,
        "model": TEXT,
        "routes": _list(TEXT),
        "contract": TEXT,
        "mode": TEXT,
        "price": _object(
            {"state": {"enum": ["known", "missing"]}, "id": TEXT, "unit": TEXT, "currency": TEXT}, "state"
        ),
        "must_be_verified": FLAG,
        "status": TEXT,
        "group": MAYBE_TEXT,
        "retires_on": {"type": ["string", "null"], "format": "date"},
        "retiring": FLAG,
        "surfaces": _object(
            {"claimed": SURFACES, "probed": SURFACES, "verified": SURFACES}, "claimed", "probed", "verified"
        ),
        "health": TEXT,
    },
    *("channel", "row", "owner", "contract", "price", "status", "surfaces", "health"),
)
ERROR: JsonObject = _object(
    {
        "error": _object(
            {
                "message": TEXT,
                "type": MAYBE_TEXT,
                "param": MAYBE_TEXT,
                "code": MAYBE_TEXT,
                "moderation_details": OBJECT,
                "attempts": _list(OBJECT),
            },
            *("message", "type", "param", "code"),
        )
    },
    "error",
)
PROBLEM: JsonObject = _object(
    {"type": TEXT, "title": TEXT, "status": {"type": "integer"}, "detail": TEXT, "code": TEXT},
    *("type", "title", "status", "detail"),
)
QUESTION: JsonObject = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "model": MAYBE_TEXT,
        "endpoint": {"enum": [surface.value for surface in Surface], "default": Surface.GENERATIONS.value},
        "body": {"type": ["object", "null"], "description": "The body that would be sent there."},
        "headers": {
            "type": ["object", "null"],
            "additionalProperties": False,
            "properties": dict.fromkeys(sorted(HEADERS), TEXT),
        },
    },
}

SCHEMAS: Mapping[str, JsonObject] = {
    "ImageRequest": IMAGE_REQUEST,
    "EditRequest": _object({"model": TEXT, "prompt": TEXT, "images": _list(OBJECT), "mask": OBJECT}, "prompt"),
    "EditForm": _object(
        {"model": TEXT, "prompt": TEXT, "image": BYTES, "image[]": _list(BYTES), "mask": BYTES}, "prompt"
    ),
    "TurnRequest": _object({"model": TEXT, "tools": _list(OBJECT), "stream": FLAG, "previous_response_id": MAYBE_TEXT}),
    "Images": _object({"created": {"type": "integer"}, "data": _list(OBJECT), "usage": OBJECT}, "data"),
    "Response": _object({"id": TEXT, "object": TEXT, "status": TEXT, "output": _list(OBJECT)}, "id"),
    "Check": _object({"object": TEXT, "ok": FLAG, "targets": _list(OBJECT), "excluded": _list(OBJECT)}, "ok"),
    "Models": _object({"object": {"const": "list"}, "data": _list(_ref("Model"))}, "object", "data"),
    "Model": _object(
        {"id": TEXT, "object": {"const": "model"}, "created": {"type": "integer"}, "owned_by": TEXT, "waybill": OBJECT},
        *("id", "object", "owned_by"),
    ),
    "Error": ERROR,
    "Problem": PROBLEM,
    "Record": RECORD,
    "Attempt": ATTEMPT,
    "Cost": COST,
    "Requests": _page("Record"),
    "Sum": SUM,
    "Group": GROUP,
    "Usage": _page("Group", cursor=False),
    "CatalogRow": CATALOG_ROW,
    "Catalog": _object({"version": TEXT, "data": _list(_ref("CatalogRow"))}, "version", "data"),
    "Routes": _object(
        {"version": TEXT, "routes": _list(OBJECT), "channels": _list(OBJECT)}, "version", "routes", "channels"
    ),
    "Question": QUESTION,
    "Plan": {
        "anyOf": [
            _object(
                {"route": TEXT, "targets": _list(OBJECT), "excluded": _list(OBJECT), "health": OBJECT},
                "route",
                "targets",
            ),
            _object({"error": OBJECT, "excluded": _list(OBJECT)}, "error", "excluded"),
        ]
    },
    "Config": _object({"version": TEXT, "checksum": TEXT, "path": TEXT}, "version", "checksum"),
    "Channels": _object({"data": _list(OBJECT)}, "data"),
    "Asset": _object({"asset_id": TEXT, "request_id": TEXT, "sha256": TEXT, "verdict": MAYBE_TEXT}, "asset_id"),
    "Assets": _page("Asset"),
    "Keys": _object({"data": _list(OBJECT)}, "data"),
    "Alive": _object({"status": {"const": "ok"}}, "status"),
    "Readiness": _object({"status": {"enum": ["ok", "draining", "unavailable"]}, "channels": OBJECT}, "status"),
}
