"""What a request costs is held to its ceiling. Why that is sound on a busy machine stands in ``bench/gate.py``."""

from datetime import date
from pathlib import Path

import pytest
import yaml

from bench.gate import CEILINGS, Ceiling, Cost, measure, read_ceilings

pytestmark = pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="reads /proc, which is Linux")


def cost(*rounds: list[float]) -> Cost:
    return Cost(ceiling=Ceiling(name="small", ceiling=1.0, measured=0.75, what="a request"), rounds=list(rounds))


def test_no_request_costs_more_than_its_ceiling() -> None:
    broken = {found.ceiling.name: (found.ratio, found.rounds) for found in measure(read_ceilings()) if not found.holds}
    assert broken == {}, "a request became dearer: see docs/performance.md, The gate"


def test_the_ceilings_are_dated_and_leave_room_for_noise_only() -> None:
    assert isinstance(yaml.safe_load(CEILINGS.read_text("utf-8"))["date"], date)
    for ceiling in read_ceilings().values():
        assert 1.2 <= ceiling.ceiling / ceiling.measured <= 1.4


def test_a_cost_that_grew_in_every_turn_is_broken_and_one_that_was_disturbed_is_not() -> None:
    assert not cost([1.05, 1.06, 1.05, 1.07]).holds
    assert cost([0.75, 0.76, 1.9, 3.0]).holds
    assert not cost([0.9, *[1.1] * 7]).holds, "one lucky turn decides nothing"
    assert cost([1.2] * 8, [0.8] * 8).holds, "a bad round is taken again"
