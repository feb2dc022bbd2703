"""The record of a request as a command gets hold of it: the gateway's own, else what the answer's headers tell.

The gateway's record needs an operator's key where the gateway has keys; the headers are there for everyone. Which of
the two it is stands in it as ``record_source``: ``gateway`` or ``headers``. A field that is unknown is absent.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from urllib.parse import unquote

import orjson

from gateway.cli import client
from gateway.cli.commission import Commission, facts_of
from gateway.cli.delivery import Delivery, Picture
from gateway.cli.standing import ask_operator
from gateway.core.record import image_json, present, timestamp
from gateway.core.table import Secret
from gateway.core.types import JsonObject, JsonValue

SUFFIX = ".waybill.json"
_COST = re.compile(r"([0-9]+)\.([0-9]{6}) ([A-Z0-9]+); state=(\w+); unit=(\w+)")
_TIMING = re.compile(r"(upstream|gateway);dur=([0-9.]+)")


def record_of(delivery: Delivery, asked: Commission, begun: datetime, *, base: str, key: Secret | None) -> JsonObject:
    """Give the record of an answered request, with ``record_source``."""
    request_id = delivery.request_id or ""
    reply = ask_operator(f"{base}/api/requests/{request_id}", key) if request_id else None
    found = reply.document if isinstance(reply, client.Reply) and reply.status == 200 else None
    if found is not None and found.get("request_id") == request_id:
        return {**found, "record_source": "gateway"}
    return {**told(delivery, asked, begun), "record_source": "headers"}


def told(delivery: Delivery, asked: Commission, begun: datetime) -> JsonObject:
    """Put together what the answer itself tells of its request."""
    head = delivery.headers
    timing = dict(_TIMING.findall(head.get("server-timing", "")))
    attempts = head.get("x-route-attempts", "")
    return present(
        {
            "time": timestamp(begun),
            "request_id": delivery.request_id,
            "endpoint": asked.surface.value,
            "stream": asked.stream,
            "asked_model": asked.model,
            "request_shape": _shape(asked),
            "route_owner": head.get("x-route-owner"),
            "channel": head.get("x-route-channel"),
            "model_mapping": _mapping(head.get("x-model-mapping", "")),
            "result": _result(delivery),
            "usage": delivery.usage,
            "cost": cost_told(head.get("x-cost", "")),
            "credits": _whole(head.get("x-credits", "")),
            "retry_count": max(0, int(attempts) - 1) if attempts.isdigit() else None,
            "retry_reason": head.get("x-retry-reason"),
            "latency_ms": round(delivery.took_s * 1000, 1),
            **({} if asked.stream else {f"{name}_ms": float(timing[name]) for name in sorted(timing)}),
        }
    )


def path_of(path: Path) -> Path:
    """Give the name of the record that lies beside a file."""
    return path.with_name(path.name + SUFFIX)


def beside(record: JsonObject, path: Path, picture: Picture, prompt: str | None) -> bytes:
    """Write what lies beside a file: its record, its name and its hash; the prompt when it is to be kept."""
    shape = record.get("request_shape")
    said: JsonObject = {} if prompt is None else {"prompt": prompt}
    shown: JsonObject = {**shape, **said} if isinstance(shape, Mapping) else said
    document = {**record, "request_shape": shown, "file": path.name, "sha256": picture.facts.sha256}
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def cost_told(value: str) -> JsonObject | None:
    """Read ``x-cost``."""
    match = _COST.match(value)
    if match is None:
        return {"state": "missing", "unit": "none"} if "state=missing" in value else None
    amount = int(match[1]) * 1_000_000 + int(match[2])
    return {"amount_micro": amount, "currency": match[3], "state": match[4], "unit": match[5]}


def warnings_told(value: str) -> list[str]:
    """Read ``x-route-warnings``."""
    return [word for word in (part.strip() for part in value.split(",")) if word]


def _mapping(value: str) -> JsonObject | None:
    parts = (part.strip().partition("=") for part in value.split(";"))
    found = {name: unquote(word) for name, equals, word in parts if equals}
    if found.get("served") == "pending":  # a stream's head goes out before the upstream says
        found["served"] = "unverified"
    return found or None


def _result(delivery: Delivery) -> JsonObject:
    assets = [one.strip() for one in delivery.headers.get("x-asset-ids", "").split(",") if one.strip()]
    images: list[JsonValue] = []
    for place, picture in enumerate(delivery.pictures):
        known: JsonObject = {"asset_id": assets[place]} if len(assets) == len(delivery.pictures) else {}
        images.append({**known, **image_json(picture.facts)})
    warnings: list[JsonValue] = [*warnings_told(delivery.headers.get("x-route-warnings", ""))]
    return present(
        {
            "status": delivery.status,
            "delivery": "stream" if delivery.events else "url" if delivery.links else "b64_json",
            "images": images,
            "partial_images_sent": delivery.previews if delivery.events else None,
            "warnings": warnings or None,
        }
    )


def _shape(asked: Commission) -> JsonObject:
    inputs: list[JsonValue] = [{"source": "upload", **image_json(facts_of(one.data))} for one in asked.images]
    mask = None if asked.mask is None else {"source": "upload", **image_json(facts_of(asked.mask.data))}
    return present(
        {
            "prompt_chars": len(asked.prompt),
            **asked.options,
            "n": asked.n,
            "input_images": inputs or None,
            "mask": mask,
        }
    )


def _whole(value: str) -> int | None:
    return int(value) if value.isascii() and value.isdigit() else None
