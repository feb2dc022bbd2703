"""In which order targets are asked."""

import random
from collections import Counter

import pytest

from gateway.core.health import TargetId
from gateway.core.latency import Average
from gateway.core.order import ordered
from gateway.core.table import Policy, Route, RouteTarget
from gateway.core.types import Facts, Surface
from gateway.core.view import CALM, View

FACTS = Facts(surface=Surface.GENERATIONS, asked_model="m", size="1024x1024")


def target(channel: str, weight: int = 1, *, substitute: bool = False) -> RouteTarget:
    return RouteTarget(channel=channel, row="m", weight=weight, substitute=substitute)


def order(policy: Policy, *targets: RouteTarget, view: View = CALM) -> str:
    route = Route(name="m", targets=targets, policy=policy)
    return "".join(ordered([(one, one.channel) for one in targets], route, FACTS, view))


@pytest.mark.parametrize("policy", Policy)
def test_substitutes_come_last_whatever_the_policy(policy: Policy) -> None:
    view = View(busy={"b": 1.0, "c": 1.0}.__getitem__, roll=random.Random(1).random)
    targets = (target("s", substitute=True), target("b"), target("t", substitute=True), target("c"))
    found = order(policy, *targets, view=view)
    assert found[2:] == "st"
    assert set(found[:2]) == {"b", "c"}


def test_priority_is_as_written() -> None:
    assert order(Policy.PRIORITY, target("c"), target("a"), target("b")) == "cab"


def test_weights_are_shares_of_the_first_place_and_of_what_is_left() -> None:
    view = View(roll=random.Random(7).random)
    targets = (target("a", 6), target("b", 3), target("c", 1), target("z", 0))
    found = Counter(order(Policy.WEIGHTED, *targets, view=view) for _ in range(20_000))
    assert {one[-1] for one in found} == {"z"}
    first = {name: sum(n for one, n in found.items() if one[0] == name) / 20_000 for name in "abc"}
    assert first == pytest.approx({"a": 0.6, "b": 0.3, "c": 0.1}, abs=0.02)
    second = sum(n for one, n in found.items() if one.startswith("ab")) / 20_000
    assert second == pytest.approx(0.6 * 0.75, abs=0.02)


def test_without_dice_the_heaviest_comes_first() -> None:
    assert order(Policy.WEIGHTED, target("a", 1), target("b", 5), target("c", 0)) == "bac"


def test_the_fastest_for_this_size_comes_first_and_who_was_never_asked_before_all() -> None:
    seen = {
        (TargetId("a", "m"), "1K"): Average(seconds=9.0, at=0.0),
        (TargetId("b", "m"), "1K"): Average(seconds=3.0, at=0.0),
        (TargetId("b", "m"), "4K"): Average(seconds=99.0, at=0.0),
    }
    targets = (target("a"), target("b"), target("c"))
    assert order(Policy.FASTEST, *targets, view=View(latency=seen)) == "cba"


def test_the_least_busy_comes_first_and_equals_stay_as_written() -> None:
    targets = (target("a"), target("b"), target("c"), target("d"))
    assert (
        order(Policy.LEAST_BUSY, *targets, view=View(busy={"a": 0.5, "b": 0.0, "c": 0.25, "d": 0.0}.__getitem__))
        == "bdca"
    )
