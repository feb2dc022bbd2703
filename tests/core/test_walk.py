"""After each attempt: the next target, or the end."""

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.failures import CONSEQUENCES
from gateway.core.policy import Plan
from gateway.core.table import Route
from gateway.core.types import Action, Cause, Failure, FailureClass
from gateway.core.walk import GiveUp, GiveUpReason, Tried, Try, action_after, next_step
from tests.core.tables import planned, three_targets


def failed(kind: FailureClass, detail: str = "x", action: Action | None = None) -> Failure:
    row = CONSEQUENCES[kind]
    return Failure(kind=kind, detail=detail, outcome=row.outcome, fault=row.fault, action=action or row.action)


def routed(
    on_failure: Mapping[FailureClass, Action] | None = None, max_attempts: int = 3, deadline_s: float = 580.0
) -> Plan:
    return planned(
        Route(
            name="m",
            targets=three_targets(),
            on_failure=on_failure or {},
            max_attempts=max_attempts,
            deadline_s=deadline_s,
        )
    )


def step(plan: Plan, *history: Tried, at_s: float = 0.0, client_gone: bool = False) -> Try | GiveUp:
    return next_step(plan, history, 1000.0 + at_s, 1000.0, client_gone=client_gone)


def reason(found: Try | GiveUp) -> GiveUpReason:
    assert isinstance(found, GiveUp)
    return found.reason


def asked(found: Try | GiveUp) -> str:
    assert isinstance(found, Try)
    return found.target.name


OVERLOADED = failed(FailureClass.OVERLOADED)


def test_targets_are_asked_in_order_and_then_it_is_over() -> None:
    plan = routed(max_attempts=9)
    history: list[Tried] = []
    for name in ("a/m", "b/m", "c/m"):
        found = step(plan, *history)
        assert asked(found) == name
        assert isinstance(found, Try)
        history.append(Tried(target=found.index, failure=OVERLOADED))
    assert reason(step(plan, *history)) is GiveUpReason.EXHAUSTED


@pytest.mark.parametrize("kind", list(FailureClass))
def test_each_class_goes_on_or_stops_as_the_table_says(kind: FailureClass) -> None:
    found = step(routed(), Tried(target=0, failure=failed(kind)))
    if CONSEQUENCES[kind].action is Action.NEXT:
        assert asked(found) == "b/m"
    else:
        assert reason(found) is GiveUpReason.STOPPED


@pytest.mark.parametrize("kind", sorted(set(FailureClass) - {FailureClass.CUT, FailureClass.CLIENT_GONE}))
@pytest.mark.parametrize("action", list(Action))
def test_a_route_may_say_otherwise(kind: FailureClass, action: Action) -> None:
    plan = routed({kind: action})
    assert action_after(plan.route, failed(kind)) is action
    assert isinstance(step(plan, Tried(target=0, failure=failed(kind))), Try) == (action is Action.NEXT)


@pytest.mark.parametrize("kind", [FailureClass.CUT, FailureClass.CLIENT_GONE])
def test_after_content_or_after_the_client_no_route_may_go_on(kind: FailureClass) -> None:
    plan = routed({kind: Action.NEXT})
    assert reason(step(plan, Tried(target=0, failure=failed(kind, action=Action.NEXT)))) is GiveUpReason.STOPPED


def test_no_more_attempts_than_allowed() -> None:
    plan = routed(max_attempts=2)
    one, two = Tried(target=0, failure=OVERLOADED), Tried(target=1, failure=OVERLOADED)
    assert asked(step(plan, one)) == "b/m"
    assert reason(step(plan, one, two)) is GiveUpReason.MAX_ATTEMPTS


def test_fallback_off_ends_after_the_first() -> None:
    plan = planned(Route(name="m", targets=three_targets()), fallback=False)
    assert asked(step(plan)) == "a/m"
    assert reason(step(plan, Tried(target=0, failure=OVERLOADED))) is GiveUpReason.MAX_ATTEMPTS


def test_never_after_the_client_has_gone() -> None:
    assert reason(step(routed(), client_gone=True)) is GiveUpReason.CLIENT_GONE


@pytest.mark.parametrize(
    ("at_s", "allowed_s", "overdue"),
    [(0.0, 580.0, Cause.PATIENCE), (100.0, 480.0, Cause.DEADLINE), (579.0, 1.0, Cause.DEADLINE)],
)
def test_an_attempt_has_its_patience_or_what_is_left(at_s: float, allowed_s: float, overdue: Cause) -> None:
    found = step(routed(), at_s=at_s)
    assert isinstance(found, Try)
    assert (found.allowed_s, found.overdue) == (allowed_s, overdue)


@pytest.mark.parametrize("at_s", [580.0, 581.0])
def test_never_past_the_deadline(at_s: float) -> None:
    assert reason(step(routed(), at_s=at_s)) is GiveUpReason.DEADLINE


@pytest.mark.parametrize("kind", [FailureClass.TIMEOUT, FailureClass.UNREACHABLE])
def test_an_attempt_that_met_the_deadline_is_the_last_even_a_tick_early(kind: FailureClass) -> None:
    late = Tried(target=0, failure=failed(kind, Cause.DEADLINE.value, Action.NEXT))
    assert reason(step(routed(), late, at_s=579.999)) is GiveUpReason.DEADLINE


def test_an_upstreams_own_word_is_not_our_deadline() -> None:
    spoken = Tried(target=0, failure=failed(FailureClass.SERVER_ERROR, "deadline"))
    assert asked(step(routed(), spoken)) == "b/m"


@settings(max_examples=200, deadline=None)
@given(
    max_attempts=st.integers(1, 9),
    deadline_s=st.floats(1, 1000),
    overrides=st.dictionaries(st.sampled_from(FailureClass), st.sampled_from(Action)),
    failures=st.lists(
        st.tuples(st.sampled_from(FailureClass), st.sampled_from(Action), st.floats(0, 400)), min_size=9, max_size=9
    ),
)
def test_a_walk_ends_within_its_targets_attempts_and_time(
    max_attempts: int,
    deadline_s: float,
    overrides: dict[FailureClass, Action],
    failures: list[tuple[FailureClass, Action, float]],
) -> None:
    plan = routed(overrides, max_attempts, deadline_s)
    history: list[Tried] = []
    now_s = 0.0
    for kind, action, lasted_s in failures:
        found = step(plan, *history, at_s=now_s)
        assert step(plan, *history, at_s=now_s) == found
        if isinstance(found, GiveUp):
            return
        assert now_s < deadline_s
        assert found.index not in {attempt.target for attempt in history}
        assert 0 < found.allowed_s <= deadline_s - now_s + 1e-6
        history.append(Tried(target=found.index, failure=failed(kind, action=action)))
        now_s += lasted_s
        assert len(history) <= min(len(plan.targets), max_attempts)
    pytest.fail("the walk did not end")
