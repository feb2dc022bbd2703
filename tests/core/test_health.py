"""Who is well: strikes, cooling, bars and probes; and what holds over a hundred thousand events."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from msgspec.structs import replace

from gateway.core.failures import CONSEQUENCES
from gateway.core.health import (
    PROBE_RETRY_S,
    RULES,
    TROUBLES,
    Bar,
    Change,
    Health,
    TargetId,
    Trouble,
    changes,
    claim,
    forgive,
    observe,
    release,
    standing,
    usable,
)
from gateway.core.types import Failure, FailureClass

A, B = TargetId("a", "m"), TargetId("a", "n")
OTHER = TargetId("b", "m")
WELL = Health()


def failed(kind: FailureClass, retry_after_s: float | None = None) -> Failure:
    row = CONSEQUENCES[kind]
    return Failure(
        kind=kind,
        detail="x",
        outcome=row.outcome,
        fault=row.fault,
        action=row.action,
        retry_after_s=retry_after_s,
    )


STRIKE = failed(FailureClass.SERVER_ERROR)


def after(
    state: Health,
    *failures: Failure | None,
    at: float = 0.0,
    every: float = 1.0,
    target: TargetId = A,
    die: float = 0.0,
) -> Health:
    for number, failure in enumerate(failures):
        state = observe(state, target, failure, at + number * every, die)
    return state


EJECTED = after(WELL, *[STRIKE] * 5)


@pytest.mark.parametrize("kind", FailureClass)
def test_each_class_says_what_the_table_says(kind: FailureClass) -> None:
    neutral = {
        FailureClass.UNSUPPORTED_OPTION,
        FailureClass.BAD_REQUEST,
        FailureClass.CONTENT_POLICY,
        FailureClass.CLIENT_GONE,
    }
    assert (kind not in TROUBLES) == (kind in neutral)
    state = after(WELL, *[failed(kind)] * 9)
    assert (usable(state, A, 9.0) is None) == (kind in neutral)
    assert (state is WELL) == (kind in neutral)


def test_the_fifth_strike_in_a_row_ejects_for_half_a_minute() -> None:
    state = after(WELL, *[STRIKE] * 4)
    assert usable(state, A, 4.0) is None
    state = observe(state, A, STRIKE, 4.0, 0.0)
    assert usable(state, A, 4.0) is Trouble.EJECTED
    assert standing(state, A, 33.9).bars == (Bar(trouble=Trouble.EJECTED, since=4.0, until=34.0),)
    assert standing(state, A, 34.0).is_probe
    assert usable(state, B, 5.0) is None
    assert usable(state, OTHER, 5.0) is None


def test_a_delivery_between_breaks_the_row_and_what_is_the_requests_own_does_not() -> None:
    assert usable(after(WELL, *[STRIKE] * 4, None, *[STRIKE] * 4), A, 9.0) is None
    own = failed(FailureClass.CONTENT_POLICY)
    assert usable(after(WELL, *[STRIKE] * 4, own, STRIKE), A, 6.0) is Trouble.EJECTED


@pytest.mark.parametrize(("die", "until"), [(0.0, 34.0), (0.5, 31.0), (0.999, 28.006)])
def test_jitter_takes_up_to_a_fifth(die: float, until: float) -> None:
    last = standing(after(WELL, *[STRIKE] * 5, die=die), A, 4.0).last
    assert last is not None
    assert last.until == pytest.approx(until)


def test_one_probe_at_a_time_and_a_delivery_readmits() -> None:
    state = claim(EJECTED, A, 40.0)
    assert standing(state, A, 40.0).bars == (Bar(trouble=Trouble.EJECTED, since=4.0, until=40.0 + PROBE_RETRY_S),)
    assert claim(state, A, 41.0) == state
    again = observe(state, A, None, 42.0, 0.0, is_probe=True)
    assert standing(again, A, 42.0) == standing(WELL, A, 42.0)
    assert usable(after(again, *[STRIKE] * 4, at=43.0), A, 47.0) is None


def test_a_probe_that_fails_is_ejected_for_longer_up_to_the_cap() -> None:
    state, now, lasted = EJECTED, 34.0, []
    for _ in range(12):
        state = observe(claim(state, A, now), A, STRIKE, now, 0.0, is_probe=True)
        last = standing(state, A, now).last
        assert last is not None
        lasted.append(last.until - now)
        now = last.until
    assert lasted == [60.0, 90.0, 120.0, 150.0, 180.0, 210.0, 240.0, 270.0, 300.0, 300.0, 300.0, 300.0]


def test_a_target_that_was_well_for_long_begins_anew() -> None:
    well = observe(EJECTED, A, None, 34.0, 0.0, is_probe=True)
    for at, lasts_s in ((200.0, 60.0), (1000.0, 30.0)):
        last = standing(after(well, *[STRIKE] * 5, at=at, every=0.0), A, at).last
        assert last is not None
        assert last.until - at == lasts_s


def test_a_probe_that_tells_nothing_leaves_the_question_open() -> None:
    state = claim(EJECTED, A, 40.0)
    for said in (failed(FailureClass.BAD_REQUEST), failed(FailureClass.RATE_LIMITED, 1.0)):
        told = release(observe(state, A, said, 41.0, 0.0, is_probe=True), A, 40.0)
        assert standing(told, A, 45.0).is_probe
    assert release(state, A, 39.0) == state


def test_late_news_of_calls_that_began_before_changes_nothing() -> None:
    assert observe(EJECTED, A, STRIKE, 10.0, 0.0) is EJECTED
    assert observe(EJECTED, A, None, 10.0, 0.0) is EJECTED
    assert observe(EJECTED, A, STRIKE, 40.0, 0.0) is EJECTED
    assert usable(observe(EJECTED, A, None, 40.0, 0.0), A, 40.0) is None


def test_who_was_let_through_a_bar_and_delivers_lifts_it() -> None:
    assert usable(observe(EJECTED, A, None, 10.0, 0.0, is_probe=True), A, 10.0) is None
    assert observe(EJECTED, A, STRIKE, 10.0, 0.0, is_probe=True) is EJECTED


@pytest.mark.parametrize(("said", "lasts_s"), [(None, 5.0), (0.0, 0.0), (20.0, 20.0), (3600.0, 3600.0)])
def test_a_rate_limit_cools_as_long_as_the_upstream_says(said: float | None, lasts_s: float) -> None:
    state = after(WELL, failed(FailureClass.RATE_LIMITED, said))
    if lasts_s:
        assert usable(state, A, lasts_s - 0.1) is Trouble.RATE_LIMITED
    assert standing(state, A, lasts_s) == standing(WELL, A, lasts_s)
    assert claim(state, A, lasts_s) == state
    assert usable(state, B, 0.0) is None


def test_a_cooling_only_grows_and_no_delivery_shortens_it() -> None:
    state = after(WELL, failed(FailureClass.RATE_LIMITED, 20.0))
    longer = observe(state, A, failed(FailureClass.RATE_LIMITED, 30.0), 1.0, 0.0)
    assert usable(longer, A, 30.9) is Trouble.RATE_LIMITED
    assert observe(longer, A, failed(FailureClass.RATE_LIMITED, 1.0), 2.0, 0.0) is longer
    assert observe(longer, A, None, 3.0, 0.0, is_probe=True) is longer
    again = observe(longer, A, failed(FailureClass.RATE_LIMITED, 2.0), 40.0, 0.0)
    assert usable(again, A, 41.0) is Trouble.RATE_LIMITED
    assert usable(again, A, 42.0) is None


@pytest.mark.parametrize(("said", "lasts_s"), [(None, 600.0), (1.0, 600.0), (900.0, 900.0)])
def test_a_spent_quota_rests_the_whole_channel_for_long(said: float | None, lasts_s: float) -> None:
    state = after(WELL, failed(FailureClass.QUOTA_EXHAUSTED, said))
    for target in (A, B):
        assert usable(state, target, lasts_s - 0.1) is Trouble.QUOTA_EXHAUSTED
        assert standing(state, target, lasts_s).is_probe
    assert usable(state, OTHER, 0.0) is None


def test_three_rejected_keys_within_a_minute_turn_the_channel_off() -> None:
    key = failed(FailureClass.KEY_REJECTED)
    assert usable(after(WELL, key, key, key, every=31.0), A, 62.0) is None
    assert usable(after(WELL, key, key, None, key), A, 4.0) is None
    state = observe(after(WELL, key, key), B, key, 2.0, 0.0)
    assert usable(state, A, 3.0) is Trouble.KEY_REJECTED
    assert standing(state, B, 62.0).is_probe
    assert usable(observe(claim(state, B, 62.0), B, None, 63.0, 0.0, is_probe=True), A, 63.0) is None


def test_a_row_goes_off_for_an_account_that_is_not_ready_and_for_a_model_that_is_missing_thrice() -> None:
    state = after(WELL, failed(FailureClass.ACCOUNT_NOT_READY))
    assert (usable(state, A, 599.0), usable(state, B, 1.0)) == (Trouble.ACCOUNT_NOT_READY, None)
    missing = failed(FailureClass.MODEL_MISSING)
    assert usable(after(WELL, missing, missing), A, 2.0) is None
    state = after(WELL, missing, missing, missing)
    assert (usable(state, A, 301.0), usable(state, B, 3.0)) == (Trouble.MODEL_MISSING, None)


def test_the_bar_that_lifts_last_is_the_reason() -> None:
    state = observe(EJECTED, A, failed(FailureClass.RATE_LIMITED, 60.0), 5.0, 0.0)
    assert usable(state, A, 6.0) is Trouble.RATE_LIMITED
    assert not standing(state, A, 6.0).is_ejected_only
    assert standing(EJECTED, A, 6.0).is_ejected_only
    assert not standing(WELL, A, 6.0).is_ejected_only
    assert not standing(state, A, 40.0).is_probe


def test_an_operator_may_have_it_forgotten() -> None:
    state = observe(EJECTED, OTHER, failed(FailureClass.QUOTA_EXHAUSTED), 5.0, 0.0)
    assert usable(forgive(state, "a"), A, 6.0) is None
    assert usable(forgive(state, "a"), OTHER, 6.0) is Trouble.QUOTA_EXHAUSTED


def test_what_the_operator_is_told() -> None:
    down = Change(channel="a", row="m", trouble=Trouble.EJECTED, is_barred=True, for_s=30.0)
    four = after(WELL, *[STRIKE] * 4)
    assert list(changes(WELL, four)) == []
    assert list(changes(four, EJECTED)) == [down]
    probed = observe(claim(EJECTED, A, 40.0), A, STRIKE, 41.0, 0.0, is_probe=True)
    assert list(changes(EJECTED, probed)) == [replace(down, for_s=60.0)]
    assert list(changes(EJECTED, observe(EJECTED, A, None, 41.0, 0.0))) == [
        Change(channel="a", row="m", trouble=Trouble.EJECTED, is_barred=False)
    ]


# --- over many events


@dataclass(slots=True)
class Watch:
    """What must hold, kept beside the reducer in the plainest way."""

    strikes: int = 0


def events(dice: random.Random, count: int) -> Iterator[tuple[float, TargetId, Failure | None, bool]]:
    now = 0.0
    lean = dice.choice((0.1, 0.5, 0.9))  # how often an attempt delivers in this run
    for _ in range(count):
        now += dice.choice((0.0, 0.1, 5.0, 31.0, 200.0))
        target = dice.choice((A, B, OTHER))
        if dice.random() < lean:
            yield now, target, None, dice.random() < 0.3
        else:
            wait_s = dice.choice((None, 0.0, 1.0, 3600.0))
            yield now, target, failed(dice.choice(tuple(FailureClass)), wait_s), dice.random() < 0.3


@pytest.mark.parametrize("seed", range(100))
def test_a_thousand_events_each(seed: int) -> None:
    """100 runs of 1,000: bars come only of their own trouble, last as the rules say, and end."""
    dice = random.Random(seed)
    state = WELL
    row: dict[TargetId, Watch] = {A: Watch(), B: Watch(), OTHER: Watch()}
    for now, target, failure, wants_probe in events(dice, 1000):
        before = standing(state, target, now)
        claimed = before.is_probe and wants_probe
        if claimed:
            state = claim(state, target, now)
            assert not standing(state, target, now).is_probe
        let_through = claimed or (before.is_ejected_only and wants_probe)
        old = state
        state = observe(state, target, failure, now, dice.random(), is_probe=let_through)
        assert state == observe(old, target, failure, now, 0.0, is_probe=let_through) or failure is not None
        _check(old, state, failure, now)
        _count(row[target], failure)
        if row[target].strikes >= 5 and failure is not None and TROUBLES.get(failure.kind) is Trouble.EJECTED:
            assert any(
                place[2] is Trouble.EJECTED and mark.is_barred
                for place, mark in state.marks.items()
                if place[:2] == (target.channel, target.row)
            )
        if claimed:
            state = release(state, target, now)
    for target in (A, B, OTHER):
        assert not standing(state, target, 10_000_000.0).bars  # every bar lifts, or lets a probe through


def _count(watch: Watch, failure: Failure | None) -> None:
    if failure is None:
        watch.strikes = 0
    elif TROUBLES.get(failure.kind) is Trouble.EJECTED:
        watch.strikes += 1


def _check(old: Health, new: Health, failure: Failure | None, now: float) -> None:
    for place, mark in new.marks.items():
        rule = RULES[place[2]]
        if mark.is_barred:
            said_s = failure.retry_after_s if failure else None
            longest_s = max(rule.cap_s, said_s or 0.0, 3600.0 if place[2] in _COOLED else 0.0)
            assert mark.until - mark.since <= longest_s + now - mark.since
            assert mark.failures == ()
        assert len(mark.failures) < max(rule.after, 1) or rule.after == 1
    for change in changes(old, new):
        if change.is_barred:
            assert failure is not None
            assert TROUBLES[failure.kind] is change.trouble
            if change.trouble is Trouble.EJECTED:
                assert 24.0 - 1e-6 <= (change.for_s or 0.0) <= 300.0
        else:
            assert failure is None


_COOLED = (Trouble.RATE_LIMITED, Trouble.QUOTA_EXHAUSTED)
