import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import units


@pytest.mark.parametrize(
    ("written", "expected"),
    [("580s", 580.0), ("3s", 3.0), ("500ms", 0.5), ("2m", 120.0), ("1h", 3600.0), ("30d", 2_592_000.0), ("1.5 s", 1.5)],
)
def test_durations_are_seconds(written: str, expected: float) -> None:
    assert units.seconds(written) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("32MB", 32_000_000),
        ("1KB", 1000),
        ("2GB", 2_000_000_000),
        ("1KiB", 1024),
        ("1MiB", 1_048_576),
        ("1GiB", 1_073_741_824),
        ("1.5MB", 1_500_000),
    ],
)
def test_sizes_are_bytes(written: str, expected: int) -> None:
    assert units.octets(written) == expected


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        (580, "needs a unit: a duration is written like 580s"),
        (1.5, "needs a unit: a duration is written like 580s"),
        ("580", "needs a unit: a duration is written like 580s"),
        ("soon", "must be a duration, written like 580s"),
        ("-5s", "must be a duration, written like 580s"),
        ("1e9s", "must be a duration, written like 580s"),
        ("٣s", "must be a duration, written like 580s"),
        ("9999999999s", "must be a duration, written like 580s"),
        ("", "must be a duration, written like 580s"),
        (None, "must be a duration, written like 580s"),
        (True, "must be a duration, written like 580s"),
        (["5s"], "must be a duration, written like 580s"),
        ("0s", "must be more than zero"),
        ("366d", "must be at most 365d"),
        ("0.2ms", "must be more than zero"),
        ("5S", "a duration has one of the units ms, s, m, h, d; did you mean 's'?"),
        ("5 weeks", "a duration has one of the units ms, s, m, h, d"),
    ],
)
def test_what_is_no_duration_says_what_to_write(written: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        units.seconds(written)


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ("32mb", "a size has one of the units KB, MB, GB, KiB, MiB, GiB; did you mean 'MB'?"),
        ("32M", "a size has one of the units KB, MB, GB, KiB, MiB, GiB; did you mean 'MB'?"),
        (32, "needs a unit: a size is written like 32MB"),
        ("0MB", "must be more than zero"),
        ("0.0001KB", "must be more than zero"),
    ],
)
def test_what_is_no_size_says_what_to_write(written: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        units.octets(written)


@given(st.one_of(st.text(), st.integers(), st.floats(), st.none(), st.booleans(), st.lists(st.text())))
def test_anything_is_a_duration_or_a_value_error(written: object) -> None:
    for read in (units.seconds, units.octets, units.whole):
        with contextlib.suppress(ValueError):
            assert read(written) > 0 or read is units.whole


@given(st.text())
def test_any_text_is_an_address_or_a_value_error(written: str) -> None:
    for text in (written, f"http://{written}", f"https://h{written}"):
        with contextlib.suppress(ValueError):
            url = units.http_url(text)
            assert not url.endswith("/")
            assert units.host_of(url)
