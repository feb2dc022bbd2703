"""What an upstream's usage counts: told apart, cached, in the older names, and odd."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.meter import picture_usage, turn_usage
from gateway.core.prices import Item
from gateway.core.types import JsonObject, JsonValue

IN = {"text_tokens": 10, "image_tokens": 40}
COUNTED: list[tuple[JsonObject, bool, dict[str, int], bool]] = [
    (
        {"input_tokens": 50, "input_tokens_details": IN, "output_tokens": 272},
        False,
        {"text_in": 10, "image_in": 40, "image_out": 272},
        True,
    ),
    (
        {"prompt_tokens": 50, "prompt_tokens_details": IN, "completion_tokens": 272},
        False,
        {"text_in": 10, "image_in": 40, "image_out": 272},
        True,
    ),
    ({"input_tokens": 10, "output_tokens": 272}, True, {"text_in": 10, "image_out": 272}, True),
    ({"input_tokens": 50, "output_tokens": 272}, False, {"image_in": 50, "image_out": 272}, False),
    ({"input_tokens": 0, "output_tokens": 5}, False, {"image_out": 5}, True),
    ({"output_tokens": 272}, True, {"image_out": 272}, False),
    (
        {"input_tokens": 50, "input_tokens_details": {"text_tokens": 10}, "output_tokens": 1},
        False,
        {"text_in": 10, "image_in": 40, "image_out": 1},
        True,
    ),
    (
        {"input_tokens": 50, "input_tokens_details": {"image_tokens": 10}, "output_tokens": 1},
        False,
        {"text_in": 40, "image_in": 10, "image_out": 1},
        True,
    ),
    (
        {"input_tokens": 60, "input_tokens_details": IN, "output_tokens": 1},
        False,
        {"text_in": 10, "image_in": 50, "image_out": 1},
        False,
    ),
    (
        {"input_tokens": 20, "input_tokens_details": IN, "output_tokens": 1},
        False,
        {"text_in": 10, "image_in": 40, "image_out": 1},
        False,
    ),
    ({"input_tokens_details": IN, "output_tokens": 1}, False, {"text_in": 10, "image_in": 40, "image_out": 1}, True),
    ({"input_tokens_details": {"text_tokens": 10}, "output_tokens": 1}, False, {"text_in": 10, "image_out": 1}, False),
    (
        {
            "input_tokens": 14,
            "output_tokens": 1457,
            "output_tokens_details": {"image_tokens": 1120, "text_tokens": 337},
        },
        True,
        {"text_in": 14, "text_out": 337, "image_out": 1120},
        True,
    ),
    (
        {"input_tokens": 14, "output_tokens": 1457, "output_tokens_details": {"image_tokens": 1120}},
        True,
        {"text_in": 14, "text_out": 337, "image_out": 1120},
        True,
    ),
    (
        {"input_tokens": 14, "output_tokens_details": {"image_tokens": 1120, "text_tokens": 0}},
        True,
        {"text_in": 14, "image_out": 1120},
        True,
    ),
    (
        {"input_tokens": 14, "output_tokens": 100, "output_tokens_details": {"image_tokens": 60, "text_tokens": 20}},
        True,
        {"text_in": 14, "text_out": 20, "image_out": 80},
        False,
    ),
    ({"input_tokens": 50.0, "output_tokens": 272.0}, True, {"text_in": 50, "image_out": 272}, True),
]


@pytest.mark.parametrize(("usage", "text_only", "counts", "exact"), COUNTED)
def test_an_image_models_usage_is_told_apart(
    usage: JsonObject, text_only: bool, counts: dict[str, int], exact: bool
) -> None:
    metered = picture_usage(usage, text_only=text_only)
    assert metered is not None
    assert ({item.value: count for item, count in metered.counts.items()}, metered.exact) == (counts, exact)


CACHED: list[tuple[JsonObject, dict[str, int], bool]] = [
    ({"text_tokens": 10, "image_tokens": 0, "cached_tokens": 4}, {"text_in": 6, "text_in_cached": 4}, True),
    ({"text_tokens": 0, "image_tokens": 40, "cached_tokens": 30}, {"image_in": 10, "image_in_cached": 30}, True),
    ({**IN, "cached_tokens": 12}, {"text_in_cached": 10, "image_in": 38, "image_in_cached": 2}, False),
    ({**IN, "cached_tokens": 60}, {"text_in_cached": 10, "image_in_cached": 40}, False),
    (
        {**IN, "cached_tokens": 12, "cached_tokens_details": {"text_tokens": 2, "image_tokens": 10}},
        {"text_in": 8, "text_in_cached": 2, "image_in": 30, "image_in_cached": 10},
        True,
    ),
    ({**IN, "cached_tokens_details": {"text_tokens": 11}}, {"text_in_cached": 10, "image_in": 40}, False),
]


@pytest.mark.parametrize(("details", "counts", "exact"), CACHED)
def test_cached_tokens_are_a_part_of_the_input(details: JsonObject, counts: dict[str, int], exact: bool) -> None:
    metered = picture_usage({"input_tokens_details": details, "output_tokens": 0}, text_only=False)
    assert metered is not None
    assert ({item.value: count for item, count in metered.counts.items()}, metered.exact) == (counts, exact)


def test_the_image_tools_cached_tokens_stand_beside_its_details() -> None:
    metered = picture_usage({"input_tokens": 10, "cached_tokens": 4, "output_tokens": 1}, text_only=True)
    assert metered is not None
    assert metered.counts == {Item.TEXT_IN: 6, Item.TEXT_IN_CACHED: 4, Item.IMAGE_OUT: 1}
    assert (metered.input, metered.output) == (10, 1)


@pytest.mark.parametrize("count", [None, -1, True, "272", 1.5, 10**13, float("nan"), float("inf"), [], {}])
def test_what_is_no_count_is_none(count: JsonValue) -> None:
    assert picture_usage({"input_tokens": 1, "output_tokens": count}, text_only=True) is None
    assert turn_usage({"input_tokens": 1, "output_tokens": count}) is None
    assert turn_usage({"input_tokens": count, "output_tokens": 1}) is None


def test_a_turns_usage_has_its_cached_tokens_taken_out() -> None:
    metered = turn_usage({"input_tokens": 320, "input_tokens_details": {"cached_tokens": 300}, "output_tokens": 41})
    assert metered is not None
    assert metered.counts == {Item.INPUT: 20, Item.INPUT_CACHED: 300, Item.OUTPUT: 41}
    assert metered.exact
    odd = turn_usage({"input_tokens": 3, "input_tokens_details": {"cached_tokens": 4}, "output_tokens": 0})
    assert odd is not None
    assert (odd.counts, odd.exact) == ({Item.INPUT_CACHED: 3}, False)


NUMBERS = st.one_of(st.integers(-5, 500), st.none(), st.floats(allow_nan=True), st.booleans())
DETAILS = st.dictionaries(
    st.sampled_from(["text_tokens", "image_tokens", "cached_tokens"]), NUMBERS, max_size=3
) | st.just({"cached_tokens_details": {"text_tokens": 3, "image_tokens": 5}})
USAGES = st.dictionaries(st.sampled_from(["input_tokens", "output_tokens", "cached_tokens", "prompt_tokens"]), NUMBERS)


@settings(max_examples=200)
@given(USAGES, DETAILS, DETAILS, st.booleans())
def test_whatever_a_usage_says_no_count_is_below_one_and_none_is_counted_twice(
    usage: JsonObject, given_in: JsonObject, given_out: JsonObject, text_only: bool
) -> None:
    whole: JsonObject = {**usage, "input_tokens_details": given_in, "output_tokens_details": given_out}
    for metered in (picture_usage(whole, text_only=text_only), turn_usage(whole)):
        if metered is not None:
            assert all(count > 0 and type(count) is int for count in metered.counts.values())
