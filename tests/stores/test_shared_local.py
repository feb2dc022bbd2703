"""What all requests of a process know together."""

from gateway.core.failures import CONSEQUENCES
from gateway.core.health import News, TargetId, Trouble, usable
from gateway.core.limits import Rate
from gateway.core.types import Failure, FailureClass
from gateway.ports import Ask, Shared
from gateway.stores.shared_local import SharedLocal

A = TargetId("a", "m")
ROW = CONSEQUENCES[FailureClass.OVERLOADED]
STRIKE = News(
    failure=Failure(kind=FailureClass.OVERLOADED, detail="503", outcome=ROW.outcome, fault=ROW.fault, action=ROW.action)
)


def made() -> Shared:
    return SharedLocal()


async def test_the_fifth_strike_is_told_and_one_probe_is_given() -> None:
    shared = made()
    told = [list(shared.observe(A, STRIKE, float(at))) for at in range(5)]
    assert [len(changes) for changes in told] == [0, 0, 0, 0, 1]
    assert usable(shared.health, A, 5.0) is Trouble.EJECTED
    assert not await shared.claim(A, 5.0)
    assert await shared.claim(A, 60.0)
    assert not await shared.claim(A, 61.0)
    shared.release(A, 60.0)
    assert await shared.claim(A, 62.0)
    (change,) = shared.observe(A, News(failure=None, is_probe=True), 63.0)
    assert not change.is_barred
    for at in range(5):
        shared.observe(A, STRIKE, 70.0 + at)
    shared.forgive("a")
    assert usable(shared.health, A, 75.0) is None


async def test_every_rate_must_let_it_through_and_what_would_wait_too_long_takes_nothing() -> None:
    shared = made()
    asks = (Ask(key="rpm a", rate=Rate(per_minute=600)), Ask(key="ipm a", rate=Rate(per_minute=60), pieces=6))
    assert await shared.reserve(asks, 1000.0, 2.0) == 0.0
    wait_s = await shared.reserve(asks, 1000.0, 2.0)
    assert wait_s > 2.0
    assert await shared.reserve(asks, 1000.0, 2.0) == wait_s
    assert await shared.reserve(asks[:1], 1000.0, 2.0) == 0.0
    assert await shared.reserve((), 1000.0, 2.0) == 0.0


def test_repeats_are_earned_and_spent() -> None:
    shared = made()
    for _ in range(3):
        assert shared.may_repeat
        shared.spend()
    assert not shared.may_repeat
    for _ in range(5):
        shared.earn()
    assert shared.may_repeat


def test_durations_are_kept() -> None:
    shared = made()
    shared.timed(A, "1K", 3.0, 10.0)
    assert shared.latency[A, "1K"].seconds == 3.0
