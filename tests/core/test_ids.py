"""Ids: their form, their order, and what does not fit."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.ids import RANDOM_BYTES, is_id, new_id

NOW_MS = 1_795_168_800_000
DICE = bytes(range(10))


def test_an_id_is_a_prefix_and_32_hex_digits() -> None:
    assert new_id("req", NOW_MS, DICE) == "req_01a1f8660d0000010203040506070809"
    assert is_id("req", new_id("req", NOW_MS, DICE))


@settings(max_examples=100, deadline=None)
@given(
    st.tuples(st.integers(0, 2**48 - 1), st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES)),
    st.tuples(st.integers(0, 2**48 - 1), st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES)),
)
def test_ids_sort_as_their_times_do(one: tuple[int, bytes], other: tuple[int, bytes]) -> None:
    first, second = new_id("att", *one), new_id("att", *other)
    assert (first < second) == (one < other)
    assert len(first) == len("att_") + 32


@pytest.mark.parametrize(
    ("now_ms", "dice"), [(-1, DICE), (2**48, DICE), (NOW_MS, b""), (NOW_MS, bytes(9)), (NOW_MS, bytes(11))]
)
def test_what_does_not_fit_is_a_bug(now_ms: int, dice: bytes) -> None:
    with pytest.raises(ValueError, match="48 bits"):
        new_id("req", now_ms, dice)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "req_",
        "req_" + "0" * 31,
        "req_" + "0" * 33,
        "req_" + "0" * 31 + "\n",
        "req_" + "A" * 32,
        "req_" + "g" * 32,
        "key_" + "0" * 32,
        "req" + "0" * 33,
        "req_" + "٣" * 32,
    ],
)
def test_what_is_no_id(text: str) -> None:
    assert not is_id("req", text)
