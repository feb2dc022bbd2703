"""The order of changes to a body, and its length afterwards."""

from gateway.core.splices import in_order, length_after
from gateway.core.types import Splice

LATE, EARLY = Splice(start=8, end=9, text=b"xyz"), Splice(start=2, end=6, text=b"")


def test_changes_stand_in_the_order_of_the_body() -> None:
    assert in_order([LATE, EARLY]) == (EARLY, LATE)


def test_a_body_is_longer_by_what_comes_in_and_shorter_by_what_goes() -> None:
    assert length_after(10, [LATE, EARLY]) == 10 + 2 - 4
    assert length_after(10, []) == 10
