"""The failure table, row by row: what an upstream said, and what we call it."""

import math
import re

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.core.failures import CONSEQUENCES, ClassifyContext, classify
from gateway.core.redact import header_value
from gateway.core.seen import AnswerFacts, Observation, Reading, StreamFacts
from gateway.core.table import ChannelKind
from gateway.core.types import (
    Action,
    Cause,
    ErrorBody,
    Failure,
    FailureClass,
    Fault,
    ImageFacts,
    Outcome,
    Phase,
    Surface,
)
from tests.core.vectors import CATALOG, CODES, REFUSALS, err

IMAGES = ClassifyContext(surface=Surface.GENERATIONS, channel_kind=ChannelKind.DIRECT)
GATEWAY = ClassifyContext(surface=Surface.EDITS, channel_kind=ChannelKind.GATEWAY)
TEXT = ClassifyContext(surface=Surface.RESPONSES, channel_kind=ChannelKind.DIRECT)
TURN = ClassifyContext(surface=Surface.RESPONSES, channel_kind=ChannelKind.DIRECT, has_image_tool=True)
FORCED = ClassifyContext(
    surface=Surface.RESPONSES, channel_kind=ChannelKind.DIRECT, has_image_tool=True, tool_forced=True
)
PICTURE = ImageFacts(sha256="0" * 64, bytes=67, format="png")
JSON_HEAD = {"content-type": "application/json; charset=utf-8"}


def answered(
    status: int, error: ErrorBody | None = None, context: ClassifyContext = IMAGES, elapsed_s: float = 1.0
) -> Failure | None:
    seen = Observation(phase=Phase.DONE, elapsed_s=elapsed_s, status=status, headers=JSON_HEAD)
    return classify(seen, Reading(error=error), context, CODES)


def good(reading: Reading, context: ClassifyContext, headers: dict[str, str] | None = None) -> Failure | None:
    seen = Observation(
        phase=Phase.DONE,
        elapsed_s=30.0,
        status=200,
        headers=JSON_HEAD if headers is None else headers,
        answer=AnswerFacts(bytes=10, document={}),
    )
    return classify(seen, reading, context, CODES)


def named(failure: Failure | None) -> str:
    return "delivered" if failure is None else f"{failure.kind}:{failure.detail}"


def test_the_catalog_has_its_keys_and_nothing_else() -> None:
    data = yaml.safe_load(CATALOG.read_text(encoding="utf-8"))
    assert set(data) == {"as_of", "sources", "codes", "code_prefixes", "types", "statuses", "phrases"}
    assert all(set(entry) == {"text", "class"} and entry["text"] == entry["text"].lower() for entry in data["phrases"])
    generic = {"invalid_request_error", "image_generation_user_error", "server_error", "upstream_error"}
    assert not generic & set(data["types"])
    assert not generic & set(data["codes"])


NEXT, STOP = Action.NEXT, Action.STOP


@pytest.mark.parametrize(
    ("kind", "outcome", "action", "fault"),
    [
        ("unreachable", Outcome.NOT_SENT, NEXT, Fault.UPSTREAM),
        ("rate_limited", Outcome.REFUSED, NEXT, Fault.ACCOUNT),
        ("quota_exhausted", Outcome.REFUSED, NEXT, Fault.ACCOUNT),
        ("key_rejected", Outcome.REFUSED, NEXT, Fault.ACCOUNT),
        ("account_not_ready", Outcome.REFUSED, NEXT, Fault.ACCOUNT),
        ("model_missing", Outcome.REFUSED, NEXT, Fault.ROUTING),
        ("unsupported_option", Outcome.REFUSED, STOP, Fault.OPTION),
        ("bad_request", Outcome.REFUSED, STOP, Fault.CALLER),
        ("content_policy", Outcome.REFUSED, STOP, Fault.CALLER),
        ("overloaded", Outcome.REFUSED, NEXT, Fault.UPSTREAM),
        ("server_error", Outcome.REFUSED, NEXT, Fault.UPSTREAM),
        ("lost_behind", Outcome.UNKNOWN, STOP, Fault.UPSTREAM),
        ("timeout", Outcome.UNKNOWN, STOP, Fault.UPSTREAM),
        ("connection_lost", Outcome.UNKNOWN, STOP, Fault.UPSTREAM),
        ("malformed", Outcome.UNKNOWN, STOP, Fault.UPSTREAM),
        ("empty_result", Outcome.UNKNOWN, STOP, Fault.UPSTREAM),
        ("cut", Outcome.UNKNOWN, STOP, Fault.UPSTREAM),
        ("client_gone", Outcome.UNKNOWN, STOP, Fault.CALLER),
    ],
)
def test_the_table_of_consequences(kind: str, outcome: Outcome, action: Action, fault: Fault) -> None:
    row = CONSEQUENCES[FailureClass(kind)]
    assert (row.outcome, row.action, row.fault) == (outcome, action, fault)
    assert set(CONSEQUENCES) == set(FailureClass)


@pytest.mark.parametrize(
    ("phase", "cause", "name"),
    [
        (Phase.UNSENT, Cause.CONNECT_REFUSED, "unreachable:connect_refused"),
        (Phase.UNSENT, Cause.DNS, "unreachable:dns"),
        (Phase.UNSENT, Cause.TLS, "unreachable:tls"),
        (Phase.UNSENT, Cause.CONNECT_TIMEOUT, "unreachable:connect_timeout"),
        (Phase.UNSENT, Cause.POOL_TIMEOUT, "unreachable:pool_timeout"),
        (Phase.UNSENT, Cause.RESET, "unreachable:reset"),
        (Phase.UNSENT, Cause.DEADLINE, "unreachable:deadline"),
        (Phase.UNSENT, None, "unreachable:connect_failed"),
        (Phase.UNSENT, Cause.CLIENT_GONE, "client_gone:client_gone"),
        (Phase.SENT, Cause.UPLOAD_STALLED, "timeout:upload_stalled"),
        (Phase.SENT, Cause.PATIENCE, "timeout:patience"),
        (Phase.SENT, Cause.DEADLINE, "timeout:deadline"),
        (Phase.SENT, Cause.DROPPED, "connection_lost:dropped"),
        (Phase.SENT, Cause.RESET, "connection_lost:reset"),
        (Phase.SENT, Cause.BAD_FRAMING, "malformed:bad_framing"),
        (Phase.SENT, Cause.TLS, "connection_lost:tls"),
        (Phase.SENT, Cause.CLIENT_GONE, "client_gone:client_gone"),
        (Phase.SENT, None, "connection_lost:dropped"),
        (Phase.ANSWERED, Cause.TRUNCATED, "connection_lost:truncated"),
        (Phase.ANSWERED, Cause.RESET, "connection_lost:reset"),
        (Phase.ANSWERED, Cause.IDLE, "timeout:idle"),
        (Phase.ANSWERED, Cause.BAD_FRAMING, "malformed:bad_framing"),
        (Phase.ANSWERED, Cause.BAD_ENCODING, "malformed:bad_encoding"),
        (Phase.ANSWERED, Cause.TOO_LARGE, "malformed:too_large"),
        (Phase.ANSWERED, Cause.SPOOL_FULL, "connection_lost:spool_full"),
        (Phase.ANSWERED, None, "connection_lost:truncated"),
    ],
)
def test_an_exchange_that_broke_is_named_by_its_phase_and_cause(phase: Phase, cause: Cause | None, name: str) -> None:
    failure = classify(Observation(phase=phase, elapsed_s=1.0, cause=cause), None, IMAGES, CODES)
    assert failure is not None
    assert named(failure) == name
    assert failure.outcome is (Outcome.NOT_SENT if phase is Phase.UNSENT else Outcome.UNKNOWN)


def test_a_status_does_not_save_an_answer_whose_body_broke() -> None:
    seen = Observation(phase=Phase.ANSWERED, elapsed_s=1.0, cause=Cause.RESET, status=503)
    failure = classify(seen, None, IMAGES, CODES)
    assert failure is not None
    assert (named(failure), failure.status, failure.action) == ("connection_lost:reset", 503, STOP)


@pytest.mark.parametrize(("status", "error", "name"), REFUSALS)
def test_an_answered_refusal_is_named_by_code_then_type_then_status_then_phrase(
    status: int, error: ErrorBody | None, name: str
) -> None:
    failure = answered(status, error)
    assert failure is not None
    assert named(failure) == f"{name}:{status}"
    assert (failure.status, failure.error, failure.passes_through) == (status, error, False)


@pytest.mark.parametrize("code", ["do_request_failed", "insufficient_quota", "moderation_blocked", "model_not_found"])
@pytest.mark.parametrize("status", [400, 403, 429, 500, 502, 504, 520])
def test_a_known_code_decides_whatever_the_status(code: str, status: int) -> None:
    failure = answered(status, err(code))
    assert failure is not None
    assert failure.kind is CODES.codes[code]


@pytest.mark.parametrize(
    ("elapsed_s", "status", "error", "context", "name"),
    [
        (19.9, 500, err("x"), GATEWAY, "server_error"),
        (20.0, 500, err("x"), GATEWAY, "lost_behind"),
        (20.0, 503, err("get_channel_failed"), GATEWAY, "lost_behind"),
        (20.0, 500, err("empty_response"), GATEWAY, "lost_behind"),
        (20.0, 504, None, GATEWAY, "timeout"),
        (20.0, 500, err("prompt_blocked"), GATEWAY, "content_policy"),
        (20.0, 429, None, GATEWAY, "rate_limited"),
        (90.0, 500, err("x"), IMAGES, "server_error"),
    ],
)
def test_a_gateway_that_fails_late_may_have_bought(
    elapsed_s: float, status: int, error: ErrorBody | None, context: ClassifyContext, name: str
) -> None:
    assert named(answered(status, error, context, elapsed_s)) == f"{name}:{status}"


@pytest.mark.parametrize("status", [0, 100, 199, 301, 302, 304, 307, 399])
def test_a_redirect_is_not_followed_and_not_an_answer(status: int) -> None:
    assert named(answered(status)) == f"malformed:{status}"


@pytest.mark.parametrize(
    ("content_type", "document", "shaped", "name"),
    [
        ("text/html; charset=utf-8", None, False, "malformed:html"),
        ("application/json", None, False, "malformed:json"),
        ("", None, False, "malformed:json"),
        ("text/event-stream", None, False, "malformed:content_type"),
        ("text/plain", {}, True, "malformed:content_type"),
        ("application/json", {}, False, "malformed:shape"),
        ("application/problem+json", {}, True, "empty_result:no_picture"),
    ],
)
def test_a_200_must_look_like_its_surface(
    content_type: str, document: dict[str, str] | None, shaped: bool, name: str
) -> None:
    headers = {"content-type": content_type} if content_type else {}
    answer = AnswerFacts(bytes=2, document=document)
    seen = Observation(phase=Phase.DONE, elapsed_s=1.0, status=200, headers=headers, answer=answer)
    assert named(classify(seen, Reading(shaped=shaped), IMAGES, CODES)) == name


def test_an_answer_without_a_body_is_malformed() -> None:
    assert named(answered(204)) == "malformed:json"


@pytest.mark.parametrize(
    ("reading", "context", "name"),
    [
        (Reading(error=err("rate_limit_exceeded")), IMAGES, "malformed:rate_limit_exceeded"),
        (Reading(error=err("moderation_blocked")), IMAGES, "content_policy:moderation_blocked"),
        (Reading(error=err(message="no")), IMAGES, "malformed:error"),
        (Reading(error=err("a\r\nset-cookie: b")), IMAGES, "malformed:error"),
        (Reading(error=err("sk-proj-abcdefgh")), IMAGES, "malformed:error"),
        (Reading(error=err("x"), shaped=True), IMAGES, "malformed:x"),
        (Reading(error=err("x")), TURN, "malformed:x"),
        (Reading(error=err("x"), shaped=True, pictures=(PICTURE,)), IMAGES, "delivered"),
        (Reading(shaped=True, pictures=(PICTURE,)), IMAGES, "delivered"),
        (Reading(shaped=True, url_count=1), IMAGES, "delivered"),
        (Reading(shaped=True), IMAGES, "empty_result:no_picture"),
        (Reading(shaped=True, response_status="completed"), TEXT, "delivered"),
        (Reading(shaped=True, response_status="completed", error=err("x")), TEXT, "delivered"),
        (Reading(shaped=True, response_status="completed"), TURN, "delivered"),
        (Reading(shaped=True, response_status="completed"), FORCED, "empty_result:no_picture"),
        (Reading(shaped=True, response_status="incomplete"), FORCED, "delivered"),
        (Reading(shaped=True, response_status="cancelled"), FORCED, "delivered"),
        (Reading(shaped=True, response_status="completed", pictures=(PICTURE,)), FORCED, "delivered"),
    ],
)
def test_what_a_200_holds(reading: Reading, context: ClassifyContext, name: str) -> None:
    assert named(good(reading, context)) == name


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (err("server_error"), "server_error:server_error"),
        (err("insufficient_quota"), "quota_exhausted:insufficient_quota"),
        (err("rate_limit_exceeded"), "rate_limited:rate_limit_exceeded"),
        (err("invalid_image_url"), "bad_request:invalid_image_url"),
        (err("bio_policy"), "content_policy:bio_policy"),
        (err("something_new"), "server_error:something_new"),
        (err(message="Rejected by the safety system."), "content_policy:failed"),
        (None, "server_error:failed"),
    ],
)
def test_a_failed_response_is_classed_by_its_code_and_passes_through(error: ErrorBody | None, name: str) -> None:
    failure = good(Reading(shaped=True, response_status="failed", error=error), TEXT)
    assert failure is not None
    assert named(failure) == name
    assert failure.passes_through


@pytest.mark.parametrize(
    ("item", "context", "pictures", "name"),
    [
        (err("moderation_blocked"), TURN, (), "content_policy:moderation_blocked"),
        (err("moderation_blocked"), FORCED, (), "content_policy:moderation_blocked"),
        (err("moderation_blocked"), TURN, (PICTURE,), "delivered"),
        (err("server_error"), TURN, (), "delivered"),
        (err("rate_limit_exceeded"), FORCED, (), "rate_limited:rate_limit_exceeded"),
        (err("server_error"), FORCED, (), "empty_result:server_error"),
    ],
)
def test_a_failed_image_item(
    item: ErrorBody, context: ClassifyContext, pictures: tuple[ImageFacts, ...], name: str
) -> None:
    reading = Reading(shaped=True, response_status="completed", item_error=item, pictures=pictures)
    failure = good(reading, context)
    assert named(failure) == name
    assert failure is None or failure.passes_through


@pytest.mark.parametrize(("tokens", "action"), [(None, NEXT), (0, NEXT), (1, STOP)])
def test_nothing_drawn_is_asked_elsewhere_only_when_no_output_is_reported(tokens: int | None, action: Action) -> None:
    failure = good(Reading(shaped=True, output_tokens=tokens), IMAGES)
    assert failure is not None
    assert failure.action is action


@pytest.mark.parametrize(
    ("context", "action"), [(TEXT, NEXT), (TURN, STOP), (FORCED, STOP), (IMAGES, STOP), (GATEWAY, STOP)]
)
@pytest.mark.parametrize("cause", [Cause.PATIENCE, Cause.RESET, Cause.BAD_FRAMING])
def test_a_lost_text_answer_is_asked_elsewhere_and_a_lost_picture_is_not(
    context: ClassifyContext, action: Action, cause: Cause
) -> None:
    failure = classify(Observation(phase=Phase.SENT, elapsed_s=1.0, cause=cause), None, context, CODES)
    assert failure is not None
    assert failure.action is action
    assert answered(502, context=context) == Failure(
        kind=FailureClass.LOST_BEHIND,
        detail="502",
        outcome=Outcome.UNKNOWN,
        fault=Fault.UPSTREAM,
        action=action,
        status=502,
    )


def test_the_wait_is_taken_from_header_or_words() -> None:
    headers = {**JSON_HEAD, "retry-after": "7"}
    seen = Observation(phase=Phase.DONE, elapsed_s=1.0, status=429, headers=headers)
    limited = classify(seen, Reading(), IMAGES, CODES)
    spoken = answered(429, err("rate_limit_exceeded", message="Please try again in 12s."))
    assert limited is not None
    assert spoken is not None
    assert (limited.retry_after_s, spoken.retry_after_s) == (7.0, 12.0)


texts = st.text(max_size=40) | st.sampled_from([*CODES.codes, *CODES.types, "channel:x", "must be verified to use"])
errors = st.none() | st.builds(
    ErrorBody, message=texts, type=st.none() | texts, param=st.none() | texts, code=st.none() | texts
)


def read(
    error: ErrorBody | None, item_error: ErrorBody | None, came: tuple[int, bool], told: tuple[int | None, str | None]
) -> Reading:
    return Reading(
        shaped=came[1],
        error=error,
        item_error=item_error,
        pictures=(PICTURE,) if came[0] > 2 else (),
        url_count=came[0] % 3,
        output_tokens=told[0],
        response_status=told[1],
    )


statuses = st.sampled_from(["failed", "completed", "incomplete", "cancelled"]) | st.text()
readings = st.builds(
    read,
    error=errors,
    item_error=errors,
    came=st.tuples(st.integers(0, 5), st.booleans()),
    told=st.tuples(st.none() | st.integers(), st.none() | statuses),
)
observations = st.builds(
    Observation,
    phase=st.sampled_from(Phase),
    elapsed_s=st.floats(),
    cause=st.none() | st.sampled_from(Cause),
    status=st.none() | st.integers(-1, 1000),
    headers=st.dictionaries(st.sampled_from(["content-type", "retry-after", "retry-after-ms", "date"]), texts),
    answer=st.sampled_from([None, AnswerFacts(bytes=1, document=None), AnswerFacts(bytes=1, document={})]),
)
contexts = st.builds(
    ClassifyContext,
    surface=st.sampled_from(Surface),
    channel_kind=st.sampled_from(ChannelKind),
    has_image_tool=st.booleans(),
    tool_forced=st.booleans(),
)


@settings(max_examples=200, deadline=None)
@given(observations, st.none() | readings, contexts)
def test_classify_is_total_and_never_calls_a_lost_purchase_refused(
    seen: Observation, reading: Reading | None, context: ClassifyContext
) -> None:
    failure = classify(seen, reading, context, CODES)
    assert classify(seen, reading, context, CODES) == failure
    if failure is None:
        assert seen.phase is Phase.DONE
        assert 200 <= (seen.status or 0) < 300
        return
    assert header_value(failure.detail) == failure.detail
    assert re.fullmatch(r"[A-Za-z0-9._:/-]{1,80}", failure.detail)
    assert failure.retry_after_s is None or (
        0 <= failure.retry_after_s <= 3600 and math.isfinite(failure.retry_after_s)
    )
    if seen.phase is Phase.UNSENT:
        assert failure.outcome is Outcome.NOT_SENT
    elif seen.phase is not Phase.DONE:
        assert failure.outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("tokens", [None, 0])
@pytest.mark.parametrize(("flat_price", "action"), [(False, Action.NEXT), (True, Action.STOP)])
def test_an_answer_without_a_picture_is_not_bought_again_at_a_flat_price(
    flat_price: bool, action: Action, tokens: int | None
) -> None:
    failure = good(Reading(shaped=True, output_tokens=tokens), replace(IMAGES, flat_price=flat_price))
    assert failure is not None
    assert (named(failure), failure.action) == ("empty_result:no_picture", action)


# --- streams


def streamed(
    reading: Reading, context: ClassifyContext = IMAGES, *, cause: Cause | None = None, has_content: bool = True
) -> Failure | None:
    seen = Observation(
        phase=Phase.DONE if cause is None else Phase.ANSWERED,
        cause=cause,
        elapsed_s=30.0,
        status=200,
        headers={"content-type": "text/event-stream"},
        stream=StreamFacts(has_content=has_content, is_ended=cause is None),
    )
    return classify(seen, reading, context, CODES)


@pytest.mark.parametrize(
    ("cause", "before"),
    [
        (Cause.TRUNCATED, "connection_lost:truncated"),
        (Cause.RESET, "connection_lost:reset"),
        (Cause.UNFINISHED, "connection_lost:unfinished"),
        (Cause.IDLE, "timeout:idle"),
        (Cause.PATIENCE, "timeout:patience"),
        (Cause.BAD_EVENT, "malformed:bad_event"),
        (Cause.TOO_LARGE, "malformed:too_large"),
        (Cause.CLIENT_GONE, "client_gone:client_gone"),
    ],
)
def test_a_stream_that_broke_is_cut_after_content_and_as_any_other_before(cause: Cause, before: str) -> None:
    assert named(streamed(Reading(), cause=cause, has_content=False)) == before
    after = streamed(Reading(pictures=(PICTURE,)), cause=cause)
    assert after is not None
    gone = cause is Cause.CLIENT_GONE
    assert named(after) == (before if gone else f"cut:{cause}")
    assert (after.action, after.outcome) == (Action.STOP, Outcome.UNKNOWN)
    plain = streamed(Reading(), TEXT, cause=cause)
    assert plain is not None
    assert plain.action is Action.STOP


@pytest.mark.parametrize(
    ("error", "before", "after"),
    [
        (err("insufficient_quota", "insufficient_quota"), "quota_exhausted:insufficient_quota", "cut"),
        (err("rate_limit_exceeded", "requests"), "rate_limited:rate_limit_exceeded", "cut"),
        (err("invalid_api_key"), "key_rejected:invalid_api_key", "cut"),
        (err("moderation_blocked"), "content_policy:moderation_blocked", "content_policy"),
        (err(None, None, "Your organization must be verified to use it."), "account_not_ready:error", "cut"),
        (err("out_of_luck"), "server_error:out_of_luck", "cut"),
        (ErrorBody(message=""), "server_error:error", "cut"),
    ],
)
def test_an_error_event_is_a_refusal_until_content_came(error: ErrorBody, before: str, after: str) -> None:
    first = streamed(Reading(error=error), has_content=False)
    assert first is not None
    assert (named(first), first.outcome, first.error) == (before, Outcome.REFUSED, error)
    later = streamed(Reading(error=error))
    assert later is not None
    assert later.kind == after
    assert later.error == (None if CONSEQUENCES[first.kind].fault is Fault.ACCOUNT else error)


def test_a_stream_that_ended_is_judged_by_what_it_brought() -> None:
    assert streamed(Reading(shaped=True, pictures=(PICTURE,))) is None
    assert streamed(Reading(shaped=True, url_count=1)) is None
    assert named(streamed(Reading(shaped=True), has_content=False)) == "empty_result:no_picture"
    assert streamed(Reading(shaped=True, response_status="completed"), TEXT) is None
    assert streamed(Reading(shaped=True, response_status="incomplete"), FORCED) is None
    assert named(streamed(Reading(shaped=True, response_status="completed"), FORCED)) == "empty_result:no_picture"
    failed = streamed(Reading(response_status="failed", error=err("rate_limit_exceeded")), TURN, has_content=False)
    assert failed is not None
    assert (named(failed), failed.passes_through) == ("rate_limited:rate_limit_exceeded", True)


def test_json_is_malformed_where_nothing_but_a_stream_is_taken() -> None:
    delivered = Reading(shaped=True, pictures=(PICTURE,))
    assert good(delivered, IMAGES) is None
    assert named(good(delivered, replace(IMAGES, must_stream=True))) == "malformed:content_type"
