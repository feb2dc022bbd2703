"""Whether a form may go ahead, and whether what was sent of it begins what is to be sent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.core.agreement import Agreement
from gateway.core.ahead import Sent, Sketch, asks_anew, begins, lone_target, sketch, stands
from gateway.core.health import Health, observe
from gateway.core.plan import Plan
from gateway.core.policy import plan
from gateway.core.table import Route, RouteTarget
from gateway.core.types import (
    Action,
    Directives,
    Facts,
    Failure,
    FailureClass,
    Fault,
    Outcome,
    Splice,
    Surface,
    Wire,
)
from gateway.core.view import CALM
from tests.core.tables import channel, row, table

FACTS = Facts(surface=Surface.EDITS, asked_model="pic")
WIRE = Wire(path="/images/edits", headers=(("accept", "application/json"),), splices=())
HERE = channel("A", [row("pic")])


def planned(*names: str) -> Plan:
    route = Route(name="pic", targets=tuple(RouteTarget(channel=name, row="pic") for name in names))
    made = plan(FACTS, Directives(), table([channel(name, [row("pic")]) for name in names], [route]))
    assert isinstance(made, Plan)
    return made


def changed(body: bytes, splices: tuple[Splice, ...]) -> bytes:
    """A body with changes made, the plain way."""
    for one in sorted(splices, key=lambda splice: splice.start, reverse=True):
        body = body[: one.start] + one.text + body[one.end :]
    return body


def test_one_target_that_costs_the_key_nothing_is_asked() -> None:
    target = lone_target(Agreement(plan=planned("A")), CALM)
    assert target is not None
    assert target.name == "A/pic"


def test_nobody_is_asked_where_two_are_left_or_somebody_pays() -> None:
    assert lone_target(Agreement(plan=planned("A", "B")), CALM) is None
    assert lone_target(Agreement(plan=planned("A"), credits=0), CALM) is None
    assert lone_target(Agreement(plan=planned("A"), micro=0), CALM) is None


def test_a_target_that_strikes_would_have_out_is_not_asked() -> None:
    failure = Failure(
        kind=FailureClass.SERVER_ERROR, detail="500", outcome=Outcome.REFUSED, fault=Fault.UPSTREAM, action=Action.NEXT
    )
    made = planned("A")
    health = Health()
    for _ in range(10):
        health = observe(health, made.targets[0].id, failure, 1.0, 0.5)
    assert lone_target(Agreement(plan=made), replace(CALM, health=health, now=1.0)) is None
    kept = replace(made, targets=(replace(made.targets[0], is_kept=True),))
    assert lone_target(Agreement(plan=kept), CALM) is None


@pytest.mark.parametrize(
    ("directives", "anew"),
    [
        (Directives(), True),
        (Directives(idempotency="0" * 64), True),
        (Directives(is_retry=True), False),
        (Directives(flight="fl_1"), False),
        (Directives(respond_async=True), False),
    ],
)
def test_what_may_be_there_already_does_not_go_ahead(directives: Directives, anew: bool) -> None:
    assert asks_anew(directives) is anew


@pytest.mark.parametrize(
    ("status", "does"),
    [(200, True), (301, True), (400, True), (401, True), (413, True), (429, False), (408, False), (500, False)],
)
def test_an_early_answer_stands_unless_it_judges_nothing(status: int, does: bool) -> None:
    assert stands(status) is does


def test_another_channel_head_or_length_is_another_call() -> None:
    whole = sketch(HERE, WIRE, (), 100)
    sent = Sent(sketch=whole, at=50, made=0)
    assert begins(sent, whole)
    assert not begins(sent, replace(whole, channel=replace(HERE, base_url="http://elsewhere/v1")))
    assert not begins(sent, replace(whole, wire=replace(WIRE, path="/images/generations")))
    assert not begins(sent, replace(whole, wire=replace(WIRE, headers=())))
    assert not begins(sent, replace(whole, length=101))


@st.composite
def forms(draw: st.DrawFn) -> tuple[bytes, tuple[Splice, ...]]:
    """A body, and changes of it that do not overlap."""
    body = draw(st.binary(min_size=1, max_size=40))
    places = sorted(draw(st.lists(st.integers(0, len(body)), max_size=6)))
    pairs = list(zip(places[::2], places[1::2], strict=False))
    texts = [draw(st.binary(max_size=4)) for _ in pairs]
    found = [Splice(start=start, end=end, text=text) for (start, end), text in zip(pairs, texts, strict=True)]
    starts = {one.start: one for one in found}  # two changes never begin at one place
    return body, tuple(starts.values())


@given(first=forms(), second=forms(), same=st.booleans(), cut=st.integers(0, 40))
def test_what_begins_a_call_is_its_first_bytes(
    first: tuple[bytes, tuple[Splice, ...]],
    second: tuple[bytes, tuple[Splice, ...]],
    same: bool,
    cut: int,
) -> None:
    """Sound: what is said to begin it does. Of the same changes it is said."""
    body, made = first
    then = made if same else tuple(one for one in second[1] if one.end <= len(body))
    begun = sketch(HERE, WIRE, made, len(body))
    whole = sketch(HERE, WIRE, then, len(body))
    done, at = _sent(begun, min(cut, len(body)))
    out = changed(body[:at], begun.splices[:done])
    if begins(Sent(sketch=begun, at=at, made=done), whole):
        assert changed(body, whole.splices).startswith(out)
        assert len(changed(body, begun.splices)) == whole.length
    else:
        assert not same


def _sent(begun: Sketch, cut: int) -> tuple[int, int]:
    """How many changes were made when ``cut`` was reached, and where that is: never inside a change."""
    at = done = 0
    for one in begun.splices:
        if one.start > cut or one.end > cut:
            return done, max(at, min(cut, one.start))
        done, at = done + 1, one.end
    return done, max(at, cut)
