"""Planning around targets that rest: health, hand brakes, rules, substitutes, and the panic rule."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.core.brake import Brake, BrakeState
from gateway.core.failures import CONSEQUENCES
from gateway.core.health import Health, TargetId, claim, observe, standing
from gateway.core.plan import Plan
from gateway.core.policy import plan
from gateway.core.table import Policy, Route, RouteTarget
from gateway.core.types import Directives, Facts, Failure, FailureClass, Refusal, Surface
from gateway.core.view import CALM, View
from gateway.core.when import Condition, Use, WhenRule
from tests.core.tables import TURNS, channel, row, table, three_channels, three_targets

NOW = datetime(2026, 11, 20, tzinfo=UTC)
FACTS = Facts(surface=Surface.GENERATIONS, asked_model="m", quality="high")
ROUTE = Route(name="m", targets=three_targets())


def failed(kind: FailureClass, retry_after_s: float | None = None) -> Failure:
    one = CONSEQUENCES[kind]
    return Failure(
        kind=kind, detail="x", outcome=one.outcome, fault=one.fault, action=one.action, retry_after_s=retry_after_s
    )


def health(*troubles: tuple[str, FailureClass, float]) -> Health:
    """Give a state in which each of the channels had enough of its trouble, at its time."""
    state = Health()
    for name, kind, at in troubles:
        for _ in range(5):
            state = observe(state, TargetId(name, "m"), failed(kind), at, 0.0)
    return state


def planned(view: View, route: Route = ROUTE, directives: Directives | None = None) -> Plan | Refusal:
    return plan(FACTS, directives or Directives(), three_channels(route), view)


def names(found: Plan | Refusal) -> list[str]:
    assert isinstance(found, Plan), found
    return [target.channel.name for target in found.targets]


def reasons(found: Plan | Refusal) -> dict[str, str]:
    return {item.target: item.reason for item in found.excluded}


STRUCK, LIMITED, SPENT = FailureClass.SERVER_ERROR, FailureClass.RATE_LIMITED, FailureClass.QUOTA_EXHAUSTED


def test_who_rests_is_left_out_with_its_reason() -> None:
    found = planned(View(now=2.0, health=health(("a", STRUCK, 0.0), ("b", SPENT, 0.0))))
    assert names(found) == ["c"]
    assert reasons(found) == {"a/m": "ejected", "b/m": "quota_exhausted"}


def test_a_target_on_probation_keeps_its_place() -> None:
    assert names(planned(View(now=30.0, health=health(("a", STRUCK, 0.0))))) == ["a", "b", "c"]


def test_strikes_never_take_the_last_target_the_one_ejected_last_is_kept() -> None:
    struck = health(("a", STRUCK, 0.0), ("c", STRUCK, 1.0), ("b", STRUCK, 2.0))
    found = planned(View(now=3.0, health=struck))
    assert isinstance(found, Plan)
    assert [(target.channel.name, target.is_kept) for target in found.targets] == [("b", True)]
    assert reasons(found) == {"a/m": "ejected", "c/m": "ejected"}


def test_a_probe_does_not_count_as_well_so_one_is_kept_beside_it() -> None:
    struck = health(("a", STRUCK, 0.0), ("c", STRUCK, 1.0), ("b", STRUCK, 20.0))
    found = planned(View(now=35.0, health=struck))
    assert isinstance(found, Plan)
    assert [(target.channel.name, target.is_kept) for target in found.targets] == [
        ("a", False),
        ("b", True),
        ("c", False),
    ]


def test_while_a_probe_is_under_way_the_only_target_is_asked_all_the_same() -> None:
    state = claim(health(("a", STRUCK, 0.0)), TargetId("a", "m"), 31.0)
    found = planned(View(now=32.0, health=state), Route(name="m", targets=three_targets()[:1]))
    assert names(found) == ["a"]


def test_a_pin_is_the_last_target_of_its_request() -> None:
    struck = View(now=3.0, health=health(("a", STRUCK, 0.0)))
    assert names(planned(struck, directives=Directives(pin="a"))) == ["a"]


@pytest.mark.parametrize(
    ("kinds", "status", "code", "retry_after_s"),
    [
        ((LIMITED, LIMITED, LIMITED), 429, "rate_limit_exceeded", 4.0),
        ((LIMITED, SPENT, STRUCK), 429, "rate_limit_exceeded", 4.0),
        ((SPENT, SPENT, FailureClass.KEY_REJECTED), 503, "no_healthy_target", 59.0),
    ],
)
def test_cooling_applies_to_the_last_one_too(
    kinds: tuple[FailureClass, ...], status: int, code: str, retry_after_s: float
) -> None:
    state = health(*((name, kind, 0.0) for name, kind in zip("abc", kinds, strict=True)))
    if STRUCK in kinds:  # would be kept: not when its channel is at its limit besides
        state = observe(state, TargetId("c", "m"), failed(LIMITED, 90.0), 0.0, 0.0)
    found = planned(View(now=1.0, health=state))
    assert isinstance(found, Refusal)
    assert (found.status, found.code) == (status, code)
    assert found.retry_after_s == pytest.approx(retry_after_s)
    assert len(found.excluded) == 3


def brakes(**states: BrakeState) -> View:
    return View(wall=NOW, brakes={name: Brake(state=state) for name, state in states.items()})


def test_a_hand_brake_takes_a_channel_out_and_the_panic_rule_does_not_lift_it() -> None:
    view = brakes(a=BrakeState.DRAINED, b=BrakeState.OFF, c=BrakeState.ON)
    assert names(planned(view)) == ["c"]
    assert reasons(planned(view)) == {"a/m": "channel_drained", "b/m": "channel_off"}
    struck = replace(view, now=1.0, health=health(("a", STRUCK, 0.0), ("b", STRUCK, 0.0), ("c", STRUCK, 0.0)))
    assert names(planned(struck)) == ["c"]


def test_all_channels_stopped_is_503_until_the_first_brake_ends() -> None:
    until = NOW + timedelta(minutes=5)
    stopped = {"a": Brake(state=BrakeState.OFF), "b": Brake(state=BrakeState.DRAINED, until=until)}
    found = planned(View(wall=NOW, brakes={**stopped, "c": Brake(state=BrakeState.OFF, until=until)}))
    assert isinstance(found, Refusal)
    assert (found.status, found.retry_after_s) == (503, 60.0)
    assert names(planned(View(wall=until, brakes={**stopped, "c": stopped["b"]}))) == ["b", "c"]


def test_what_only_a_drained_channel_keeps_still_goes_there() -> None:
    view = brakes(a=BrakeState.DRAINED)
    bound = plan(FACTS, Directives(), three_channels(ROUTE), view, bound_to="a")
    assert names(bound) == ["a"]
    off = plan(FACTS, Directives(), three_channels(ROUTE), brakes(a=BrakeState.OFF), bound_to="a")
    assert isinstance(off, Refusal)


def rules(*uses: Use) -> Route:
    rule = WhenRule(conditions=(Condition(key="quality", words=("high",)),), use=uses)
    return replace(ROUTE, when=(rule,))


def test_a_rule_narrows_and_keeps_the_order_of_the_route() -> None:
    found = planned(CALM, rules(Use(channel="c"), Use(channel="a", row="m")))
    assert names(found) == ["a", "c"]
    assert reasons(found) == {"b/m": "ruled_out"}
    assert isinstance(found, Plan)
    assert found.rule == 0


def test_nobody_left_by_a_rule_is_the_callers_400() -> None:
    served = channel("a", [row("m", serves=TURNS)])
    others = [channel(name, [row("m")]) for name in ("b", "c")]
    made = table([served, *others], [rules(Use(channel="a"))])
    found = plan(FACTS, Directives(), made, CALM)
    assert isinstance(found, Refusal)
    assert (found.status, found.code) == (400, "no_eligible_target")
    assert reasons(found) == {"a/m": "surface_not_served", "b/m": "ruled_out", "c/m": "ruled_out"}


def test_who_a_rule_leaves_may_rest_and_then_the_others_stay_out() -> None:
    found = planned(View(now=1.0, health=health(("a", SPENT, 0.0))), rules(Use(channel="a")))
    assert isinstance(found, Refusal)
    assert found.status == 503
    assert reasons(found)["b/m"] == "ruled_out"


def test_substitutes_are_tried_when_every_other_target_is_out() -> None:
    first, second, third = three_targets()
    route = replace(ROUTE, targets=(replace(first, substitute=True), second, third))
    assert names(planned(CALM, route)) == ["b", "c", "a"]
    struck = View(now=1.0, health=health(("b", STRUCK, 0.0), ("c", SPENT, 0.0)))
    found = planned(struck, route)
    assert isinstance(found, Plan)
    assert [(target.channel.name, target.substitute) for target in found.targets] == [("a", True)]


troubles = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(FailureClass), st.floats(0, 400)), max_size=8
).map(lambda found: sorted(found, key=lambda one: one[2]))


@settings(max_examples=200, deadline=None)
@given(
    troubles=troubles,
    now=st.floats(400, 430) | st.floats(400, 5000),
    stopped=st.dictionaries(st.sampled_from("abc"), st.sampled_from(BrakeState)),
    policy=st.sampled_from(Policy),
    substitutes=st.tuples(st.booleans(), st.booleans(), st.booleans()),
)
def test_strikes_alone_never_leave_a_request_without_a_target(
    troubles: list[tuple[str, FailureClass, float]],
    now: float,
    stopped: dict[str, BrakeState],
    policy: Policy,
    substitutes: tuple[bool, bool, bool],
) -> None:
    targets = tuple(
        RouteTarget(channel=name, row="m", substitute=one) for name, one in zip("abc", substitutes, strict=True)
    )
    view = View(
        now=now,
        wall=NOW,
        health=health(*troubles),
        brakes={name: Brake(state=state) for name, state in stopped.items()},
    )
    found = planned(view, Route(name="m", targets=targets, policy=policy))
    if isinstance(found, Refusal):
        assert found.status in (429, 503)
        assert found.retry_after_s is not None
        assert found.retry_after_s >= 1.0
        for name in "abc":
            is_stopped = stopped.get(name, BrakeState.ON) is not BrakeState.ON
            assert is_stopped or not standing(view.health, TargetId(name, "m"), now).is_ejected_only
        return
    assert len(found.targets) + len(found.excluded) == 3
    assert [target.substitute for target in found.targets] == sorted(target.substitute for target in found.targets)
    assert sum(target.is_kept for target in found.targets) <= 1
