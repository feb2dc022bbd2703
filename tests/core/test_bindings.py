import re

import pytest
from msgspec.structs import replace

from gateway.core.bindings import MAX_ID, Binding, binding_of, destination, fingerprint, is_bindable
from gateway.core.errand import Reference
from gateway.core.plan import Plan
from gateway.core.policy import BOUND_ELSEWHERE, plan
from gateway.core.table import Channel, Route, RouteTable, RouteTarget, Secret
from gateway.core.types import Directives, Excluded, Facts, Refusal, Surface
from tests.core.tables import TURNS, channel, row, table

A, B, C = (channel(name, [row("chat", serves=TURNS)]) for name in "abc")
ROUTE = Route(name="chat", targets=tuple(RouteTarget(channel=name, row="chat") for name in "ab"))
TABLE = table([A, B, C], [ROUTE])
FORWARDING = replace(TABLE, unknown_ids_to="b")


def refer(*names: str, bare: bool = True) -> tuple[Reference, ...]:
    return tuple(Reference(id=name, param=f"input[{index}]", bare=bare) for index, name in enumerate(names))


def ask(
    references: tuple[Reference, ...],
    found: dict[str, Channel],
    foreign: tuple[str, ...] = (),
    known: RouteTable = TABLE,
) -> Channel | Refusal | None:
    return destination(references, {name: binding_of(owner) for name, owner in found.items()}, foreign, known)


def refused(answer: object) -> Refusal:
    assert isinstance(answer, Refusal)
    return answer


def test_a_request_that_refers_to_nothing_goes_anywhere() -> None:
    assert ask((), {}) is None


def test_what_is_referred_to_says_where_to_go() -> None:
    assert ask(refer("resp_1", "ig_1"), {"resp_1": B, "ig_1": B}) == B


def test_unknown_and_foreign_are_one_refusal() -> None:
    unknown = refused(ask(refer("resp_1"), {}))
    assert unknown == ask(refer("resp_1"), {}, ("resp_1",)) == ask(refer("x" * 10_000_000), {})
    assert (unknown.status, unknown.code, unknown.param) == (404, "response_not_found", "input[0]")


def test_one_unknown_among_the_known_is_enough() -> None:
    assert refused(ask(refer("resp_1", "resp_2"), {"resp_1": A})).param == "input[1]"


def test_two_keepers_are_refused() -> None:
    refusal = refused(ask(refer("resp_1", "ig_1"), {"resp_1": A, "ig_1": B}))
    assert (refusal.status, refusal.code, refusal.param) == (400, "invalid_value", "input[1]")


@pytest.mark.parametrize(
    "now",
    [
        table([B, C], [replace(ROUTE, targets=ROUTE.targets[1:])]),
        table([replace(A, api_key=Secret("sk-another")), B, C], [ROUTE]),
        table([replace(A, base_url="https://elsewhere.example/v1"), B, C], [ROUTE]),
        table([replace(A, api_key=None, unready="A_KEY is not set"), B, C], [ROUTE]),
    ],
    ids=["channel gone", "another key", "another address", "no key"],
)
def test_an_account_that_is_not_here_any_more_is_not_replaced(now: RouteTable) -> None:
    refusal = refused(ask(refer("resp_1"), {"resp_1": A}, known=now))
    assert (refusal.status, refusal.code) == (503, "no_healthy_target")
    assert "a" not in re.findall(r"\b\w\b", refusal.message)


def test_unknown_ids_may_go_to_the_one_channel_but_foreign_ones_never() -> None:
    assert ask(refer("resp_1"), {}, known=FORWARDING) == B
    assert refused(ask(refer("resp_1"), {}, ("resp_1",), known=FORWARDING)).status == 404
    assert refused(ask(refer("resp_1", "resp_2"), {"resp_1": A}, known=FORWARDING)).status == 400
    for odd in ("", "..", "a/b", "a b", "é", "x" * (MAX_ID + 1)):
        assert refused(ask(refer(odd), {}, known=FORWARDING)).status == 404


def test_an_item_with_its_content_hints_and_does_not_bind() -> None:
    hints = refer("rs_1", "rs_2", bare=False)
    assert ask(hints, {}) is None
    assert ask(hints, {"rs_1": A}) == A
    assert ask(hints, {"rs_1": A, "rs_2": B}) is None
    assert ask(hints, {"rs_1": A}, known=table([B, C], [])) is None
    assert ask((*hints, *refer("resp_1")), {"rs_1": A, "resp_1": B}) == B


@pytest.mark.parametrize("name", ["resp_68f1c0ffee", "a", "msg:1", "resp_bGl0ZWxsbTpjdXN0b20==", "x" * MAX_ID])
def test_ids_that_are_kept(name: str) -> None:
    assert is_bindable(name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../models", "a/b", "a\\b", "a?b", "a#b", "a%2fb", "a b", "a\n", "\0", "é", "x" * 513]
)
def test_ids_that_are_not(name: str) -> None:
    assert not is_bindable(name)


def test_a_fingerprint_tells_nothing_and_changes_with_the_account() -> None:
    seen = {
        fingerprint(one)
        for one in (A, B, replace(A, api_key=Secret("sk-2")), replace(A, base_url="x"), replace(A, api_key=None))
    }
    assert len(seen) == 5
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in seen)
    assert fingerprint(replace(A, owner="other", max_in_flight=1)) == fingerprint(A)
    assert binding_of(A) == Binding(channel="a", fingerprint=fingerprint(A))


def test_a_bound_request_has_one_channel_to_go_to() -> None:
    facts = Facts(surface=Surface.RESPONSES, asked_model="chat")
    found = plan(facts, Directives(), TABLE, bound_to="b")
    assert isinstance(found, Plan)
    assert [target.channel.name for target in found.targets] == ["b"]
    assert found.excluded == (Excluded(target="a/chat", reason=BOUND_ELSEWHERE),)
    nowhere = refused(plan(facts, Directives(), TABLE, bound_to="c"))
    assert (nowhere.status, nowhere.code) == (400, "no_eligible_target")
    pinned = refused(plan(facts, Directives(pin="a"), TABLE, bound_to="b"))
    assert (pinned.status, pinned.code) == (400, "no_eligible_target")
