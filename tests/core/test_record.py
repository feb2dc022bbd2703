"""The record's shape: the names of the interface, and nothing that is not known."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.core.record import (
    AttemptRecord,
    Mapping3,
    Owner,
    Record,
    ResultRecord,
    image_json,
    input_json,
    present,
    shape_json,
    timestamp,
)
from gateway.core.types import (
    Action,
    AttemptId,
    Excluded,
    Facts,
    Failure,
    FailureClass,
    Fault,
    ImageFacts,
    InputFacts,
    InputRole,
    Outcome,
    RequestId,
    Surface,
)

TIME = datetime(2026, 11, 20, 12, 0, 0, 42_000, tzinfo=UTC)
PNG = ImageFacts(sha256="ab" * 32, bytes=1234, format="png", width=64, height=48, alpha=False)
UNREADABLE = ImageFacts(sha256="cd" * 32, bytes=9, format="unknown")
LIMITED = Failure(
    kind=FailureClass.RATE_LIMITED,
    detail="429",
    outcome=Outcome.REFUSED,
    fault=Fault.ACCOUNT,
    action=Action.NEXT,
    status=429,
)


def attempt(n: int, failure: Failure | None = None, **more: Any) -> AttemptRecord:
    return AttemptRecord(
        n=n,
        attempt_id=AttemptId(f"att_{n}"),
        channel=f"channel-{n}",
        owner=f"owner-{n}",
        row="pic",
        surface="images/generations",
        sent_model="pic-1",
        started_ms=1.5,
        duration_ms=20.25,
        outcome=failure.outcome if failure else Outcome.DELIVERED,
        failure=failure,
        **more,
    )


def record(**more: Any) -> Record:
    said = {"endpoint": "images/generations", "stream": False, "result": ResultRecord(status=200), "latency_ms": 30.0}
    return Record(time=TIME, request_id=RequestId("req_1"), **{**said, **more})


def test_the_least_that_a_record_says() -> None:
    assert record().as_json() == {
        "time": "2026-11-20T12:00:00.042Z",
        "request_id": "req_1",
        "endpoint": "images/generations",
        "stream": False,
        "result": {"status": 200, "delivery": "none", "images": []},
        "latency_ms": 30.0,
        "upstream_ms": 0.0,
        "gateway_ms": 30.0,
    }


def test_everything_that_a_record_may_say() -> None:
    facts = Facts(surface=Surface.GENERATIONS, asked_model="pic", end_user_hash="hmac:1", prompt_chars=3)
    owner = Owner(
        route_owner="owner-2",
        channel="channel-2",
        row="pic",
        base_url_host="b.test",
        billing="per call",
        output_rights="yours",
    )
    whole = record(
        facts=facts,
        config_version="v1",
        tags=(("team", "a"), ("job", "b")),
        owner=owner,
        mapping=Mapping3(asked="pic", sent="pic-1"),
        usage={"output_tokens": 7},
        fault=Fault.ACCOUNT,
        upstream_ms=25.0,
        attempts=(attempt(1, LIMITED, status=429, action="next"), attempt(2, status=200)),
        excluded=(Excluded(target="c/pic", reason="not_pinned"),),
        result=ResultRecord(
            status=200,
            delivery="stream",
            response_id="resp_1",
            images=(PNG,),
            partial_images_received=2,
            partial_images_sent=0,
            code="c",
        ),
    )
    said = json.loads(json.dumps(whole.as_json()))
    assert said["asked_model"] == "pic"
    assert said["end_user_hash"] == "hmac:1"
    assert (said["route_owner"], said["channel"], said["row"], said["base_url_host"]) == (
        *("owner-2", "channel-2", "pic", "b.test"),
    )
    assert (said["billing"], said["output_rights"], said["config_version"]) == ("per call", "yours", "v1")
    assert said["tags"] == {"team": "a", "job": "b"}
    assert said["model_mapping"] == {"asked": "pic", "sent": "pic-1", "served": "unverified"}
    assert said["usage"] == {"output_tokens": 7}
    assert said["fault"] == "account"
    assert (said["retry_count"], said["retry_reason"]) == (1, "rate_limited:429")
    assert said["excluded"] == [{"target": "c/pic", "reason": "not_pinned"}]
    assert said["gateway_ms"] == 5.0
    assert said["result"] == {
        "status": 200,
        "delivery": "stream",
        "response_id": "resp_1",
        "code": "c",
        "images": [image_json(PNG)],
        "partial_images_received": 2,
        "partial_images_sent": 0,
    }


def test_an_attempt_says_what_was_seen_and_what_followed() -> None:
    failed = attempt(1, LIMITED, status=429, action="next", region="eu", first_byte_ms=3.1, upstream_request_id="up")
    assert failed.reason == "rate_limited:429"
    said = failed.as_json()
    assert (said["class"], said["detail"], said["outcome"], said["action"]) == (
        *("rate_limited", "429", "refused", "next"),
    )
    assert (said["region"], said["first_byte_ms"], said["upstream_request_id"]) == ("eu", 3.1, "up")
    delivered = attempt(2)
    assert delivered.reason is None
    assert {"class", "detail", "action", "region", "status"} & delivered.as_json().keys() == set()
    assert delivered.as_json()["outcome"] == "delivered"


def test_the_last_attempt_is_the_records_failure_and_the_one_before_its_retry_reason() -> None:
    assert (record().failure, record().retry_reason) == (None, None)
    assert record(attempts=(attempt(1, LIMITED),)).failure is LIMITED
    assert record(attempts=(attempt(1, LIMITED),)).retry_reason is None
    both = record(attempts=(attempt(1, LIMITED), attempt(2)))
    assert (both.failure, both.retry_reason) == (None, "rate_limited:429")


def test_a_request_without_attempts_says_nothing_of_retries() -> None:
    assert {"attempts", "retry_count", "retry_reason"} & record().as_json().keys() == set()
    assert record(attempts=(attempt(1),)).as_json()["retry_count"] == 0


def test_our_share_of_the_time_is_never_negative() -> None:
    assert record(upstream_ms=31.04).gateway_ms == 0.0


def test_the_sandbox_has_no_host() -> None:
    owner = Owner(route_owner="sandbox", channel="sandbox", row="pic", base_url_host="")
    assert "base_url_host" not in record(owner=owner).as_json()


def test_a_mapping_with_a_tool() -> None:
    mapping = Mapping3(asked="chat", sent="chat-1", served="chat-1-2026", tool_asked="pic", tool_sent="pic-1")
    assert mapping.as_json() == {
        "asked": "chat",
        "sent": "chat-1",
        "served": "chat-1-2026",
        "tool_asked": "pic",
        "tool_sent": "pic-1",
    }


def test_zero_false_and_nothing_are_known_and_only_none_is_not() -> None:
    assert present({"a": 0, "b": False, "c": [], "d": "", "e": None}) == {"a": 0, "b": False, "c": [], "d": ""}


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02T03:04:05.000Z"),
        (datetime(2026, 1, 2, 3, 4, 5, 999_999, tzinfo=UTC), "2026-01-02T03:04:05.999Z"),
    ],
)
def test_times_are_utc_with_milliseconds(moment: datetime, text: str) -> None:
    assert timestamp(moment) == text


def test_what_a_header_does_not_tell_is_absent() -> None:
    assert image_json(UNREADABLE) == {"sha256": "cd" * 32, "bytes": 9, "format": "unknown"}


def test_pictures_that_were_given() -> None:
    seen = InputFacts(role=InputRole.IMAGE, source="upload", image=PNG)
    assert input_json(seen) == {
        "source": "upload",
        "sha256": "ab" * 32,
        "bytes": 1234,
        "width": 64,
        "height": 48,
        "format": "png",
    }
    assert input_json(InputFacts(role=InputRole.IMAGE, source="url")) == {"source": "url"}


def test_the_shape_of_a_request_holds_no_prompt_unless_it_is_given() -> None:
    mask = InputFacts(role=InputRole.MASK, source="upload", image=PNG)
    markup = InputFacts(role=InputRole.MARKUP, source="url")
    facts = Facts(
        surface=Surface.EDITS,
        asked_model="pic",
        n=2,
        size="64x48",
        prompt_hash="hmac:2",
        prompt_chars=12,
        inputs=(InputFacts(role=InputRole.IMAGE, source="upload", image=PNG),) * 2,
        mask=mask,
        markup=markup,
    )
    said = shape_json(facts)
    assert (said["prompt_hash"], said["prompt_chars"], said["n"], said["size"]) == ("hmac:2", 12, 2, "64x48")
    assert said["input_images"] == [input_json(facts.inputs[0])] * 2
    assert (said["mask"], said["markup"]) == (input_json(mask), input_json(markup))
    assert {"prompt", "quality", "background"} & said.keys() == set()
    plain = shape_json(Facts(surface=Surface.GENERATIONS, asked_model="pic", prompt_text="a lighthouse"))
    assert plain["prompt"] == "a lighthouse"
    assert {"input_images", "mask", "markup"} & plain.keys() == set()
