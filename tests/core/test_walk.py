"""After each attempt: the next target, or the end."""

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.core.failures import CONSEQUENCES
from gateway.core.plan import Plan
from gateway.core.table import Route
from gateway.core.types import Action, Cause, ErrorBody, Failure, FailureClass
from gateway.core.walk import GiveUp, GiveUpReason, Road, Tried, Try, action_after, next_step
from tests.core.contract_cases import contract
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


# --- the same target again

RATE = FailureClass.RATE_LIMITED
CALLING = Road(die=0.5, may_repeat=True)


def repeating(times: int = 2, max_attempts: int = 9, deadline_s: float = 580.0) -> Plan:
    kinds = {FailureClass.OVERLOADED: times, RATE: times, FailureClass.TIMEOUT: times}
    return planned(
        Route(name="m", targets=three_targets(), repeats=kinds, max_attempts=max_attempts, deadline_s=deadline_s)
    )


def again(
    *targets: int, kind: FailureClass = FailureClass.OVERLOADED, retry_after_s: float | None = None
) -> list[Tried]:
    failure = replace(failed(kind), retry_after_s=retry_after_s)
    return [Tried(target=target, failure=failure) for target in targets]


def walk(plan: Plan, history: list[Tried], road: Road = CALLING, at_s: float = 0.0) -> Try | GiveUp:
    return next_step(plan, history, 1000.0 + at_s, 1000.0, client_gone=False, road=road)


def pause(found: Try | GiveUp) -> float | None:
    assert isinstance(found, Try)
    return found.pause_s


def test_the_same_target_is_asked_as_often_as_the_route_says_and_then_the_classes_action_decides() -> None:
    asked_next = [asked(walk(repeating(), again(*before))) for before in ([0], [0, 0], [0, 0, 0], [0, 0, 0, 1])]
    assert asked_next == ["a/m", "a/m", "b/m", "b/m"]
    timeouts = again(0, 0, 0, kind=FailureClass.TIMEOUT)
    assert asked(walk(repeating(), timeouts[:2])) == "a/m"
    assert reason(walk(repeating(), timeouts)) is GiveUpReason.STOPPED


def test_jitter_is_full_and_doubles_up_to_a_bound() -> None:
    histories = [again(*[0] * count) for count in range(1, 8)]
    pauses = [pause(walk(repeating(9), history)) for history in histories]
    assert pauses == [0.25, 0.5, 1.0, 2.0, 4.0, 4.0, 4.0]
    assert pause(walk(repeating(9), histories[0], Road(die=0.0, may_repeat=True))) == 0.0
    assert pause(walk(repeating(9), again(0))) == 0.25


@pytest.mark.parametrize(("said", "waits"), [(0.0, 0.25), (7.0, 7.25), (29.75, 30.0)])
def test_the_upstreams_own_word_is_waited_for_before_the_jitter(said: float, waits: float) -> None:
    found = walk(repeating(), again(0, kind=RATE, retry_after_s=said))
    assert (asked(found), pause(found)) == ("a/m", waits)
    assert isinstance(found, Try)
    assert found.allowed_s == pytest.approx(580.0 - waits)


@pytest.mark.parametrize(
    ("road", "said", "deadline_s", "max_attempts"),
    [
        (Road(die=0.5), None, 580.0, 9),  # no budget
        (CALLING, 29.8, 580.0, 9),  # too long
        (CALLING, 5.0, 5.0, 9),  # past the deadline
        (Road(passed={0}, die=0.5, may_repeat=True), None, 580.0, 9),  # it rests by now
    ],
)
def test_what_cannot_be_repeated_goes_on_as_the_class_says(
    road: Road, said: float | None, deadline_s: float, max_attempts: int
) -> None:
    plan = repeating(max_attempts=max_attempts, deadline_s=deadline_s)
    found = walk(plan, again(0, retry_after_s=said), road)
    assert (asked(found), pause(found)) == ("b/m", None)


def test_a_repeat_is_an_attempt_too() -> None:
    plan = repeating(max_attempts=2)
    assert asked(walk(plan, again(0))) == "a/m"
    assert reason(walk(plan, again(0, 0))) is GiveUpReason.MAX_ATTEMPTS


@pytest.mark.parametrize("kind", [FailureClass.CUT, FailureClass.CLIENT_GONE])
def test_nothing_is_repeated_after_content_or_after_the_client(kind: FailureClass) -> None:
    plan = planned(Route(name="m", targets=three_targets(), repeats={kind: 3}))
    assert reason(walk(plan, again(0, kind=kind))) is GiveUpReason.STOPPED


# --- targets that are passed over


def test_who_is_passed_over_is_not_asked_and_costs_no_attempt() -> None:
    plan = routed(max_attempts=1)
    found = walk(plan, [], Road(passed={0}))
    assert asked(found) == "b/m"
    assert isinstance(found, Try)
    assert (found.is_first, found.is_last) == (True, False)
    last = walk(plan, [], Road(passed={0, 1}))
    assert isinstance(last, Try)
    assert (last.target.name, last.is_first, last.is_last) == ("c/m", True, True)
    assert reason(walk(plan, [], Road(passed={0, 1, 2}))) is GiveUpReason.EXHAUSTED
    second = walk(routed(), [Tried(target=0, failure=OVERLOADED)], Road(passed={1}))
    assert isinstance(second, Try)
    assert (second.target.name, second.is_first, second.is_last) == ("c/m", False, True)


@settings(max_examples=200, deadline=None)
@given(
    max_attempts=st.integers(1, 8),
    deadline_s=st.floats(1, 1000),
    overrides=st.dictionaries(st.sampled_from(FailureClass), st.sampled_from(Action)),
    failures=st.lists(
        st.tuples(st.sampled_from(FailureClass), st.sampled_from(Action), st.floats(0, 400)), min_size=9, max_size=9
    ),
    repeats=st.dictionaries(st.sampled_from(FailureClass), st.integers(1, 10)),
    roads=st.lists(
        st.builds(Road, passed=st.frozensets(st.integers(0, 2)), die=st.floats(0, 0.999), may_repeat=st.booleans()),
        min_size=9,
        max_size=9,
    ),
)
def test_a_walk_ends_within_its_targets_attempts_and_time(
    max_attempts: int,
    deadline_s: float,
    overrides: dict[FailureClass, Action],
    failures: list[tuple[FailureClass, Action, float]],
    repeats: dict[FailureClass, int],
    roads: list[Road],
) -> None:
    plan = routed(overrides, max_attempts, deadline_s)
    plan = replace(plan, route=replace(plan.route, repeats=repeats))
    history: list[Tried] = []
    now_s = 0.0
    for (kind, action, lasted_s), road in zip(failures, roads, strict=True):
        found = walk(plan, history, road, now_s)
        assert walk(plan, history, road, now_s) == found
        if isinstance(found, GiveUp):
            return
        assert now_s < deadline_s
        pause_s = found.pause_s or 0.0
        assert 0 < found.allowed_s <= deadline_s - now_s - pause_s + 1e-6
        if found.pause_s is None:
            assert found.index not in {attempt.target for attempt in history}
        else:
            assert road.may_repeat
            assert found.index == history[-1].target
            assert pause_s <= 30.0
        history.append(Tried(target=found.index, failure=failed(kind, action=action)))
        now_s += pause_s + lasted_s
        assert len(history) <= max_attempts
    pytest.fail("the walk did not end")


def unsupported(param: str | None) -> Failure:
    return replace(failed(FailureClass.UNSUPPORTED_OPTION, "400"), error=ErrorBody(message="no", param=param))


def stating(plan: Plan, *names: str) -> Plan:
    """Give the plan with the contract of gpt-image-2 for some of its targets."""
    own = contract("gpt-image-2")
    targets = [replace(one, contract=own) if one.channel.name in names else one for one in plan.targets]
    return replace(plan, targets=tuple(targets))


@pytest.mark.parametrize("param", ["background", "tools[0].background"])
def test_an_option_that_was_not_taken_leads_to_a_target_whose_contract_states_it(param: str) -> None:
    plan = stating(routed(), "c")
    assert asked(step(plan, Tried(target=0, failure=unsupported(param)))) == "c/m"
    history = (Tried(target=0, failure=unsupported(param)), Tried(target=2, failure=unsupported(param)))
    assert reason(step(plan, *history)) is GiveUpReason.STOPPED


@pytest.mark.parametrize("param", ["seed", "", None])
def test_an_option_that_nobody_states_ends_the_walk(param: str | None) -> None:
    assert (
        reason(step(stating(routed(), "b", "c"), Tried(target=0, failure=unsupported(param)))) is GiveUpReason.STOPPED
    )
    assert reason(step(routed(), Tried(target=0, failure=unsupported("size")))) is GiveUpReason.STOPPED


def test_a_route_may_decide_about_options_itself() -> None:
    stop = routed(on_failure={FailureClass.UNSUPPORTED_OPTION: Action.STOP})
    assert reason(step(stating(stop, "b"), Tried(target=0, failure=unsupported("size")))) is GiveUpReason.STOPPED
    go_on = routed(on_failure={FailureClass.UNSUPPORTED_OPTION: Action.NEXT})
    assert asked(step(go_on, Tried(target=0, failure=unsupported("size")))) == "b/m"
    bare = failed(FailureClass.UNSUPPORTED_OPTION)
    assert reason(step(stating(routed(), "b"), Tried(target=0, failure=bare))) is GiveUpReason.STOPPED
