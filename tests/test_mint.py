from gateway.clock import SystemClock
from gateway.core.ids import is_id
from gateway.dice import Dice
from gateway.mint import Mint


def test_ids_are_new_and_in_order_of_time() -> None:
    mint = Mint(SystemClock(), Dice())
    ids = [mint.new("req") for _ in range(500)]
    assert all(is_id("req", one) for one in ids)
    assert len(set(ids)) == 500
    assert [one[:16] for one in ids] == sorted(one[:16] for one in ids)


def test_a_span_is_never_zero() -> None:
    mint = Mint(SystemClock(), Dice(bytes))
    assert mint.span_id() == "0" * 15 + "1"
    assert len(Mint(SystemClock(), Dice()).span_id()) == 16
