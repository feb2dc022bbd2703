"""How much may be asked: rates over any minute, the retry budget, places in a pool."""

import random

import pytest

from gateway.core import limits
from gateway.core.limits import Rate, busyness, earn, frees_in_time, level, may_repeat, reserve, spend


@pytest.mark.parametrize(("per_minute", "at_once"), [(1, 1), (9, 1), (10, 1), (60, 6), (500, 50)])
def test_a_tenth_of_a_minute_may_come_at_once(per_minute: int, at_once: int) -> None:
    rate, arrival = Rate(per_minute=per_minute), 0.0
    for _ in range(at_once):
        held = reserve(rate, arrival, 1, 1000.0)
        assert held.wait_s == pytest.approx(0.0)
        arrival = held.arrival
    assert reserve(rate, arrival, 1, 1000.0).wait_s == pytest.approx(rate.interval_s)


@pytest.mark.parametrize("per_minute", [1, 2, 3, 7, 10, 60, 97, 500])
@pytest.mark.parametrize("seed", range(3))
def test_no_minute_holds_more_than_the_rate_and_a_busy_one_holds_nearly_all(per_minute: int, seed: int) -> None:
    dice = random.Random(seed)
    rate, arrival, now = Rate(per_minute=per_minute), 0.0, 100.0
    sent: list[float] = []
    for _ in range(1500):
        now += dice.choice((0.0, 0.0, 0.01, rate.interval_s, 20 * rate.interval_s))
        held = reserve(rate, arrival, 1, now)
        if held.wait_s <= 2.0:
            arrival = held.arrival
            sent.append(now + held.wait_s)
    first = 0
    fullest = 0
    for last, moment in enumerate(sent):
        while moment - sent[first] >= limits.MINUTE_S - 1e-6:
            first += 1
        fullest = max(fullest, last - first + 1)
    assert fullest <= per_minute
    assert sent == sorted(sent)


def test_a_steady_stream_gets_the_whole_rate() -> None:
    rate, arrival, sent = Rate(per_minute=100), 0.0, 0
    for tick in range(60_000):
        held = reserve(rate, arrival, 1, 1000.0 + tick / 1000)
        if held.wait_s == 0.0:
            arrival = held.arrival
            sent += 1
    assert sent == 100


def test_more_pieces_than_come_at_once_go_when_nothing_is_owed_and_are_owed_then() -> None:
    rate = Rate(per_minute=10)
    held = reserve(rate, 0.0, 4, 1000.0)
    assert held.wait_s == 0.0
    assert reserve(rate, held.arrival, 4, 1000.0).wait_s == pytest.approx(4 * rate.interval_s)
    assert reserve(rate, held.arrival, 1, 1000.0).wait_s == pytest.approx(4 * rate.interval_s)
    assert reserve(rate, held.arrival, 1, 1000.0 + 4 * rate.interval_s).wait_s == pytest.approx(0.0)


@pytest.mark.parametrize("seed", range(20))
def test_repeats_stay_under_a_fifth_of_the_requests_and_three(seed: int) -> None:
    dice = random.Random(seed)
    purse, requests, repeats = limits.REPEATS_AT_START, 0, 0
    for _ in range(5000):
        if dice.random() < 0.3:
            purse, requests = earn(purse), requests + 1
        elif dice.random() < 0.1:
            purse = spend(purse)  # a fallback asks nobody
        elif may_repeat(purse):
            purse, repeats = spend(purse), repeats + 1
        assert repeats <= 0.2 * requests + 3
        assert 0.0 <= purse <= limits.PURSE


def test_three_repeats_are_there_from_the_start() -> None:
    purse = limits.REPEATS_AT_START
    for _ in range(3):
        assert may_repeat(purse)
        purse = spend(purse)
    assert not may_repeat(purse)


@pytest.mark.parametrize(
    ("waiting", "idle_s", "pace_s", "frees"),
    [
        (0, 0.0, None, True),
        (9, 1.9, None, True),
        (0, 2.0, None, False),
        (0, 60.0, 0.1, False),
        (0, 0.5, 2.0, True),
        (0, 0.5, 2.1, False),
        (3, 0.5, 0.5, True),
        (4, 0.5, 0.5, False),
    ],
)
def test_a_pool_is_waited_for_when_it_moves_fast_enough(
    waiting: int, idle_s: float, pace_s: float | None, frees: bool
) -> None:
    assert frees_in_time(waiting, idle_s, pace_s) is frees


def test_what_is_given_back_can_be_had_again_and_no_more_than_was_there() -> None:
    rate = Rate(per_minute=10, bucket=True)
    arrival = reserve(rate, 0.0, 3, 1000.0).arrival
    for left in (9, 10, 10):
        back = reserve(rate, arrival, -2, 1000.0)
        assert (back.wait_s, level(rate, back.arrival, 1000.0).left) == (0.0, left)
        arrival = back.arrival


def test_busyness_is_a_share() -> None:
    assert (busyness(0, 4), busyness(3, 4), busyness(8, 4)) == (0.0, 0.75, 2.0)


@pytest.mark.parametrize("now", [0.1, 16_414.831900547, 3_600_000.123456789])
@pytest.mark.parametrize("per_minute", [7, 30, 90, 600])
def test_no_clock_is_so_far_on_that_a_piece_is_lost(per_minute: int, now: float) -> None:
    arrival, rate, passed = 0.0, Rate(per_minute=per_minute, bucket=True), 0
    for _ in range(per_minute):
        reserved = reserve(rate, arrival, 1, now)
        passed += reserved.wait_s == 0.0
        arrival = reserved.arrival
    assert passed == per_minute
