"""When an upstream may be asked again: headers, dates and sentences."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.retry_after import retry_after_s

NOW = "Fri, 20 Nov 2026 10:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "12"}, 12.0),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "-5"}, 0.0),
        ({"retry-after": "86400"}, 3600.0),
        ({"retry-after": "9" * 40}, 3600.0),
        ({"retry-after": "9" * 41}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "x", "retry-after": "9"}, 9.0),
        ({"retry-after": "Fri, 20 Nov 2026 10:00:30 GMT", "date": NOW}, 30.0),
        ({"retry-after": "Fri, 20 Nov 2026 09:00:00 GMT", "date": NOW}, 0.0),
        ({"retry-after": "Sat, 20 Nov 2027 09:00:00 GMT", "date": NOW}, 3600.0),
        ({"retry-after": "Fri, 20 Nov 2026 10:00:30 GMT"}, None),
        ({"retry-after": "Fri, 20 Nov 2026 10:00:30 GMT", "date": "today"}, None),
        ({"retry-after": "Fri, 99 Nov 2026 10:00:30 GMT", "date": NOW}, None),
        ({"retry-after": "Fri, 20 Foo 2026 10:00:30 GMT", "date": NOW}, None),
        ({"retry-after": "Fri, 20 Nov 0000 10:00:30 GMT", "date": NOW}, None),
        ({"retry-after": "Friday, 20-Nov-26 10:00:30 GMT", "date": NOW}, None),
    ],
)
def test_headers(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers) == seconds


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ("Limit 5, Used 5, Requested 1. Please try again in 12s.", 12.0),
        ("Please try again in 1m30s. Visit the page.", 90.0),
        ("Please try again in 6m0s.", 360.0),
        ("Please try again in 120ms.", 0.12),
        ("Please retry in 34.074824224s.", 34.074824224),
        ("Please retry after 26 seconds.", 26.0),
        ("Try again in 2 hours", 3600.0),
        ("try again in 5 minutes", 300.0),
        ("try again in 5 meters", None),
        ("Please try again later.", None),
        ("", None),
    ],
)
def test_sentences(message: str, seconds: float | None) -> None:
    assert retry_after_s({}, message) == (None if seconds is None else pytest.approx(seconds))


def test_a_header_goes_before_a_sentence() -> None:
    assert retry_after_s({"retry-after": "3"}, "try again in 12s") == 3.0


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["retry-after", "retry-after-ms", "date"]),
        st.text(max_size=30) | st.just(NOW) | st.floats().map(str),
    ),
    st.text() | st.from_regex(r"(try again|retry) (in|after) [0-9.]{1,9} ?(ms|s|m|h)", fullmatch=True),
)
def test_whatever_is_said_the_wait_is_none_or_within_the_hour(headers: dict[str, str], message: str) -> None:
    seconds = retry_after_s(headers, message)
    assert seconds is None or (math.isfinite(seconds) and 0 <= seconds <= 3600)
