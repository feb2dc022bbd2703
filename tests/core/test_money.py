"""Lines, sums, rounding, and what the header says."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.money import (
    MISSING,
    Cost,
    CostState,
    billed,
    decimal,
    exposed,
    line,
    nothing,
    rounded,
    total,
)
from gateway.core.prices import Item


def cost(micro: int, currency: str = "USD", unit: str = "tokens", *, exact: bool = True) -> Cost:
    return billed([line(Item.IMAGE_OUT, 1, Fraction(micro), currency, "p")], unit=unit, exact=exact)


@pytest.mark.parametrize(
    ("exact", "whole"),
    [("0.5", 0), ("1.5", 2), ("2.5", 2), ("2.500001", 3), ("2.49", 2), ("0", 0), ("3.75", 4)],
)
def test_half_goes_to_the_even_neighbour(exact: str, whole: int) -> None:
    assert rounded(Fraction(exact)) == whole
    assert line(Item.TEXT_IN_CACHED, 1, Fraction(exact), "USD", "p").amount_micro == whole


@pytest.mark.parametrize(
    ("made", "stamp"),
    [
        (cost(53_000), "0.053000 USD; state=exact; unit=tokens"),
        (cost(12_000_001, "CNY", "per_request", exact=False), "12.000001 CNY; state=estimated; unit=per_request"),
        (nothing(), "0.000000 USD; state=exact; unit=none"),
        (MISSING, "unknown; state=missing; unit=none"),
    ],
)
def test_the_stamp_says_amount_state_and_unit(made: Cost, stamp: str) -> None:
    assert made.stamp == stamp


def test_amounts_have_six_decimals() -> None:
    assert [decimal(micro) for micro in (0, 1, 999_999, 1_000_000, 8_530)] == [
        *("0.000000", "0.000001", "0.999999", "1.000000", "0.008530"),
    ]


def test_a_request_costs_what_its_attempts_do_and_each_line_names_its_attempt() -> None:
    made = total([nothing(), cost(100), cost(50, exact=False)])
    assert made is not None
    assert (made.amount_micro, made.currency, made.unit, made.price_id) == (150, "USD", "tokens", "p")
    assert made.state is CostState.ESTIMATED
    assert [(one.attempt, one.amount_micro) for one in made.lines] == [(2, 100), (3, 50)]
    assert made.exposure_micro is None


def test_nothing_started_costs_nothing_that_could_be_said() -> None:
    assert total([]) is None


def test_refused_attempts_cost_zero_exactly() -> None:
    assert total([nothing(), nothing("CNY")]) == nothing("CNY")


def test_dollars_and_yuan_are_never_added() -> None:
    made = total([cost(100), cost(300, "CNY", "per_request")])
    assert made is not None
    assert (made.state, made.unit, made.amount_micro, made.currency) == (CostState.MISSING, "mixed", None, None)
    assert [one.currency for one in made.lines] == ["USD", "CNY"]
    mixed = billed([*cost(1).lines, *cost(1, "CNY").lines], unit="tokens", exact=True)
    assert (mixed.state, mixed.amount_micro) == (CostState.MISSING, None)


def test_a_refusal_in_another_currency_keeps_nobody_from_adding() -> None:
    made = total([nothing("CNY"), cost(100)])
    assert made is not None
    assert (made.amount_micro, made.currency) == (100, "USD")


def test_one_missing_cost_makes_the_sum_missing_and_keeps_the_other_lines() -> None:
    made = total([exposed(cost(70)), MISSING])
    assert made is not None
    assert (made.state, made.amount_micro, made.exposure_micro) == (CostState.MISSING, None, 70)
    assert [one.amount_micro for one in made.lines] == [70]
    assert made.stamp == MISSING.stamp
    assert exposed(MISSING) == MISSING


def test_two_units_are_mixed() -> None:
    made = total([cost(1), cost(2, unit="per_request")])
    assert made is not None
    assert (made.unit, made.state, made.amount_micro) == ("mixed", CostState.EXACT, 3)


def test_exposure_is_a_part_of_the_sum() -> None:
    made = total([exposed(cost(70)), cost(30)])
    assert made is not None
    assert (made.state, made.amount_micro, made.exposure_micro) == (CostState.ESTIMATED, 100, 70)


def test_a_cost_as_the_record_shows_it() -> None:
    made = total([cost(100)])
    assert made is not None
    shown = {"item": "image_out", "quantity": 1, "amount_micro": 100, "currency": "USD", "price_id": "p"}
    assert made.as_json() == {
        "amount_micro": 100,
        "currency": "USD",
        "unit": "tokens",
        "state": "exact",
        "price_id": "p",
        "lines": [{"attempt": 1, **shown}],
    }
    assert cost(100).as_json()["lines"] == [shown]
    assert MISSING.as_json() == {"unit": "none", "state": "missing", "lines": []}


RATES = st.fractions(min_value=0, max_value=1000, max_denominator=10_000)
LINES = st.lists(st.tuples(st.sampled_from(list(Item)), st.integers(0, 10**7), RATES), max_size=6)
BILLS = st.builds(
    lambda rows, currency, exact: billed(
        [line(item, count, rate, currency, "p") for item, count, rate in rows], unit="tokens", exact=exact
    ),
    LINES,
    st.sampled_from(["USD", "CNY"]),
    st.booleans(),
)
COSTS = st.lists(st.one_of(BILLS, BILLS.map(exposed), st.just(MISSING), st.just(nothing())), max_size=4)


@settings(max_examples=200)
@given(COSTS)
def test_a_sum_is_the_sum_of_its_lines_or_missing_and_never_less_than_nothing(costs: list[Cost]) -> None:
    made = total(costs)
    if made is None:
        assert costs == []
        return
    assert [one.amount_micro for one in made.lines] == [one.amount_micro for each in costs for one in each.lines]
    if made.amount_micro is None:
        assert made.state is CostState.MISSING
        return
    assert type(made.amount_micro) is int
    assert made.amount_micro == sum(one.amount_micro for one in made.lines) >= 0
    assert len({one.currency for one in made.lines}) <= 1
    assert (made.exposure_micro or 0) <= made.amount_micro
    assert made.exposure_micro is None or made.state is CostState.ESTIMATED
