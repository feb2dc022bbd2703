from datetime import date

import pytest

from gateway.core.terms import OPEN_CONTRACT, parameters
from tests.core.contract_cases import contract, edit, generation, markup, mask, picture


@pytest.mark.parametrize(
    ("day", "soon"),
    [(date(2026, 10, 1), False), (date(2026, 10, 2), True), (date(2026, 11, 30), True), (date(2027, 1, 1), True)],
)
def test_a_model_is_said_to_be_retiring_sixty_days_ahead_and_ever_after(day: date, soon: bool) -> None:
    assert contract("gpt-image-1.5").retires_soon(day) is soon


def test_a_model_without_a_last_day_does_not_retire() -> None:
    assert not contract("gpt-image-2").retires_soon(date(2030, 1, 1))


@pytest.mark.parametrize("param", ["size", "quality", "n", "mask", "image", "output_compression", "input_fidelity"])
def test_a_contract_states_what_it_has_a_rule_for(param: str) -> None:
    assert contract("gpt-image-2").states(param)
    assert not OPEN_CONTRACT.states(param)


def test_it_does_not_state_what_it_says_nothing_of() -> None:
    assert not contract("gpt-image-2").states("frame_count")
    assert not contract("gpt-image-2").states("seed")
    assert not contract("grok-imagine-image").states("size")


def test_parameters_are_what_a_request_asks_something_with() -> None:
    assert parameters(generation()) == {}
    assert parameters(
        edit(picture(), mask=mask(), markup=markup(mask()), n=2, stream=True, svg=True, style="vivid")
    ) == {
        "n": 2,
        "stream": True,
        "svg": True,
        "style": "vivid",
        "mask": True,
        "markup": True,
    }
