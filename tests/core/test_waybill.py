"""From plan, attempts and reading to the record: whose name stands on it, and what it says was delivered."""

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from gateway.core.plan import Plan, Target
from gateway.core.record import AttemptRecord
from gateway.core.seen import Reading
from gateway.core.table import Channel, Route
from gateway.core.translation import Change
from gateway.core.types import (
    AttemptId,
    Directives,
    Excluded,
    Facts,
    Fault,
    ImageFacts,
    JsonValue,
    Outcome,
    RequestId,
    Surface,
    ToolFacts,
)
from gateway.core.waybill import (
    Ending,
    Header,
    Previews,
    is_image_work,
    notices,
    owner_of,
    pending,
    routed,
    unrouted,
)
from tests.core.contract_cases import contract
from tests.core.tables import planned, three_targets

TIME = datetime(2026, 11, 20, tzinfo=UTC)
PLAN = planned(Route(name="m", targets=three_targets()))
PICTURE = ImageFacts(sha256="ab" * 32, bytes=9, format="png", width=8, height=8)
SERVED = Reading(shaped=True, pictures=(PICTURE,), usage={"output_tokens": 7}, served_model="m-2026")
DELIVERED = Ending(status=200, latency_ms=40.0, delivered=True)
FACTS = Facts(surface=Surface.GENERATIONS, asked_model="m")
HEADER = Header(
    time=TIME,
    request_id=RequestId("req_1"),
    endpoint="images/generations",
    stream=False,
    config_version="v1",
    facts=FACTS,
    directives=Directives(tags=(("team", "a"),)),
)


def attempt(n: int, target: Target, duration_ms: float = 10.04) -> AttemptRecord:
    return AttemptRecord(
        n=n,
        attempt_id=AttemptId(f"att_{n}"),
        channel=target.channel.name,
        owner=target.channel.owner,
        row=target.row.name,
        surface="images/generations",
        sent_model=target.sent_model,
        started_ms=0.0,
        duration_ms=duration_ms,
        outcome=Outcome.DELIVERED,
    )


def test_a_request_that_was_never_routed_has_no_owner() -> None:
    ending = Ending(status=404, latency_ms=1.0, code="model_not_found", fault=Fault.CALLER)
    record = unrouted(HEADER, ending, [Excluded(target="a/m", reason="not_pinned")])
    assert (record.owner, record.mapping, record.attempts) == (None, None, ())
    assert (record.result.status, record.result.code, record.fault) == (404, "model_not_found", Fault.CALLER)
    assert (record.tags, record.facts) == ((("team", "a"),), FACTS)
    assert record.excluded == (Excluded(target="a/m", reason="not_pinned"),)


def test_a_header_may_know_almost_nothing() -> None:
    bare = Header(time=TIME, request_id=RequestId("req_1"), endpoint="responses", stream=True)
    record = unrouted(bare, Ending(status=400, latency_ms=0.1))
    assert (record.tags, record.facts, record.stream, record.excluded) == ((), None, True, ())
    assert routed(bare, Ending(status=499, latency_ms=0.1), PLAN, [], None).tags == ()


def test_the_owner_is_that_of_the_last_attempt() -> None:
    first, second, _ = PLAN.targets
    record = routed(HEADER, DELIVERED, PLAN, [attempt(1, first), attempt(2, second)], SERVED)
    assert record.owner == owner_of(second)
    assert record.owner is not None
    assert (record.owner.route_owner, record.owner.channel) == ("b inc", "b")
    assert record.mapping is not None
    assert (record.mapping.asked, record.mapping.sent, record.mapping.served) == ("m", "m-at-b", "m-2026")
    assert (record.upstream_ms, record.latency_ms) == (20.1, 40.0)
    assert record.usage == {"output_tokens": 7}


def test_nothing_started_leaves_owner_and_mapping_out() -> None:
    record = routed(HEADER, Ending(status=503, latency_ms=5.0, code="ledger_unavailable"), PLAN, [], None)
    assert (record.owner, record.mapping, record.usage) == (None, None, None)
    assert record.excluded == PLAN.excluded


def test_an_unreported_model_stays_unsaid() -> None:
    record = routed(HEADER, DELIVERED, PLAN, [attempt(1, PLAN.targets[0])], Reading(shaped=True))
    assert record.mapping is not None
    assert record.mapping.served is None
    assert record.mapping.as_json()["served"] == "unverified"


def test_before_its_stream_the_served_model_is_pending() -> None:
    told = pending(routed(HEADER, DELIVERED, PLAN, [attempt(1, PLAN.targets[0])], None))
    assert told.mapping is not None
    assert told.mapping.served == "pending"
    assert pending(unrouted(HEADER, DELIVERED)).mapping is None


@pytest.mark.parametrize(
    ("served", "ending", "delivery"),
    [
        (SERVED, DELIVERED, "b64_json"),
        (Reading(shaped=True, url_count=2), DELIVERED, "url"),
        (Reading(shaped=True), DELIVERED, "none"),  # a turn of words
        (SERVED, Ending(status=200, latency_ms=1.0), "none"),  # the client had left
        (None, DELIVERED, "none"),
        (SERVED, Ending(status=200, latency_ms=1.0, delivered=True, previews=Previews(received=2, sent=1)), "stream"),
    ],
)
def test_what_was_delivered(served: Reading | None, ending: Ending, delivery: str) -> None:
    result = routed(HEADER, ending, PLAN, [attempt(1, PLAN.targets[0])], served).result
    assert result.delivery == delivery
    assert result.images == (served.pictures if served else ())
    assert result.partial_images_received == (ending.previews.received if ending.previews else None)
    assert result.partial_images_sent == (ending.previews.sent if ending.previews else None)


@pytest.mark.parametrize(("asked", "sent"), [("pic", "pic-at-a"), (None, None)])
def test_a_tools_model_is_told_when_the_caller_named_one(asked: str | None, sent: str | None) -> None:
    target = PLAN.targets[0]
    drawn = Target(
        channel=target.channel,
        row=target.row,
        sent_model="chat-1",
        tool_sent_model="pic-at-a",
        patience_s=1.0,
    )
    plan = Plan(
        route=PLAN.route,
        asked_model="chat",
        facts=PLAN.facts,
        table=PLAN.table,
        targets=(drawn,),
        excluded=(),
        max_attempts=1,
        deadline_s=1.0,
    )
    facts = Facts(surface=Surface.RESPONSES, asked_model="chat", tool=ToolFacts(asked_model=asked, forced=False))
    header = Header(time=TIME, request_id=RequestId("req_1"), endpoint="responses", stream=False, facts=facts)
    mapping = routed(header, DELIVERED, plan, [attempt(1, drawn)], None).mapping
    assert mapping is not None
    assert (mapping.tool_asked, mapping.tool_sent) == (asked, sent)


def test_an_owner_is_a_copy_of_the_channels_words() -> None:
    channel: Channel = PLAN.targets[0].channel
    owner = owner_of(PLAN.targets[0])
    assert (owner.route_owner, owner.channel, owner.row) == (channel.owner, channel.name, "m")
    assert (owner.base_url_host, owner.billing, owner.output_rights) == (channel.host, None, None)


@pytest.mark.parametrize(
    ("facts", "is_work"),
    [
        (FACTS, True),
        (Facts(surface=Surface.EDITS, asked_model=None), True),
        (Facts(surface=Surface.RESPONSES, asked_model="chat"), False),
        (Facts(surface=Surface.RESPONSES, asked_model="chat", tool=ToolFacts(asked_model=None, forced=False)), True),
    ],
)
def test_what_may_cost_a_picture_is_image_work(facts: Facts, is_work: bool) -> None:
    assert is_image_work(facts) is is_work


def test_what_was_changed_for_a_target_is_a_warning() -> None:
    first = PLAN.targets[0]
    assert notices(first, TIME.date()) == ()
    odd = replace(
        first,
        substitute=True,
        translated_model=True,
        is_doubtful=True,
        contract=contract("gpt-image-1.5"),
        changes=(Change(param="size", text="1024x1024"), Change(param="style")),
    )
    assert notices(odd, TIME.date()) == (
        "substituted",
        "translated:model",
        "contract_doubt",
        "model_retiring",
        "translated:size",
        "dropped:style",
    )


def test_differences_stand_behind_what_was_known_before() -> None:
    plan = replace(PLAN, targets=(replace(PLAN.targets[0], substitute=True),))
    ending = replace(DELIVERED, differences=("size_mismatch",))
    record = routed(HEADER, ending, plan, [attempt(1, plan.targets[0])], SERVED)
    assert record.result.warnings == ("substituted", "size_mismatch")
    assert record.as_json()["result"] == {**routed_result(plan), "warnings": ["substituted", "size_mismatch"]}
    assert routed(HEADER, ending, plan, [], SERVED).result.warnings == ("size_mismatch",)


def routed_result(plan: Plan) -> Mapping[str, JsonValue]:
    plain = replace(plan, targets=(replace(plan.targets[0], substitute=False),))
    document = routed(HEADER, DELIVERED, plain, [attempt(1, plain.targets[0])], SERVED).as_json()["result"]
    assert isinstance(document, Mapping)
    assert "warnings" not in document
    return document
