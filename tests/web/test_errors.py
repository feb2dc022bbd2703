import orjson
import pytest
from msgspec.structs import replace

from gateway.core.types import Action, ErrorBody, Failure, FailureClass, Fault, Outcome, Refusal
from gateway.core.verdict import PublicError
from gateway.web.errors import (
    BadHead,
    InternalError,
    MethodNotAllowed,
    ModelNotFound,
    NotOffered,
    Overloaded,
    UnknownUrl,
    WebError,
    envelope,
    ours,
    refused,
)
from tests.web.house import attempt_of

TREE = [
    (BadHead("why"), 400, "invalid_request_error", "headers", "invalid_value"),
    (UnknownUrl(), 404, "invalid_request_error", None, "unknown_url"),
    (NotOffered("use that"), 404, "invalid_request_error", None, "unknown_url"),
    (ModelNotFound(), 404, "invalid_request_error", "model", "model_not_found"),
    (MethodNotAllowed(("GET", "HEAD")), 405, "invalid_request_error", None, "method_not_allowed"),
    (InternalError(), 500, "server_error", None, "internal_error"),
    (Overloaded(), 503, "server_error", None, "gateway_overloaded"),
]


@pytest.mark.parametrize(("error", "status", "kind", "param", "code"), TREE, ids=lambda value: type(value).__name__)
def test_each_error_of_the_tree_has_its_words(
    error: WebError, status: int, kind: str, param: str | None, code: str
) -> None:
    public = error.error
    assert (public.status, public.type, public.param, public.code) == (status, kind, param, code)
    assert public.message.endswith((".", "why", "that"))


def test_only_overload_invites_to_come_back() -> None:
    assert [error.retry_after_s for error, *_ in TREE] == [None] * 6 + [1.0]


def test_a_wrong_method_names_the_right_ones() -> None:
    assert MethodNotAllowed(("GET", "HEAD")).headers == ((b"allow", b"GET, HEAD"),)


def test_the_four_keys_are_always_there() -> None:
    assert orjson.loads(envelope(ours(408, None, "Late."))) == {
        "error": {"message": "Late.", "type": "invalid_request_error", "param": None, "code": None}
    }


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, "invalid_request_error"), (413, "invalid_request_error"), (429, "requests"), (503, "server_error")],
)
def test_the_type_follows_from_the_status(status: int, kind: str) -> None:
    assert refused(Refusal(status=status, code="c", message="m", param="p")) == PublicError(
        status=status, type=kind, code="c", param="p", message="m"
    )


def test_attempts_are_told_with_five_keys_each() -> None:
    failure = Failure(
        kind=FailureClass.SERVER_ERROR,
        detail="500",
        outcome=Outcome.REFUSED,
        fault=Fault.UPSTREAM,
        action=Action.NEXT,
        error=ErrorBody(message="boom", code="server_error"),
    )
    failed = replace(attempt_of(), status=500, failure=failure, outcome=Outcome.REFUSED)
    silent = replace(failed, status=None, failure=replace(failure, error=None))
    shown = orjson.loads(envelope(ours(502, "upstream_error", "m"), (failed, silent, attempt_of())))["error"][
        "attempts"
    ]
    assert shown[0] == {
        "channel": "openai",
        "owner": "openai",
        "class": "server_error",
        "status": 500,
        "code": "server_error",
    }
    assert (shown[1]["status"], shown[1]["code"]) == (None, None)
    assert shown[2]["class"] is None


def test_an_upstreams_code_that_holds_a_secret_is_not_told() -> None:
    failure = Failure(
        kind=FailureClass.KEY_REJECTED,
        detail="401",
        outcome=Outcome.REFUSED,
        fault=Fault.ACCOUNT,
        action=Action.NEXT,
        error=ErrorBody(message="m", code="sk-proj-0123456789abcdef"),
    )
    shown = envelope(ours(502, "upstream_error", "m"), (replace(attempt_of(), failure=failure),))
    assert b"sk-proj" not in shown


def test_what_utf8_cannot_carry_is_replaced_and_long_names_are_cut() -> None:
    shown = orjson.loads(envelope(ours(400, "c", "a\ud800b", "p" * 1000)))["error"]
    assert shown["message"] == "a?b"
    assert len(shown["param"]) == 200
