"""The waybill of one request: what was asked, which contract served it, what was tried, what came.

One shape for the log line, the ledger row and the response headers; the names are those of the public interface.
A field that is unknown is absent, never null or zero. Never a picture byte, a credential or, unless the operator
chose ``privacy.prompts: text``, a prompt.
"""

from datetime import datetime

from msgspec import Struct

from gateway.core.assets import DELETION_POLICY, Asset
from gateway.core.money import Cost, total
from gateway.core.translation import Change
from gateway.core.types import (
    AttemptId,
    Excluded,
    Facts,
    Failure,
    Fault,
    ImageFacts,
    InputFacts,
    JsonObject,
    JsonValue,
    Outcome,
    RequestId,
)

MISSING = "missing"  # of a picture: its bytes are not in the store


class AttemptRecord(Struct, frozen=True, kw_only=True):
    """One attempt; times are milliseconds to the tenth, ``started_ms`` counted from the request's first byte."""

    n: int
    attempt_id: AttemptId
    channel: str
    owner: str
    surface: str
    started_ms: float
    duration_ms: float
    outcome: Outcome
    row: str | None = None  # like the model, absent when a stored Response was asked for
    sent_model: str | None = None
    region: str | None = None
    first_byte_ms: float | None = None
    status: int | None = None
    failure: Failure | None = None
    action: str | None = None  # what the walk did next; absent on a delivery
    upstream_request_id: str | None = None
    usage: JsonObject | None = None
    cost: Cost | None = None
    changes: tuple[Change, ...] = ()  # of the request's parameters, as they were sent
    ahead_bytes: int | None = None  # of the body, sent before the attempt began
    ahead_ms: float | None = None  # how long before

    @property
    def reason(self) -> str | None:
        """``class:detail``, as ``x-retry-reason`` says it; ``None`` for a delivery."""
        return None if self.failure is None else f"{self.failure.kind}:{self.failure.detail}"

    def as_json(self) -> JsonObject:
        """Give the attempt as the record shows it."""
        failure = self.failure
        return present(
            {
                "n": self.n,
                "attempt_id": self.attempt_id,
                "channel": self.channel,
                "owner": self.owner,
                "row": self.row,
                "surface": self.surface,
                "region": self.region,
                "sent_model": self.sent_model,
                "sent_options": {change.param: change.text for change in self.changes} or None,
                "started_ms": self.started_ms,
                "first_byte_ms": self.first_byte_ms,
                "duration_ms": self.duration_ms,
                "status": self.status,
                "class": failure.kind if failure else None,
                "detail": failure.detail if failure else None,
                "outcome": self.outcome,
                "action": self.action,
                "upstream_request_id": self.upstream_request_id,
                "usage": self.usage,
                "cost_micro": self.cost.amount_micro if self.cost else None,
                "exposure_micro": self.cost.exposure_micro if self.cost else None,
                "ahead_bytes": self.ahead_bytes,
                "ahead_ms": self.ahead_ms,
            }
        )


class Mapping3(Struct, frozen=True, kw_only=True):
    """The three model names, and the tool's two when a Responses request carries the image tool."""

    asked: str
    sent: str
    served: str | None = None
    tool_asked: str | None = None
    tool_sent: str | None = None

    def as_json(self) -> JsonObject:
        """Give the mapping as the record shows it; an unreported model is ``unverified``."""
        return present(
            {
                "asked": self.asked,
                "sent": self.sent,
                "served": self.served or "unverified",
                "tool_asked": self.tool_asked,
                "tool_sent": self.tool_sent,
            }
        )


class Owner(Struct, frozen=True, kw_only=True):
    """Whose contract served (or was tried last): the channel's words, copied at the time of the request."""

    route_owner: str
    channel: str
    base_url_host: str
    row: str | None = None
    billing: str | None = None
    output_rights: str | None = None


class Idempotency(Struct, frozen=True, kw_only=True):
    """The caller's Idempotency-Key as a hash, and whether the answer was made for an earlier request."""

    key_hash: str
    replayed: bool = False

    def as_json(self) -> JsonObject:
        """Give it as the record shows it."""
        return {"key_hash": self.key_hash, "replayed": self.replayed}


class ResultRecord(Struct, frozen=True, kw_only=True):
    """What came of a request. ``delivery``: b64_json, url, both, stream or none. Previews are counted on streams.

    ``told_status`` and ``told_code``: what its client was told before that, and is all that it got under this id.
    ``assets``: as what each of ``images`` is kept, ``None`` for one that could not be; empty: none was to be kept.
    ``warnings``: what differs between the request and what was sent or came, in the words of ``x-route-warnings``.
    """

    status: int
    delivery: str = "none"
    response_id: str | None = None
    images: tuple[ImageFacts, ...] = ()
    assets: tuple[Asset | None, ...] = ()
    partial_images_received: int | None = None
    partial_images_sent: int | None = None
    code: str | None = None  # our error code, on a failure
    told_status: int | None = None
    told_code: str | None = None
    warnings: tuple[str, ...] = ()

    def as_json(self) -> JsonObject:
        """Give the result as the record shows it."""
        return present(
            {
                "status": self.status,
                "delivery": self.delivery,
                "response_id": self.response_id,
                "code": self.code,
                "told_status": self.told_status,
                "told_code": self.told_code,
                "images": [
                    {**image_json(image), **(asset_json(self.assets[at]) if at < len(self.assets) else {})}
                    for at, image in enumerate(self.images)
                ],
                "partial_images_received": self.partial_images_received,
                "partial_images_sent": self.partial_images_sent,
                "warnings": list(self.warnings) or None,
            }
        )


class Record(Struct, frozen=True, kw_only=True):
    """Everything that is known of one request once it ended.

    ``model``: the one that was asked for, where ``facts`` do not say it: the route that stands in for it, or the word
    of a body of which nothing else is known. ``path``: what was asked for, of an address that is none.
    """

    time: datetime
    request_id: RequestId
    endpoint: str
    stream: bool
    result: ResultRecord
    latency_ms: float
    upstream_ms: float = 0.0
    config_version: str | None = None
    facts: Facts | None = None
    model: str | None = None
    path: str | None = None
    tags: tuple[tuple[str, str], ...] = ()
    key_id: str | None = None
    team: str | None = None
    credits: int | None = None  # charged to the key; absent where the route charges no credits
    owner: Owner | None = None
    mapping: Mapping3 | None = None
    usage: JsonObject | None = None
    fault: Fault | None = None
    attempts: tuple[AttemptRecord, ...] = ()
    excluded: tuple[Excluded, ...] = ()
    idempotency: Idempotency | None = None
    flight_id: str | None = None

    @property
    def asked(self) -> str | None:
        """Give the model that was asked for in effect: the route's name where the body named none."""
        named = self.facts.asked_model if self.facts is not None else None
        return named or self.model

    @property
    def gateway_ms(self) -> float:
        """What of the latency was ours."""
        return max(0.0, round(self.latency_ms - self.upstream_ms, 1))

    @property
    def retry_reason(self) -> str | None:
        """Why the attempt before the last ended, as ``class:detail``."""
        return self.attempts[-2].reason if len(self.attempts) > 1 else None

    @property
    def cost(self) -> Cost | None:
        """What all attempts cost; ``None`` when none was started, or nobody worked it out."""
        costs = [attempt.cost for attempt in self.attempts if attempt.cost is not None]
        return total(costs) if len(costs) == len(self.attempts) else None

    @property
    def failure(self) -> Failure | None:
        """The last attempt's failure; ``None`` when it delivered or nothing was started."""
        return self.attempts[-1].failure if self.attempts else None

    def as_json(self) -> JsonObject:
        """Give the record with the interface's names, unknown fields absent."""
        head: dict[str, JsonValue] = {
            "time": timestamp(self.time),
            "request_id": self.request_id,
            "key_id": self.key_id,
            "team": self.team,
            "endpoint": self.endpoint,
            "path": self.path,
            "stream": self.stream,
        }
        facts = self.facts
        head["asked_model"] = self.model if facts is None else facts.asked_model
        if facts is not None:
            head["end_user_hash"] = facts.end_user_hash
            head["request_shape"] = shape_json(facts)
        if self.owner is not None:
            head["route_owner"] = self.owner.route_owner
            head["channel"] = self.owner.channel
            head["row"] = self.owner.row
            head["base_url_host"] = self.owner.base_url_host or None
            head["billing"] = self.owner.billing
            head["output_rights"] = self.owner.output_rights
        head["tags"] = dict(self.tags) or None
        head["model_mapping"] = self.mapping.as_json() if self.mapping else None
        head["config_version"] = self.config_version
        head["result"] = self.result.as_json()
        head["usage"] = self.usage
        cost = self.cost
        head["cost"] = cost.as_json() if cost else None
        head["credits"] = self.credits
        head["exposure_micro"] = cost.exposure_micro if cost else None
        head["fault"] = self.fault
        if self.attempts:
            head["attempts"] = [attempt.as_json() for attempt in self.attempts]
            head["retry_count"] = len(self.attempts) - 1
            head["retry_reason"] = self.retry_reason
        if self.excluded:
            head["excluded"] = [{"target": item.target, "reason": item.reason} for item in self.excluded]
        head["idempotency"] = self.idempotency.as_json() if self.idempotency else None
        head["flight_id"] = self.flight_id
        head["latency_ms"] = self.latency_ms
        head["upstream_ms"] = self.upstream_ms
        head["gateway_ms"] = self.gateway_ms
        return present(head)


def present(fields: dict[str, JsonValue]) -> JsonObject:
    """Drop what is unknown (``None``); zero, false and the empty list are known."""
    return {name: value for name, value in fields.items() if value is not None}


def timestamp(moment: datetime) -> str:
    """Write an aware UTC moment as RFC 3339 with milliseconds."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def image_json(image: ImageFacts) -> JsonObject:
    """Give one delivered picture's facts."""
    return present(
        {
            "sha256": image.sha256,
            "bytes": image.bytes,
            "width": image.width,
            "height": image.height,
            "format": image.format,
            "alpha": image.alpha,
        }
    )


def asset_json(asset: Asset | None) -> JsonObject:
    """Say as what a delivered picture is kept; one whose bytes are not in the store is ``missing``."""
    if asset is None:
        return {"asset": MISSING}
    return present(
        {
            "asset_id": asset.asset_id,
            "asset": None if asset.is_stored else MISSING,
            "storage_pointer": present(
                {
                    "path": asset.path,
                    "url": asset.url,
                    "expires_at": timestamp(asset.expires),
                    "deletion_policy": DELETION_POLICY,
                }
            ),
        }
    )


def input_json(given: InputFacts) -> JsonObject:
    """Give one picture of the caller's; its bytes' facts when we saw the bytes."""
    image = image_json(given.image) if given.image is not None else {}
    known = {} if given.asset_id is None else {"asset_id": given.asset_id}
    return {"source": given.source, **known, **{name: value for name, value in image.items() if name != "alpha"}}


def shape_json(facts: Facts) -> JsonObject:
    """Give ``request_shape``: the caller's parameters, with the prompt as hash and length."""
    return present(
        {
            "prompt_hash": facts.prompt_hash,
            "prompt_chars": facts.prompt_chars,
            "prompt": facts.prompt_text,
            "size": facts.size,
            "quality": facts.quality,
            "background": facts.background,
            "output_format": facts.output_format,
            "output_compression": facts.output_compression,
            "moderation": facts.moderation,
            "n": facts.n,
            "input_images": [input_json(given) for given in facts.inputs] or None,
            "mask": input_json(facts.mask) if facts.mask else None,
            "markup": input_json(facts.markup) if facts.markup else None,
            "input_fidelity": facts.input_fidelity,
            "partial_images": facts.partial_images,
        }
    )
