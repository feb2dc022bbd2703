from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.alert_signs import Filling, Spending, signs_in, signs_of_filling, signs_of_spending
from gateway.core.alerts import MOST_STANDING, AlertKind, AlertState, Signal, Standing, judge
from gateway.core.types import JsonObject

SIGNALS = st.sampled_from(
    [
        Signal(kind=kind, subject=subject, is_over=is_over)
        for kind in (AlertKind.BUDGET, AlertKind.DISK)
        for subject in ("a", "b")
        for is_over in (False, True)
    ]
)


@settings(max_examples=200)
@given(steps=st.lists(st.tuples(SIGNALS, st.floats(0, 40))))
def test_what_is_told_is_new_or_old_enough_and_ends_once(steps: list[tuple[Signal, float]]) -> None:
    standing: Standing = {}
    firing: dict[tuple[AlertKind, str], float] = {}
    seen, told, now = 0, 0, 0.0
    for signal, pause in steps:
        now += pause
        about = (signal.kind, signal.subject)
        standing, alert = judge(standing, signal, now, 60.0)
        seen += not signal.is_over
        told += 0 if alert is None else alert.times
        if alert is None:
            assert (about not in firing) if signal.is_over else (now - firing[about] < 60.0)
        elif alert.state is AlertState.RESOLVED:
            assert signal.is_over
            del firing[about]
        else:
            assert about not in firing or now - firing[about] >= 60.0
            firing[about] = now
    assert set(standing) == set(firing)
    assert told + sum(one.unsaid for one in standing.values()) == seen


def test_the_number_of_subjects_is_bounded() -> None:
    standing: Standing = {}
    for number in range(MOST_STANDING + 5):
        standing, _ = judge(standing, Signal(kind=AlertKind.DISK, subject=str(number)), float(number), 1e9)
    assert len(standing) == MOST_STANDING
    assert (AlertKind.DISK, "0") not in standing


def test_events_that_need_a_person_are_signs() -> None:
    barred: JsonObject = {"event": "target.barred", "channel": "a", "reason": "quota_exhausted", "for_s": 600.0}
    [sign] = signs_in(barred)
    assert (sign.kind, sign.subject, sign.is_over) == (AlertKind.QUOTA_EXHAUSTED, "a", False)
    [sign] = signs_in({**barred, "event": "target.restored", "row": "r"})
    assert (sign.subject, sign.is_over) == ("a/r", True)
    assert not signs_in({**barred, "reason": "rate_limited"})
    assert not signs_in({"event": "server.ready", "interrupted_requests": 0})
    [sign] = signs_in({"event": "server.ready", "interrupted_requests": 2})
    assert sign.kind is AlertKind.EXPOSURE
    picture: JsonObject = {"event": "asset.not_stored", "fate": "no_room", "sha256": "f"}
    assert [sign.kind for sign in signs_in(picture)] == [AlertKind.NOT_KEPT, AlertKind.DISK]
    assert [sign.kind for sign in signs_in({"event": "ledger.settle_failed"})] == [AlertKind.EXPOSURE]


def test_an_attempt_of_unknown_outcome_is_an_exposure_and_brings_no_words_along() -> None:
    attempt: JsonObject = {
        "attempt_id": "att_1",
        "channel": "a",
        "row": "r",
        "outcome": "unknown",
        "failure": {"message": "words"},
    }
    event: JsonObject = {"event": "request.finished", "request_id": "req_1", "prompt": "words", "attempts": [attempt]}
    [sign] = signs_in(event)
    assert (sign.kind, sign.subject) == (AlertKind.EXPOSURE, "a")
    assert "words" not in str(sign)
    assert not signs_in({**event, "attempts": [{**attempt, "outcome": "delivered"}]})


def test_levels_of_budgets_and_disks() -> None:
    spent = Spending(key_id="key_1", spent_micro=80, amount_micro=100, currency="USD")
    assert [sign.is_over for sign in signs_of_spending([spent], (80, 100))] == [False, True]
    disks = [
        Filling(name="full", total=100, free=10, reserve=0),
        Filling(name="fine", total=100, free=11, reserve=0),
        Filling(name="short", total=100, free=50, reserve=51),
    ]
    assert [sign.is_over for sign in signs_of_filling(disks, 90)] == [False, True, False]
