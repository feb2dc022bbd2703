"""How long a target is expected to take."""

import pytest

from gateway.core.health import TargetId
from gateway.core.latency import Latencies, expected_s, learn, size_class
from gateway.core.types import Facts, Surface

A, B = TargetId("a", "m"), TargetId("b", "m")


@pytest.mark.parametrize(
    ("size", "name"),
    [
        (None, "auto"),
        ("auto", "auto"),
        ("1024x1024", "1K"),
        ("1536x1024", "1K"),
        ("2048x2048", "2K"),
        ("2049x2048", "4K"),
    ],
)
def test_the_class_goes_by_pixels(size: str | None, name: str) -> None:
    assert size_class(Facts(surface=Surface.EDITS, asked_model="m", size=size)) == name


def test_a_turn_is_a_class_of_its_own() -> None:
    assert size_class(Facts(surface=Surface.RESPONSES, asked_model="m", size="1024x1024")) == "turn"


def test_who_was_never_seen_is_expected_at_once() -> None:
    assert expected_s({}, A, "1K", 0.0) == 0.0


def test_new_figures_count_three_tenths_and_stay_with_their_target_and_size() -> None:
    known = learn(learn({}, A, "1K", 10.0, 0.0), A, "1K", 20.0, 0.0)
    assert expected_s(known, A, "1K", 0.0) == pytest.approx(13.0)
    assert expected_s(known, B, "1K", 0.0) == 0.0
    assert expected_s(known, A, "4K", 0.0) == 0.0


def test_a_figure_fades_so_that_who_was_slow_is_tried_again() -> None:
    known: Latencies = learn({}, A, "1K", 8.0, 100.0)
    assert [expected_s(known, A, "1K", at) for at in (90.0, 100.0, 700.0, 1300.0)] == [8.0, 8.0, 4.0, 2.0]
