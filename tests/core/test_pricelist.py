"""A price list from outside: whatever it holds, it is read or refused; and what its figures mean in our units."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.listed import Flag, FlatPrice, Maker, Ratios, Standing, flags, our_price, standing, vanished
from gateway.core.pricelist import ListedModel, PriceList, read_price_list
from gateway.core.prices import ImagePrice, Item, RequestPrice, TokenPrice, ratio_price
from gateway.core.types import JsonValue, Surface

json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda below: st.one_of(st.lists(below, max_size=4), st.dictionaries(st.text(max_size=8), below, max_size=4)),
)
KEYS = (
    "model_name",
    "quota_type",
    "model_ratio",
    "completion_ratio",
    "model_price",
    "enable_groups",
    "pricing_version",
)
rows = st.dictionaries(st.sampled_from([*KEYS, "supported_endpoint_types", "billing_mode"]), json_values)


@settings(max_examples=200, deadline=None)
@given(
    document=st.one_of(
        json_values, st.fixed_dictionaries({"data": st.lists(rows, max_size=4), "group_ratio": json_values})
    )
)
def test_whatever_it_holds_is_read_or_refused(document: JsonValue) -> None:
    found = read_price_list(document)
    if isinstance(found, str):
        assert found
        return
    for model in found.models.values():
        price = our_price(model, found, "default", makes_pictures=True)
        flags(model, found, "default", Maker(makes_pictures=True), found)
        if isinstance(price, FlatPrice):
            assert price.amount > 0 or found.ratio_of("default") == 0


def test_the_names_of_surfaces() -> None:
    model = ListedModel(name="x", endpoints=("openai", "image-generation", "openai-response", "image-generation"))
    assert model.claims == (Surface.GENERATIONS, Surface.RESPONSES)


def test_ratios_are_what_a_router_charges() -> None:
    """gpt-image-1's figures: 5 in, 10 for pictures in, 40 out; a group that pays 0.8 of it."""
    model = ListedModel(
        name="x", by_call=False, model_ratio=Fraction(5, 2), completion_ratio=Fraction(8), image_ratio=Fraction(2)
    )
    prices = PriceList(models={"x": model}, group_ratio={"vip": Fraction(4, 5)})
    price = our_price(model, prices, "vip", makes_pictures=True)
    assert isinstance(price, Ratios)
    ours = ratio_price("row", "USD", price)
    assert [ours.rates[item] for item in (Item.TEXT_IN, Item.IMAGE_IN, Item.IMAGE_OUT)] == [4, 8, 32]
    assert standing(price, ours) is Standing.SAME
    assert standing(price, TokenPrice(id="p", currency="USD", rates={Item.TEXT_IN: Fraction(4)})) is Standing.CHANGED
    assert standing(price, None) is Standing.UNPRICED


@pytest.mark.parametrize(
    "price",
    [
        ImagePrice(id="p", currency="USD", amount=Fraction(30_000)),
        RequestPrice(id="p", currency="USD", amount=Fraction(30_000)),
    ],
)
def test_a_flat_price_agrees_with_either_flat_unit(price: ImagePrice | RequestPrice) -> None:
    assert standing(FlatPrice(amount=Fraction(3, 100), per_image=True), price) is Standing.SAME
    assert standing(FlatPrice(amount=Fraction(4, 100), per_image=True), price) is Standing.CHANGED
    assert standing(None, price) is Standing.CHANGED


def test_what_changed_since() -> None:
    old, new = (
        ListedModel(name="x", by_call=True, model_price=Fraction(1)),
        ListedModel(name="x", by_call=True, model_price=Fraction(2)),
    )
    before, now = PriceList(models={"x": old, "gone": old}), PriceList(models={"x": new})
    assert Flag.PRICE_CHANGED in flags(new, now, "default", Maker(), before)
    assert Flag.PRICE_CHANGED not in flags(old, now, "default", Maker(), before)
    assert vanished(now, before) == ("gone",)
    assert vanished(now, None) == ()
