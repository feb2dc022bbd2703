from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.intake.delimiters import Delimiters

BOUNDARY = b"ab"
LINES = st.lists(st.sampled_from([b"--ab", b"\n--ab", b"\r\n", b"-", b"\n", b" ", b"\t", b"a", b"x"]), max_size=12)


def in_one_piece(body: bytes) -> tuple[list[int], bool]:
    text = b"\n" + body
    starts = [at for at in range(len(text)) if text.startswith(b"\n--ab", at)]
    return starts, any(text[at + 5 : at + 6] in (b" ", b"\t") for at in starts)


@given(parts=LINES, cuts=st.lists(st.integers(min_value=0, max_value=40), max_size=8))
@example(parts=[b"--ab", b"\n--ab"], cuts=list(range(12)))
def test_wherever_the_slices_are_cut_the_same_is_found(parts: list[bytes], cuts: list[int]) -> None:
    body = b"".join(parts)
    found = Delimiters(BOUNDARY, most=100)
    for start, end in pairwise([0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]):
        found.feed(body[start:end])
    assert (found.starts, found.is_blank_after) == in_one_piece(body)


@pytest.mark.parametrize("most", [1, 3])
def test_it_stops_looking(most: int) -> None:
    found = Delimiters(BOUNDARY, most=most)
    found.feed(b"--ab\n" * 100)
    assert len(found.starts) in (most, most + 1)
