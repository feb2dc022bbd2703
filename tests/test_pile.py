"""Bytes in memory in the pieces they came in: any range of them comes back, and large ones are never copied."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.bodies.pile import LARGE, Pile


def test_large_pieces_are_the_ones_that_came() -> None:
    pile, first, second = Pile(), b"a" * LARGE, b"b" * (LARGE + 5)
    pile.put(first)
    pile.put(second)
    given_back = list(pile.read(0, 3 * LARGE, 2 * LARGE))
    assert given_back == [first, second]
    assert given_back[0] is first
    assert given_back[1] is second


def test_what_trickles_in_takes_few_objects() -> None:
    pile = Pile()
    for _ in range(3 * LARGE):
        pile.put(b"x")
    assert len(pile.pieces()) == 3
    pile.put(b"yy")
    pile.put(b"z" * LARGE)
    assert [len(piece) for piece in pile.pieces()] == [LARGE, LARGE, LARGE, 2, LARGE]
    assert pile.whole() == b"x" * 3 * LARGE + b"yy" + b"z" * LARGE
    assert pile.whole() is pile.whole()


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 2 * LARGE), max_size=8),
    cuts=st.tuples(st.integers(0, 9 * LARGE), st.integers(0, 9 * LARGE)),
    most=st.integers(100, 3 * LARGE),
)
def test_any_range_comes_back(sizes: list[int], cuts: tuple[int, int], most: int) -> None:
    data = bytes(number % 251 for number in range(sum(sizes)))
    ends = [sum(sizes[:count]) for count in range(len(sizes) + 1)]
    pile = Pile()
    for start, end in pairwise(ends):
        pile.put(memoryview(data)[start:end])
    pieces = list(pile.read(min(cuts), max(cuts), most))
    assert b"".join(pieces) == data[min(cuts) : max(cuts)]
    assert all(0 < len(piece) <= most for piece in pieces)
