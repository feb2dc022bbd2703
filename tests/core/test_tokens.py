"""The makers' tables of output tokens: every published figure, from size and quality to tokens and to money."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.tokens import formula, text_tokens
from tests.core.priced import TABLE_1_5, TABLE_2, TABLE_2_5

SQUARE = (1024, 1024)
GPT_IMAGE_2 = [
    ((1024, 1024), (196, 1756, 7024)),
    ((1024, 1536), (158, 1372, 5488)),
    ((1536, 1024), (158, 1372, 5488)),
    ((1920, 1080), (147, 1320, 5280)),
    ((2048, 2048), (397, 3568, 14272)),
    ((2560, 1440), (205, 1843, 7370)),
    ((3840, 2160), (371, 3336, 13342)),
]
LIST_PRICES = [
    ((1024, 1024), ("0.00588", "0.05268", "0.21072")),
    ((1024, 1536), ("0.00474", "0.04116", "0.16464")),
    ((3840, 2160), ("0.01113", "0.10008", "0.40026")),
]
QUALITIES = ("low", "medium", "high")


@pytest.mark.parametrize(("size", "tokens"), GPT_IMAGE_2)
def test_a_picture_of_gpt_image_2_has_the_published_tokens(size: tuple[int, int], tokens: tuple[int, ...]) -> None:
    assert tuple(TABLE_2.output_tokens(size, quality) for quality in QUALITIES) == tokens


@pytest.mark.parametrize(("size", "usd"), LIST_PRICES)
def test_the_list_price_is_the_tokens_times_the_rate_both_ways(size: tuple[int, int], usd: tuple[str, ...]) -> None:
    rate = Fraction(30, 1_000_000)
    tokens = [TABLE_2.output_tokens(size, quality) for quality in QUALITIES]
    assert [count * rate for count in tokens] == [Fraction(price) for price in usd]
    assert [Fraction(price) / rate for price in usd] == tokens


@pytest.mark.parametrize(
    ("quality", "tokens"), [("low", 196), ("medium", 439), ("high", 1756), ("xhigh", 3122), ("max", 7024)]
)
def test_high_on_2_5_is_medium_on_2(quality: str, tokens: int) -> None:
    assert TABLE_2_5.output_tokens(SQUARE, quality) == tokens


@pytest.mark.parametrize(("quality", "usd"), [("low", "0.009"), ("medium", "0.034"), ("high", "0.133")])
def test_the_fixed_table_of_1_5_gives_its_list_prices(quality: str, usd: str) -> None:
    assert round(TABLE_1_5.output_tokens(SQUARE, quality) * Fraction(32, 1_000_000), 3) == Fraction(usd)


def test_what_is_not_known_counts_as_the_dearest() -> None:
    assert TABLE_2.output_tokens(SQUARE, None) == 7024
    assert TABLE_2.output_tokens(SQUARE, "ultra") == 7024
    assert TABLE_2.output_tokens(None, "low") == 196
    assert TABLE_1_5.output_tokens(None, None) == 6240
    assert TABLE_1_5.output_tokens((512, 512), "low") == 408


@settings(max_examples=100)
@given(st.integers(1, 96), st.integers(1, 10_000), st.integers(1, 10_000))
def test_the_formula_does_not_care_which_edge_is_longer_and_gives_no_less_than_nothing(
    factor: int, width: int, height: int
) -> None:
    assert formula(factor, (width, height)) == formula(factor, (height, width)) >= 0


@pytest.mark.parametrize(("chars", "tokens"), [(0, 0), (1, 1), (4, 1), (5, 2)])
def test_a_text_has_a_token_for_four_characters(chars: int, tokens: int) -> None:
    assert text_tokens(chars) == tokens
