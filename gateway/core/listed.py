"""A listed model as a row of ours: its price in our units, what is odd about it, and how it stands to a row we have.

A flat price of such a router is multiplied by the number of pictures asked for, so it is a price for a picture. Ratios
stay ratios, so that a row says what the list says. Nothing odd is put right: it is said, and the row can be asked to
prove itself before it takes traffic. Pure.
"""

from enum import StrEnum
from fractions import Fraction
from typing import TypeAlias

from msgspec import Struct

from gateway.core.pricelist import UNSET_COMPLETION, UNSET_RATIO, ListedModel, PriceList
from gateway.core.prices import MICRO, ImagePrice, Price, RequestPrice, TokenPrice, ratio_price
from gateway.core.prices import Ratios as _Ratios
from gateway.core.types import Surface


class Flag(StrEnum):
    """What is odd about a listed model. The value is its word in ``--json``."""

    DEFAULT_RATIO = "default_ratio"
    DEFAULT_COMPLETION = "default_completion"
    NO_COMPLETION = "no_completion"
    NO_PRICE = "no_price"
    FLAT_ON_TOKENS = "flat_on_tokens"
    TIERED = "tiered"
    BUNDLE = "bundle"
    NOT_IN_GROUP = "not_in_group"
    GROUP_UNKNOWN = "group_unknown"
    NO_IMAGE_SURFACE = "no_image_surface"
    PRICE_CHANGED = "price_changed"
    IS_NEW = "is_new"


class Standing(StrEnum):
    """How a listed model stands to our rows."""

    SAME = "same"
    CHANGED = "changed"
    UNPRICED = "unpriced"
    VANISHED = "vanished"
    NEW = "new"


class FlatPrice(Struct, frozen=True, kw_only=True):
    """So much for a picture, or for a request of a text model; a currency's whole units."""

    amount: Fraction
    per_image: bool


Ratios: TypeAlias = _Ratios
OurPrice: TypeAlias = FlatPrice | Ratios


class Maker(Struct, frozen=True, kw_only=True):
    """What the shipped catalog knows of a model: whether it makes pictures, and how its maker charges."""

    makes_pictures: bool = False
    price: Price | None = None


def our_price(model: ListedModel, prices: PriceList, group: str, *, makes_pictures: bool) -> OurPrice | None:
    """Give a listed price in our units; ``None`` when the list does not tell enough."""
    share = prices.ratio_of(group)
    share = Fraction(1) if share is None else share
    if model.is_tiered:
        return None
    if model.by_call:
        if not model.model_price:  # zero is how such a list writes that nobody has said
            return None
        return FlatPrice(amount=model.model_price * share, per_image=makes_pictures)
    if model.by_call is None or not model.model_ratio or not model.completion_ratio:
        return None
    one = Fraction(1)
    return Ratios(
        model=model.model_ratio,
        completion=model.completion_ratio,
        cache=one if model.cache_ratio is None else model.cache_ratio,
        image=one if model.image_ratio is None else model.image_ratio,
        group=share,
    )


def flags(
    model: ListedModel, prices: PriceList, group: str, maker: Maker, before: PriceList | None
) -> tuple[Flag, ...]:
    """Say what is odd about a listed model. ``before``: the list as it was seen last."""
    found = {
        Flag.DEFAULT_RATIO: model.by_call is False and model.model_ratio == UNSET_RATIO,
        Flag.DEFAULT_COMPLETION: (
            model.by_call is False and maker.makes_pictures and model.completion_ratio == UNSET_COMPLETION
        ),
        Flag.NO_COMPLETION: model.by_call is False and not model.completion_ratio,
        Flag.NO_PRICE: not model.is_tiered and our_price(model, prices, group, makes_pictures=True) is None,
        Flag.FLAT_ON_TOKENS: model.by_call is True and isinstance(maker.price, TokenPrice),
        Flag.TIERED: model.is_tiered,
        Flag.BUNDLE: model.name.lower().endswith("-all"),
        Flag.NOT_IN_GROUP: not model.is_for(group),
        Flag.GROUP_UNKNOWN: bool(prices.group_ratio) and prices.ratio_of(group) is None,
        Flag.NO_IMAGE_SURFACE: maker.makes_pictures and Surface.GENERATIONS not in model.claims,
        **_since(model, before),
    }
    return tuple(flag for flag, is_so in found.items() if is_so)


def _since(model: ListedModel, before: PriceList | None) -> dict[Flag, bool]:
    if before is None:
        return {}
    earlier = before.models.get(model.name)
    if earlier is None:
        return {Flag.IS_NEW: True}
    return {Flag.PRICE_CHANGED: earlier.figures != model.figures}


def vanished(prices: PriceList, before: PriceList | None) -> tuple[str, ...]:
    """Name the models that the last list had and this one has not."""
    return () if before is None else tuple(sorted(before.models.keys() - prices.models.keys()))


def standing(listed: OurPrice | None, price: Price | None) -> Standing:
    """Say how a row of ours stands to the price its model has in the list now."""
    if price is None:
        return Standing.UNPRICED
    return Standing.SAME if _agrees(listed, price) else Standing.CHANGED


def _agrees(listed: OurPrice | None, price: Price) -> bool:
    match listed:
        case FlatPrice():
            flat = price.amount if isinstance(price, (RequestPrice, ImagePrice)) else None
            return flat == listed.amount * MICRO
        case _Ratios():
            rates = price.rates if isinstance(price, TokenPrice) else None
            return rates == ratio_price("", "USD", listed).rates
        case _:
            return False
