from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.core.money import MISSING, billed, line, nothing
from gateway.core.prices import Item
from gateway.core.record import Mapping3, Record
from gateway.core.types import Action, Failure, FailureClass, Fault, Outcome
from gateway.web.stamps import Headers, advice, mapping_value, retry_advice, stamps, travelled
from tests.web.house import attempt_of, record_of

MAPPING = Mapping3(asked="gpt-image-2", sent="gpt-image-2-2026-04-21")


def failure(detail: str = "500") -> Failure:
    return Failure(
        kind=FailureClass.SERVER_ERROR, detail=detail, outcome=Outcome.REFUSED, fault=Fault.UPSTREAM, action=Action.NEXT
    )


def text(headers: Headers) -> dict[str, str]:
    assert len(dict(headers)) == len(headers)
    return {name.decode(): value.decode("latin-1") for name, value in headers}


def test_a_delivery_at_the_second_target() -> None:
    first = replace(attempt_of(), failure=failure(), channel="azure", owner="Azure")
    record = replace(record_of(attempts=(first, attempt_of(2))), mapping=MAPPING)
    assert text(stamps(record)) == {
        "x-route-owner": "openai",
        "x-route-channel": "openai",
        "x-upstream-request-id": "req_up",
        "x-model-mapping": "asked=gpt-image-2; sent=gpt-image-2-2026-04-21; served=unverified",
        "x-route-attempts": "2",
        "x-retry-reason": "server_error:500",
        "server-timing": "upstream;dur=10, gateway;dur=2",
    }


def test_a_request_that_started_nothing_says_zero_and_no_more() -> None:
    assert text(stamps(record_of(status=400))) == {"x-route-attempts": "0", "server-timing": "gateway;dur=12"}


def test_warnings_are_listed_as_many_whole_words_as_a_header_holds() -> None:
    record = record_of(attempts=(attempt_of(),))
    assert "x-route-warnings" not in text(stamps(record))
    some = replace(record, result=replace(record.result, warnings=("substituted", "size_mismatch")))
    assert text(stamps(some))["x-route-warnings"] == "substituted, size_mismatch"
    many = replace(record, result=replace(record.result, warnings=("w" * 100, "x" * 100, "y" * 100, "short")))
    assert text(stamps(many))["x-route-warnings"] == f"{'w' * 100}, {'x' * 100}, short"


def test_the_cost_of_all_attempts_is_stamped_but_on_streams() -> None:
    bill = billed([line(Item.IMAGE_OUT, 1756, Fraction(30), "USD", "p")], unit="tokens", exact=True)
    record = record_of(attempts=(replace(attempt_of(), cost=nothing()), replace(attempt_of(2), cost=bill)))
    assert text(stamps(record))["x-cost"] == "0.052680 USD; state=exact; unit=tokens"
    assert "x-cost" not in text(stamps(replace(record, stream=True)))
    missing = record_of(attempts=(replace(attempt_of(), cost=MISSING),))
    assert text(stamps(missing))["x-cost"] == "unknown; state=missing; unit=none"


def test_an_upstream_without_a_request_id_leaves_the_header_out() -> None:
    record = record_of(attempts=(replace(attempt_of(), upstream_request_id=None),))
    assert "x-upstream-request-id" not in text(stamps(record))


def test_an_owner_no_header_can_carry_is_left_out() -> None:
    record = record_of(attempts=(replace(attempt_of(), owner="老张"),))
    assert "x-route-owner" not in text(stamps(record))


def test_the_tools_two_models_stand_behind_the_three() -> None:
    mapping = replace(MAPPING, served="gpt-image-2", tool_asked="a", tool_sent="b")
    assert mapping_value(mapping) == (
        "asked=gpt-image-2; sent=gpt-image-2-2026-04-21; served=gpt-image-2; tool_asked=a; tool_sent=b"
    )


def test_a_model_name_cannot_forge_a_part_of_the_mapping() -> None:
    value = mapping_value(replace(MAPPING, served="x; sent=other\r\nx-evil: 1"))
    assert value.split("; ")[2] == "served=x%3B sent%3Dother%0D%0Ax-evil: 1"
    assert len(value.split("; ")) == 3


def test_long_names_are_cut_evenly() -> None:
    value = mapping_value(Mapping3(asked="a" * 300, sent="b" * 300, served="c"))
    assert len(value) <= 256
    asked, sent, served = value.split("; ")
    assert asked.endswith("a~")
    assert sent.endswith("b~")
    assert served == "served=c"


WORDS = st.text(max_size=300)


@settings(max_examples=80)
@given(words=st.tuples(WORDS, WORDS, WORDS, WORDS, WORDS), detail=WORDS, kind=WORDS)
def test_no_header_can_carry_anything_but_printable_text(
    words: tuple[str, str, str, str, str], detail: str, kind: str
) -> None:
    asked, sent, served, owner, upstream_id = words
    tried = replace(attempt_of(), owner=owner, upstream_request_id=upstream_id, failure=failure(detail))
    mapping = Mapping3(asked=asked, sent=sent, served=served, tool_asked=owner, tool_sent=kind)
    made: Record = replace(record_of(attempts=(tried, tried)), mapping=mapping)
    for name, value in [*stamps(made), *travelled([("openai-version", kind)])]:
        assert name.decode("ascii").islower()
        assert 0 < len(value) <= 256
        assert not any(byte < 0x20 or 0x7F <= byte < 0xA0 for byte in value)
        assert value == value.strip()


@pytest.mark.parametrize(
    ("status", "may_retry", "attempts", "expected"),
    [
        (503, True, 0, {"x-should-retry": "true", "retry-after": "3"}),
        (429, True, 0, {"x-should-retry": "true", "retry-after": "3"}),
        (409, True, 0, {"x-should-retry": "true", "retry-after": "3"}),
        (503, False, 0, {"x-should-retry": "false"}),
        (503, True, 1, {"x-should-retry": "false"}),
        (502, True, 0, {"x-should-retry": "false"}),
        (400, False, 0, {"x-should-retry": "false"}),
    ],
)
def test_only_our_own_limits_invite_to_come_back(
    status: int, may_retry: bool, attempts: int, expected: dict[str, str]
) -> None:
    record = record_of(status=status, attempts=(attempt_of(),) * attempts)
    assert text(advice(record, may_retry=may_retry, retry_after_s=2.1)) == expected


@pytest.mark.parametrize(("seconds", "shown"), [(0.0, "1"), (0.2, "1"), (1.0, "1"), (59.5, "60")])
def test_retry_after_is_whole_seconds_and_at_least_one(seconds: float, shown: str) -> None:
    assert text(retry_advice(seconds))["retry-after"] == shown


def test_only_named_headers_of_an_upstream_travel() -> None:
    theirs = [("openai-processing-ms", "12"), ("openai-version", "2020-10-01"), ("set-cookie", "a=b"), ("x-foo", "1")]
    assert text(travelled(theirs)) == {"openai-processing-ms": "12", "openai-version": "2020-10-01"}
