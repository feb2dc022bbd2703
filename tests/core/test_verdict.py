"""What the client is told when nobody delivered."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.failures import CONSEQUENCES
from gateway.core.plan import Plan
from gateway.core.table import Route
from gateway.core.types import Action, ErrorBody, Failure, FailureClass, Fault, Outcome
from gateway.core.verdict import PublicError, public_error, type_of
from gateway.core.walk import Tried
from tests.core.tables import planned, three_targets
from tests.core.vectors import err

KEY_OF_A = "sk-a-0123456789"


def plan() -> Plan:
    return planned(Route(name="m", targets=three_targets()))


def told(kind: FailureClass, status: int | None = None, error: ErrorBody | None = None) -> PublicError:
    row = CONSEQUENCES[kind]
    failure = Failure(
        kind=kind, detail="x", outcome=row.outcome, fault=row.fault, action=row.action, status=status, error=error
    )
    return public_error(plan(), [Tried(target=0, failure=failure)])


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, "invalid_request_error"), (404, "invalid_request_error"), (429, "requests"), (500, "server_error")],
)
def test_an_error_of_ours_has_the_type_of_its_status(status: int, kind: str) -> None:
    assert type_of(status) == kind


@pytest.mark.parametrize(
    ("kind", "status", "error", "public"),
    [
        (FailureClass.UNREACHABLE, None, None, (502, "upstream_unreachable")),
        (FailureClass.CONNECTION_LOST, None, None, (502, "upstream_unknown_outcome")),
        (FailureClass.CONNECTION_LOST, 200, None, (502, "upstream_unknown_outcome")),
        (FailureClass.CONNECTION_LOST, 401, None, (502, "upstream_unknown_outcome")),
        (FailureClass.CUT, 200, None, (502, "upstream_unknown_outcome")),
        (FailureClass.CLIENT_GONE, None, None, (502, "upstream_unknown_outcome")),
        (FailureClass.TIMEOUT, None, None, (504, "upstream_timeout")),
        (FailureClass.TIMEOUT, 408, None, (504, "upstream_timeout")),
        (FailureClass.TIMEOUT, 504, None, (504, "upstream_timeout")),
        (FailureClass.MALFORMED, 200, None, (502, "upstream_malformed")),
        (FailureClass.MALFORMED, 302, None, (502, "upstream_malformed")),
        (FailureClass.MALFORMED, 200, err("rate_limit_exceeded", message="slow"), (502, "upstream_malformed")),
        (FailureClass.EMPTY_RESULT, 200, None, (502, "upstream_empty")),
        (FailureClass.EMPTY_RESULT, 200, err("x"), (502, "upstream_empty")),
        (FailureClass.LOST_BEHIND, 502, None, (502, "upstream_unknown_outcome")),
        (FailureClass.LOST_BEHIND, 524, None, (524, "upstream_unknown_outcome")),
        (FailureClass.OVERLOADED, 503, None, (503, "upstream_error")),
        (FailureClass.RATE_LIMITED, 429, None, (429, "upstream_error")),
        (FailureClass.BAD_REQUEST, 404, None, (404, "upstream_error")),
        (FailureClass.KEY_REJECTED, 401, None, (502, "upstream_error")),
        (FailureClass.KEY_REJECTED, 401, err("invalid_api_key", message="bad"), (502, "upstream_error")),
        (FailureClass.KEY_REJECTED, 400, err(message="API key not valid"), (502, "upstream_error")),
        (FailureClass.QUOTA_EXHAUSTED, 402, err(message="pay"), (502, "upstream_error")),
        (FailureClass.ACCOUNT_NOT_READY, 403, err(message="verify"), (502, "upstream_error")),
        (FailureClass.MODEL_MISSING, 403, err("model_not_found"), (502, "upstream_error")),
        (FailureClass.SERVER_ERROR, 200, None, (502, "upstream_error")),
    ],
)
def test_what_is_ours_to_say(
    kind: FailureClass, status: int | None, error: ErrorBody | None, public: tuple[int, str]
) -> None:
    found = told(kind, status, error)
    assert (found.status, found.code) == public
    assert found.param is None
    assert found.type == type_of(found.status)
    assert error is None or not error.message or error.message not in found.message
    is_unknown = CONSEQUENCES[kind].outcome is Outcome.UNKNOWN
    assert ("may have been charged for" in found.message) == is_unknown


@pytest.mark.parametrize(
    ("kind", "status", "error", "public"),
    [
        (
            FailureClass.CONTENT_POLICY,
            400,
            err("moderation_blocked", "image_generation_user_error", "no"),
            (400, "image_generation_user_error", "moderation_blocked", None, "no"),
        ),
        (
            FailureClass.UNSUPPORTED_OPTION,
            400,
            err("invalid_value", "invalid_request_error", "bad", "size"),
            (400, "invalid_request_error", "invalid_value", "size", "bad"),
        ),
        (
            FailureClass.QUOTA_EXHAUSTED,
            429,
            err("insufficient_quota", "insufficient_quota", "none left"),
            (429, "insufficient_quota", "insufficient_quota", None, "none left"),
        ),
        (
            FailureClass.CONTENT_POLICY,
            403,
            err("prompt_blocked"),
            (403, "invalid_request_error", "prompt_blocked", None),
        ),
        (FailureClass.TIMEOUT, 408, err(message="late"), (408, "invalid_request_error", None, None, "late")),
        (FailureClass.EMPTY_RESULT, 500, err("empty_response"), (500, "server_error", "empty_response", None)),
        (
            FailureClass.CONTENT_POLICY,
            200,
            err("moderation_blocked"),
            (400, "invalid_request_error", "moderation_blocked"),
        ),
        (FailureClass.SERVER_ERROR, 200, err("server_error", message="oh"), (502, "server_error", "server_error")),
        (FailureClass.LOST_BEHIND, 520, err(None, "upstream_error", "x"), (520, "upstream_error", None, None, "x")),
    ],
)
def test_an_answered_error_keeps_its_words(
    kind: FailureClass, status: int, error: ErrorBody, public: tuple[int | str | None, ...]
) -> None:
    found = told(kind, status, error)
    assert (found.status, found.type, found.code, found.param, found.message)[: len(public)] == public
    assert found.message


def test_words_are_redacted_in_each_of_the_four_places() -> None:
    found = told(
        FailureClass.BAD_REQUEST, 400, err(f"c {KEY_OF_A}", f"t {KEY_OF_A}", f"m {KEY_OF_A} https://x/?k=v", KEY_OF_A)
    )
    assert (found.type, found.code, found.param) == ("t ***", "c ***", "***")
    assert found.message == "m *** https://x/?k=***"


def test_the_first_failure_is_the_one_returned() -> None:
    rows = [CONSEQUENCES[kind] for kind in (FailureClass.OVERLOADED, FailureClass.BAD_REQUEST)]
    history = [
        Tried(
            target=at,
            failure=Failure(
                kind=kind, detail="x", outcome=row.outcome, fault=row.fault, action=row.action, status=status
            ),
        )
        for at, (kind, row, status) in enumerate(
            zip((FailureClass.OVERLOADED, FailureClass.BAD_REQUEST), rows, (503, 400), strict=True)
        )
    ]
    assert public_error(plan(), history).status == 503


def test_a_delivery_that_is_not_what_was_asked_is_told_as_such() -> None:
    plan = planned(Route(name="m", targets=three_targets()))
    failure = Failure(
        kind=FailureClass.MALFORMED,
        detail="size_mismatch",
        outcome=Outcome.DELIVERED,
        fault=Fault.UPSTREAM,
        action=Action.STOP,
        status=200,
    )
    error = public_error(plan, [Tried(target=0, failure=failure)])
    assert (error.status, error.code, error.param) == (502, "upstream_malformed", None)
    assert "(size mismatch)" in error.message


def test_a_request_whose_time_was_up_before_any_attempt() -> None:
    found = public_error(plan(), [])
    assert (found.status, found.code) == (504, "upstream_timeout")


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(FailureClass),
    status=st.none() | st.integers(100, 599),
    error=st.none() | st.builds(ErrorBody, message=st.text(), type=st.none() | st.text(), code=st.none() | st.text()),
)
def test_the_client_always_gets_an_error_status_and_never_a_verdict_on_its_key(
    kind: FailureClass, status: int | None, error: ErrorBody | None
) -> None:
    found = told(kind, status, error)
    assert 400 <= found.status <= 599
    assert found.message
    assert found.type
    if found.status in (401, 402, 403):
        assert CONSEQUENCES[kind].fault in (Fault.CALLER, Fault.OPTION)
