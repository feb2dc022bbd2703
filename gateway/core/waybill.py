"""Fills in the record of a request from what its walk left behind.

Pure: the plan, the attempts and the last good reading go in, the record comes out. It decides nothing about routing; it
only knows which attempt's owner the client is told (the one that served, else the last one started).
"""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from gateway.core.delivery import Shape
from gateway.core.plan import Plan, Target
from gateway.core.principal import ANYONE, Principal
from gateway.core.record import AttemptRecord, Idempotency, Mapping3, Owner, Record, ResultRecord
from gateway.core.seen import Reading
from gateway.core.types import Directives, Excluded, Facts, Fault, RequestId, Surface

PENDING: Final = "pending"


class Header(Struct, frozen=True, kw_only=True):
    """What a record says before anything was decided."""

    time: datetime
    request_id: RequestId
    endpoint: str
    stream: bool
    config_version: str | None = None
    facts: Facts | None = None
    model: str | None = None  # where the facts do not say it
    directives: Directives | None = None
    principal: Principal = ANYONE
    flight_id: str | None = None

    @property
    def idempotency(self) -> Idempotency | None:
        """The caller's Idempotency-Key as the record has it; whoever replays an answer says so."""
        key = self.directives.idempotency if self.directives else None
        return None if key is None else Idempotency(key_hash=key)


class Previews(Struct, frozen=True, kw_only=True):
    """How many previews a stream brought, and how many of them reached the client."""

    received: int
    sent: int


class Told(Struct, frozen=True, kw_only=True):
    """What a client was told while its request went on: HTTP status, and our error code if any."""

    status: int
    code: str | None = None


class Ending(Struct, frozen=True, kw_only=True):
    """How the request ended for the client: HTTP status, our error code if any, whose fault, how long it took."""

    status: int
    latency_ms: float
    code: str | None = None
    fault: Fault | None = None
    delivered: bool = False  # the client was there and got the upstream's body
    previews: Previews | None = None  # the answer was a stream
    differences: tuple[str, ...] = ()  # between what was asked and what came
    shape: Shape | None = None  # the form that pictures were given in, of a whole answer of an images surface
    credits: int | None = None  # charged to the key
    told: Told | None = None  # to a client that did not wait for this


def unrouted(header: Header, ending: Ending, excluded: Sequence[Excluded] = ()) -> Record:
    """Give the record of a request that ended before any target was chosen."""
    return Record(
        time=header.time,
        request_id=header.request_id,
        endpoint=header.endpoint,
        stream=header.stream,
        config_version=header.config_version,
        facts=header.facts,
        model=header.model,
        tags=header.directives.tags if header.directives else header.principal.tags,
        key_id=header.principal.key_id,
        team=header.principal.team,
        credits=ending.credits,
        fault=ending.fault,
        excluded=tuple(excluded),
        latency_ms=ending.latency_ms,
        idempotency=header.idempotency,
        flight_id=header.flight_id,
        result=ResultRecord(status=ending.status, code=ending.code),
    )


def routed(
    header: Header,
    ending: Ending,
    plan: Plan,
    attempts: Sequence[AttemptRecord],
    served: Reading | None,
) -> Record:
    """Give the record of a request that had a plan. ``served`` is the reading of the answer the client gets."""
    last = _last_started(plan, attempts)
    return replace(
        unrouted(header, ending, plan.excluded),
        owner=owner_of(last) if last else None,
        mapping=_mapping(plan, last, header.facts, served) if last else None,
        usage=served.usage if served else None,
        attempts=tuple(attempts),
        upstream_ms=round(sum(attempt.duration_ms for attempt in attempts), 1),
        result=ResultRecord(
            status=ending.status,
            code=ending.code,
            told_status=ending.told.status if ending.told else None,
            told_code=ending.told.code if ending.told else None,
            warnings=_warnings(last, header.time.date(), ending),
            delivery=_delivery(served, ending),
            response_id=served.response_id if served else None,
            images=served.pictures if served else (),
            partial_images_received=ending.previews.received if ending.previews else None,
            partial_images_sent=ending.previews.sent if ending.previews else None,
        ),
    )


def notices(target: Target, day: date) -> tuple[str, ...]:
    """Give the warnings that are known of a target before it answers, in words of ``x-route-warnings``."""
    said = [change.stamp for change in target.changes]
    told = (
        ("substituted", target.substitute),
        ("translated:model", target.translated_model),
        ("contract_doubt", target.is_doubtful),
        ("not_verified", target.is_unverified),
        ("model_retiring", target.contract.retires_soon(day)),
    )
    return (*(word for word, holds in told if holds), *said)


def pending(record: Record) -> Record:
    """Give a record as it can be told before its stream: which model serves is not known yet."""
    return replace(record, mapping=replace(record.mapping, served=PENDING) if record.mapping else None)


def owner_of(target: Target) -> Owner:
    """Copy the channel's words about its contract."""
    channel = target.channel
    return Owner(
        route_owner=channel.owner,
        channel=channel.name,
        row=target.row.name,
        base_url_host=channel.host,
        billing=channel.billing,
        output_rights=channel.output_rights,
    )


def _last_started(plan: Plan, attempts: Sequence[AttemptRecord]) -> Target | None:
    if not attempts:
        return None
    name = (attempts[-1].channel, attempts[-1].row)
    return next((target for target in plan.targets if (target.channel.name, target.row.name) == name), None)


def _mapping(plan: Plan, target: Target, facts: Facts | None, served: Reading | None) -> Mapping3:
    tool_asked = facts.tool.asked_model if facts and facts.tool else None
    return Mapping3(
        asked=plan.asked_model,
        sent=target.sent_model,
        served=served.served_model if served else None,
        tool_asked=tool_asked,
        tool_sent=target.tool_sent_model if tool_asked else None,
    )


def _warnings(last: Target | None, day: date, ending: Ending) -> tuple[str, ...]:
    told = (*(notices(last, day) if last else ()), *ending.differences)
    return told if ending.shape is None else ending.shape.stamped(told)


def _delivery(served: Reading | None, ending: Ending) -> str:
    if served is None or not ending.delivered:
        return "none"
    if ending.previews is not None:
        return "stream"
    if ending.shape is not None:
        return ending.shape.form or "none"
    if served.url_count:
        return "url"
    return "b64_json" if served.pictures else "none"


def is_image_work(facts: Facts) -> bool:
    """Whether a paid picture may come of this request, so that it is finished even when the client leaves."""
    return facts.surface is not Surface.RESPONSES or facts.tool is not None
