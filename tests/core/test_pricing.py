"""What one attempt cost, in every way of charging; and what others have booked wrong."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.core.money import MISSING, Cost, CostState, nothing
from gateway.core.prices import Item, MatrixPrice, Price, Ratios, TokenPrice, is_flat, ratio_price
from gateway.core.pricing import Purchase, attempt_cost, size_of
from gateway.core.seen import Reading
from gateway.core.types import Facts, ImageFacts, InputFacts, InputRole, JsonObject, JsonValue, Outcome, Surface
from tests.core.priced import (
    GEMINI_3_PRO,
    GPT_5_5,
    GPT_IMAGE_1_5,
    GPT_IMAGE_1_MINI,
    GPT_IMAGE_2,
    IN_CNY,
    MATRIX,
    PER_IMAGE,
    PER_REQUEST,
    REPORTED,
    asked,
    bought,
    came,
    picture,
    quote,
    token_price,
    usage,
)

EXACT, ESTIMATED = CostState.EXACT, CostState.ESTIMATED
TURN = asked(surface=Surface.RESPONSES)
PLAIN_TURN = replace(TURN, tool=None)


def said(cost: Cost) -> tuple[int | None, CostState, str]:
    return cost.amount_micro, cost.state, cost.unit


# --- list prices, from usage to money and back


@pytest.mark.parametrize(
    ("price", "used", "micro"),
    [
        (GPT_IMAGE_2, usage(10, 40, 272), 8_530),
        (GPT_IMAGE_2, usage(0, 0, 196), 5_880),
        (GPT_IMAGE_2, usage(0, 0, 1756), 52_680),
        (GPT_IMAGE_2, usage(0, 0, 7024), 210_720),
        (GPT_IMAGE_2, usage(0, 0, 13342), 400_260),
        (GPT_IMAGE_1_5, usage(0, 0, 272), 8_704),
        (GPT_IMAGE_1_5, usage(0, 0, 4160), 133_120),
        (GPT_IMAGE_1_MINI, usage(100, 400, 272), 3_376),
        (
            GEMINI_3_PRO,
            {
                "input_tokens": 14,
                "output_tokens": 1457,
                "output_tokens_details": {"image_tokens": 1120, "text_tokens": 337},
            },
            138_472,
        ),
    ],
)
def test_usage_times_price_is_exact_and_the_lines_give_the_usage_back(
    price: TokenPrice, used: JsonObject, micro: int
) -> None:
    cost = attempt_cost(bought(price, came(picture(), used=used)))
    assert said(cost) == (micro, EXACT, "tokens")
    for one in cost.lines:
        rate = price.rate(one.item)
        assert rate is not None
        assert one.amount_micro / rate.micro == one.quantity


def test_cached_tokens_have_their_own_rate_and_are_not_counted_twice() -> None:
    used: JsonObject = {"input_tokens": 10, "input_tokens_details": {"text_tokens": 10, "cached_tokens": 4}}
    cost = attempt_cost(bought(GPT_IMAGE_2, came(picture(), used={**used, "output_tokens": 196})))
    assert said(cost) == (6 * 5 + 5 + 196 * 30, EXACT, "tokens")


# --- complaints about other gateways, by their numbers


def test_litellm_26863_a_picture_never_costs_zero_because_its_price_is_unknown() -> None:
    cost = attempt_cost(bought(None, came(picture(), used=usage())))
    assert cost == MISSING
    assert cost.amount_micro is None


def test_litellm_10335_a_usage_of_zeros_is_not_believed_of_a_picture() -> None:
    cost = attempt_cost(bought(GPT_IMAGE_2, came(picture(), used=usage(0, 0, 0))))
    assert said(cost) == (10 * 5 + 52_680, ESTIMATED, "tokens")


def test_litellm_10013_auto_size_and_quality_are_estimated_as_the_dearest_not_as_nothing() -> None:
    cost = quote(asked(size="auto", quality="auto"), GPT_IMAGE_2)
    assert said(cost) == (50 + 210_720, ESTIMATED, "tokens")


def test_litellm_31142_tokens_of_pictures_are_not_billed_at_the_rate_of_text() -> None:
    cost = attempt_cost(bought(GPT_IMAGE_1_5, came(picture(), used=usage(10, 0, 1056))))
    assert [(one.item, one.amount_micro) for one in cost.lines] == [(Item.TEXT_IN, 50), (Item.IMAGE_OUT, 33_792)]


@pytest.mark.parametrize(("quality", "micro"), [("low", 5_880), ("medium", 52_680), ("high", 210_720)])
def test_litellm_37738_a_price_by_size_and_quality_is_not_flat(quality: str, micro: int) -> None:
    assert said(attempt_cost(bought(MATRIX, came(picture()), facts=asked(quality=quality)))) == (
        micro,
        EXACT,
        "per_image_matrix",
    )


def test_new_api_1797_the_image_tool_of_a_turn_is_metered_at_its_own_price() -> None:
    used: JsonObject = {"input_tokens": 320, "output_tokens": 41, "tool_usage": {"image_gen": usage(10, 40, 1756)}}
    cost = attempt_cost(bought(GPT_5_5, came(picture(), used=used), facts=TURN, tool=GPT_IMAGE_2))
    assert said(cost) == (320 * 5 + 41 * 30 + 50 + 320 + 52_680, EXACT, "tokens")
    assert [(one.item.value, one.price_id) for one in cost.lines] == [
        ("input", "gpt-5.5"),
        ("output", "gpt-5.5"),
        ("text_in", "gpt-image-2"),
        ("image_in", "gpt-image-2"),
        ("image_out", "gpt-image-2"),
    ]


@pytest.mark.parametrize("price", [PER_IMAGE, MATRIX, GPT_IMAGE_2])
@pytest.mark.parametrize("n", [1, 2, 4, 10])
def test_sub2api_1994_n_pictures_are_billed_n_times(price: Price, n: int) -> None:
    one = attempt_cost(bought(price, came(picture()), facts=replace(asked(), prompt_chars=0)))
    many = attempt_cost(bought(price, came(*[picture()] * n), facts=replace(asked(n=n), prompt_chars=0)))
    assert one.amount_micro
    assert many.amount_micro == n * one.amount_micro


def test_sub2api_2008_a_picture_of_1280x720_is_in_the_tier_of_1k() -> None:
    tiers = MatrixPrice(
        id="t", currency="USD", cells={"1K": {"*": Fraction(1)}, "2K": {"*": Fraction(2)}, "4K": {"*": Fraction(4)}}
    )
    for size, micro in {(1280, 720): 1, (1536, 1024): 1, (2048, 2048): 2, (2880, 2880): 4}.items():
        facts = asked(size=f"{size[0]}x{size[1]}")
        assert said(attempt_cost(bought(tiers, came(picture(*size)), facts=facts))) == (
            micro,
            EXACT,
            "per_image_matrix",
        )


# --- by token: what is not told


def test_pictures_without_usage_are_estimated_by_what_came() -> None:
    cost = attempt_cost(bought(GPT_IMAGE_2, came(picture(1536, 1024)), facts=asked(size="1024x1024")))
    assert said(cost) == (50 + 1372 * 30, ESTIMATED, "tokens")
    assert cost.exposure_micro is None


def test_the_quality_the_answer_names_goes_before_the_one_asked_for() -> None:
    cost = attempt_cost(bought(GPT_IMAGE_2, came(picture(), quality="low"), facts=asked(quality="high")))
    assert said(cost) == (50 + 5_880, ESTIMATED, "tokens")
    open_word = attempt_cost(bought(GPT_IMAGE_2, came(picture(), quality="auto"), facts=asked(quality="low")))
    assert open_word == cost


def test_a_picture_whose_size_is_not_known_is_estimated_by_what_the_answer_and_then_the_request_say() -> None:
    blank = picture(None, None)
    reading = replace(came(blank), size="1536x1024")
    assert attempt_cost(bought(GPT_IMAGE_2, reading)).amount_micro == 50 + 1372 * 30
    assert attempt_cost(bought(GPT_IMAGE_2, came(blank))).amount_micro == 50 + 52_680
    linked = Reading(shaped=True, url_count=2)
    assert attempt_cost(bought(GPT_IMAGE_2, linked)).amount_micro == 50 + 2 * 52_680


def test_partial_pictures_are_in_an_estimate() -> None:
    cost = attempt_cost(bought(GPT_IMAGE_2, came(picture()), facts=asked(partials=3)))
    assert cost.amount_micro == 50 + 52_680 + 3 * 100 * 30


def test_without_a_table_a_picture_without_usage_is_missing() -> None:
    assert said(attempt_cost(bought(GPT_IMAGE_1_MINI, came(picture())))) == (None, CostState.MISSING, "tokens")


def test_a_delivery_without_picture_and_usage_is_missing() -> None:
    assert attempt_cost(bought(GPT_IMAGE_2, Reading(shaped=True))).state is CostState.MISSING


def test_text_that_an_image_model_wrote_has_the_rate_of_pictures_when_it_has_none() -> None:
    used: JsonObject = {"input_tokens": 10, "output_tokens": 100, "output_tokens_details": {"text_tokens": 20}}
    assert said(attempt_cost(bought(GPT_IMAGE_2, came(picture(), used=used)))) == (3_050, ESTIMATED, "tokens")


def test_a_kind_of_token_without_any_rate_makes_the_cost_missing() -> None:
    outputs_only = token_price("odd", image_out="30")
    cost = attempt_cost(bought(outputs_only, came(picture(), used=usage())))
    assert (cost.state, cost.amount_micro) == (CostState.MISSING, None)


def test_an_svg_has_a_second_bill_that_its_usage_does_not_show() -> None:
    facts = replace(asked(), output_format="svg")
    assert attempt_cost(bought(GPT_IMAGE_2, came(picture(), used=usage()), facts=facts)).state is ESTIMATED


def test_input_that_is_not_told_apart_is_pictures_when_pictures_were_given() -> None:
    given_one = InputFacts(role=InputRole.IMAGE, source="upload")
    used: JsonObject = {"input_tokens": 50, "output_tokens": 196}
    edit = attempt_cost(bought(GPT_IMAGE_2, came(picture(), used=used), facts=replace(asked(), inputs=(given_one,))))
    assert said(edit) == (50 * 8 + 5_880, ESTIMATED, "tokens")
    assert said(attempt_cost(bought(GPT_IMAGE_2, came(picture(), used=used)))) == (50 * 5 + 5_880, EXACT, "tokens")


# --- outcomes


ALL_PRICES = [None, GPT_IMAGE_2, GPT_IMAGE_1_MINI, PER_REQUEST, PER_IMAGE, MATRIX, REPORTED, IN_CNY]


@pytest.mark.parametrize("price", ALL_PRICES)
@pytest.mark.parametrize("outcome", [Outcome.REFUSED, Outcome.NOT_SENT])
@pytest.mark.parametrize("facts", [asked(), TURN, PLAIN_TURN])
def test_what_was_refused_cost_nothing_also_without_a_price(
    price: Price | None, outcome: Outcome, facts: Facts
) -> None:
    cost = attempt_cost(Purchase(facts=facts, outcome=outcome, price=price))
    assert (cost.amount_micro, cost.state, cost.lines) == (0, EXACT, ())


@pytest.mark.parametrize(
    ("price", "micro"),
    [
        (GPT_IMAGE_2, 2 * 52_680 + 50),
        (PER_REQUEST, 30_000),
        (PER_IMAGE, 40_000),
        (MATRIX, 2 * 52_680),
        (GPT_IMAGE_1_MINI, None),
        (REPORTED, None),
        (None, None),
    ],
)
def test_an_unknown_outcome_is_exposure_never_zero(price: Price | None, micro: int | None) -> None:
    cost = attempt_cost(bought(price, None, Outcome.UNKNOWN, facts=asked(n=2)))
    assert (cost.amount_micro, cost.exposure_micro) == (micro, micro)
    assert cost.state is (CostState.MISSING if micro is None else ESTIMATED)
    assert quote(asked(n=2), price) == cost


def test_usage_that_came_with_an_unknown_outcome_is_a_cost_and_no_exposure() -> None:
    cost = attempt_cost(bought(GPT_IMAGE_2, Reading(shaped=True, usage=usage()), Outcome.UNKNOWN))
    assert said(cost) == (52_730, EXACT, "tokens")
    assert cost.exposure_micro is None


def test_usage_of_a_refused_turn_is_paid_for() -> None:
    reading = Reading(shaped=True, usage={"input_tokens": 100, "output_tokens": 10})
    assert said(attempt_cost(bought(GPT_5_5, reading, Outcome.REFUSED, facts=TURN, tool=GPT_IMAGE_2))) == (
        800,
        EXACT,
        "tokens",
    )
    assert attempt_cost(bought(None, reading, Outcome.REFUSED, facts=TURN)) == MISSING
    assert attempt_cost(bought(None, replace(reading, usage=usage(0, 0, 0)), Outcome.REFUSED)) == nothing()


# --- turns


def test_a_turn_without_a_tool_is_billed_by_its_usage() -> None:
    reading = Reading(
        shaped=True, usage={"input_tokens": 100, "input_tokens_details": {"cached_tokens": 80}, "output_tokens": 10}
    )
    assert said(attempt_cost(bought(GPT_5_5, reading, facts=PLAIN_TURN))) == (100 + 40 + 300, EXACT, "tokens")
    silent = attempt_cost(bought(GPT_5_5, Reading(shaped=True), facts=PLAIN_TURN))
    assert said(silent) == (None, CostState.MISSING, "tokens")


def test_a_long_turn_is_charged_at_rates_that_are_not_known() -> None:
    reading = Reading(shaped=True, usage={"input_tokens": 300_000, "output_tokens": 10})
    price = replace(GPT_5_5, exact_up_to=272_000)
    assert attempt_cost(bought(price, reading, facts=PLAIN_TURN)).state is ESTIMATED
    assert attempt_cost(bought(replace(price, exact_up_to=300_000), reading, facts=PLAIN_TURN)).state is EXACT


TURN_USED: JsonObject = {"input_tokens": 100, "output_tokens": 10}


def test_a_tool_that_was_not_called_costs_nothing() -> None:
    cost = attempt_cost(bought(GPT_5_5, Reading(shaped=True, usage=TURN_USED), facts=TURN))
    assert said(cost) == (800, EXACT, "tokens")


def test_a_tools_picture_without_tool_usage_is_estimated() -> None:
    cost = attempt_cost(bought(GPT_5_5, came(picture(), used=TURN_USED), facts=TURN, tool=GPT_IMAGE_2))
    assert said(cost) == (800 + 50 + 52_680, ESTIMATED, "tokens")


def test_a_tools_picture_without_a_price_is_missing_and_keeps_the_turns_lines() -> None:
    for tool in (None, REPORTED):
        cost = attempt_cost(bought(GPT_5_5, came(picture(), used=TURN_USED), facts=TURN, tool=tool))
        assert said(cost) == (None, CostState.MISSING, "tokens")
        assert sum(one.amount_micro for one in cost.lines) == 800


def test_a_picture_of_a_turn_without_any_usage_is_estimated() -> None:
    cost = attempt_cost(bought(GPT_5_5, came(picture()), facts=TURN, tool=GPT_IMAGE_2))
    assert said(cost) == (50 + 50 + 52_680, ESTIMATED, "tokens")


def test_a_lost_turn_is_exposed_for_its_prompt_and_one_picture() -> None:
    cost = attempt_cost(bought(GPT_5_5, None, Outcome.UNKNOWN, facts=TURN, tool=GPT_IMAGE_2))
    assert (cost.amount_micro, cost.exposure_micro) == (52_780, 52_780)
    plain = attempt_cost(bought(GPT_5_5, None, Outcome.UNKNOWN, facts=PLAIN_TURN))
    assert plain.exposure_micro == 50


@pytest.mark.parametrize(("tool", "micro"), [(PER_IMAGE, 20_800), (MATRIX, 53_480), (PER_REQUEST, 30_800)])
def test_a_tool_may_be_charged_by_the_piece(tool: Price, micro: int) -> None:
    cost = attempt_cost(bought(GPT_5_5, came(picture(), used=TURN_USED), facts=TURN, tool=tool))
    assert said(cost) == (micro, EXACT, "mixed")


def test_a_turn_in_dollars_with_a_tool_in_yuan_has_no_sum() -> None:
    cost = attempt_cost(bought(GPT_5_5, came(picture(), used=TURN_USED), facts=TURN, tool=IN_CNY))
    assert (cost.state, cost.amount_micro, len(cost.lines)) == (CostState.MISSING, None, 3)


def test_a_row_that_charges_by_the_request_pays_for_its_tool_too() -> None:
    reading = came(picture(), used={**TURN_USED, "tool_usage": {"image_gen": usage()}})
    assert said(attempt_cost(bought(PER_REQUEST, reading, facts=TURN, tool=GPT_IMAGE_2))) == (
        30_000,
        EXACT,
        "per_request",
    )


# --- by piece


def test_a_matrix_takes_the_dearer_cell_when_another_size_came() -> None:
    assert said(attempt_cost(bought(MATRIX, came(picture(2048, 2048))))) == (150_000, ESTIMATED, "per_image_matrix")
    assert MATRIX.unit == "per_image_matrix"


def test_a_matrix_with_an_open_quality_is_estimated_by_the_dearest() -> None:
    assert said(attempt_cost(bought(MATRIX, came(picture()), facts=asked(quality="auto")))) == (
        210_720,
        ESTIMATED,
        "per_image_matrix",
    )
    linked = Reading(shaped=True, url_count=1)
    assert attempt_cost(bought(MATRIX, linked, facts=asked(size=None, quality=None))).amount_micro == 210_720


def test_a_size_or_quality_outside_the_matrix_is_missing() -> None:
    big = attempt_cost(bought(MATRIX, came(picture(3840, 2160)), facts=asked(size="3840x2160")))
    assert said(big) == (None, CostState.MISSING, "per_image_matrix")
    odd = attempt_cost(bought(MATRIX, came(picture()), facts=asked(quality="ultra")))
    assert odd.state is CostState.MISSING


def test_pictures_that_came_are_charged_not_pictures_that_were_asked_for() -> None:
    assert attempt_cost(bought(PER_IMAGE, came(picture(), picture()), facts=asked(n=4))).amount_micro == 40_000


# --- by report


@pytest.mark.parametrize(
    ("used", "micro"),
    [
        ({"cost": 0.0534}, 53_400),
        ({"cost": "0.05"}, 50_000),
        ({"cost": 1}, 1_000_000),
        ({"cost": 0.0000005}, 0),
        ({"cost": 0.0000015}, 2),
        ({"cost_in_usd_ticks": 200_000_000}, 20_000),
        ({"cost_in_usd_ticks": 37_756_000, "cost": 9}, 3_776),
    ],
)
def test_what_the_upstream_says_it_charged_is_booked(used: JsonObject, micro: int) -> None:
    assert said(attempt_cost(bought(REPORTED, came(picture(), used=used)))) == (micro, EXACT, "upstream_reported")


@pytest.mark.parametrize(
    "cost",
    [
        None,
        -0.01,
        float("nan"),
        float("inf"),
        True,
        "NaN",
        "free",
        "",
        "1e400",
        "1e-4000000",
        10**400,
        [],
        "9" * 50,
        1e300,
    ],
)
def test_a_report_that_is_no_amount_is_missing(cost: JsonValue) -> None:
    assert said(attempt_cost(bought(REPORTED, came(picture(), used={"cost": cost})))) == (
        None,
        CostState.MISSING,
        "upstream_reported",
    )


# --- ratios


def test_ratios_of_new_api_are_the_prices_they_stand_for() -> None:
    price = ratio_price("r", "USD", Ratios(model=Fraction("2.5"), completion=Fraction(8), image=Fraction(2)))
    assert [price.rates[item] for item in (Item.TEXT_IN, Item.IMAGE_IN, Item.IMAGE_OUT)] == [5, 10, 40]
    assert said(attempt_cost(bought(price, came(picture(), used=usage(10, 40, 272))))) == (11_330, EXACT, "ratio")


def test_the_group_and_the_cache_have_their_ratios() -> None:
    ratios = Ratios(model=Fraction("2.5"), completion=Fraction(8), cache=Fraction("0.25"), group=Fraction("0.8"))
    price = ratio_price("r", "USD", ratios)
    assert [price.rates[item] for item in (Item.INPUT, Item.INPUT_CACHED, Item.OUTPUT)] == [4, 1, 32]


# --- the rest


def test_only_a_price_by_the_request_is_flat() -> None:
    assert [is_flat(price) for price in (PER_REQUEST, PER_IMAGE, MATRIX, GPT_IMAGE_2, REPORTED, None)] == [
        *(True, False, False, False, False, False),
    ]


@pytest.mark.parametrize(
    ("word", "size"),
    [("1024x1536", (1024, 1536)), ("auto", None), (None, None), ("0x0", None), ("1x", None), ("9" * 9 + "x1", None)],
)
def test_a_size_is_read_or_left_open(word: str | None, size: tuple[int, int] | None) -> None:
    assert size_of(word) == size


def test_items_that_are_no_tokens_have_no_rate() -> None:
    assert [GPT_IMAGE_2.rate(item) for item in (Item.REQUEST, Item.IMAGE, Item.REPORTED)] == [None, None, None]


# --- whatever comes


COUNT = st.one_of(st.none(), st.integers(-10, 10_000), st.floats(), st.booleans(), st.text(max_size=3))
DETAIL = st.dictionaries(st.sampled_from(["text_tokens", "image_tokens", "cached_tokens"]), COUNT)
PICTURE_USE = st.fixed_dictionaries(
    {},
    optional={
        "input_tokens": COUNT,
        "output_tokens": COUNT,
        "input_tokens_details": DETAIL,
        "output_tokens_details": DETAIL,
        "cost": COUNT,
        "cost_in_usd_ticks": COUNT,
    },
)
USE = st.one_of(
    st.none(), PICTURE_USE, st.builds(lambda a, b: {**a, "tool_usage": {"image_gen": b}}, PICTURE_USE, PICTURE_USE)
)


def heard(pictures: tuple[ImageFacts, ...], url_count: int, usage: JsonObject | None, quality: str | None) -> Reading:
    return Reading(pictures=pictures, url_count=url_count, usage=usage, quality=quality)


READINGS = st.one_of(
    st.none(),
    st.builds(
        heard,
        pictures=st.lists(
            st.builds(picture, st.none() | st.integers(0, 4000), st.none() | st.integers(0, 4000)), max_size=3
        ).map(tuple),
        url_count=st.integers(0, 2),
        usage=USE,
        quality=st.sampled_from([None, "auto", "low", "high", "odd"]),
    ),
)
PRICES: st.SearchStrategy[Price | None] = st.sampled_from([*ALL_PRICES, GPT_5_5, GPT_IMAGE_1_5])
SHAPES = st.builds(
    asked,
    n=st.integers(1, 10),
    size=st.sampled_from([None, "auto", "1024x1024", "3840x2160", "junk"]),
    quality=st.sampled_from([None, "auto", "low", "medium", "high", "hd"]),
    surface=st.sampled_from(list(Surface)),
    partials=st.sampled_from([None, 0, 3]),
)


@settings(max_examples=200, deadline=None)
@given(READINGS, st.sampled_from(list(Outcome)), PRICES, PRICES, SHAPES)
def test_no_path_gives_a_negative_a_float_or_a_silent_zero(
    reading: Reading | None, outcome: Outcome, price: Price | None, tool: Price | None, facts: Facts
) -> None:
    cost = attempt_cost(Purchase(facts=facts, outcome=outcome, price=price, tool_price=tool, reading=reading))
    assert (cost.amount_micro is None) is (cost.state is CostState.MISSING)
    for one in cost.lines:
        assert type(one.amount_micro) is int
        assert type(one.quantity) is int
        assert one.amount_micro >= 0
        assert one.quantity >= 0
    if cost.amount_micro is None:
        return
    assert cost.amount_micro == sum(one.amount_micro for one in cost.lines)
    is_paid = outcome in {Outcome.DELIVERED, Outcome.UNKNOWN}
    has_picture = reading is not None and bool(reading.pictures or reading.url_count)
    if is_paid and has_picture and price is not REPORTED:
        assert cost.amount_micro > 0
