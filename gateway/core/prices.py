"""What an upstream charges, as frozen values: one shape for each way of charging.

All amounts are exact fractions of a micro-unit of one currency (USD 0.000001 for USD) and never floats. So a price of
USD 5 for a million tokens is 5 micro-units for one, and 1.25 is five quarters; rounding happens once, in ``money``.

Must never guess: what a price does not say is asked of ``pricing``, which calls it estimated or missing.
"""

from collections.abc import Mapping
from enum import StrEnum
from fractions import Fraction
from typing import Final, TypeAlias

from msgspec import Struct

from gateway.core.tokens import Size, TokenTable

MICRO: Final = 1_000_000
RATIO_ONE: Final = 2  # a model_ratio of 1 is USD 2 for a million tokens, so 2 micro-units for one
_TIER_1K: Final = 1_572_864
_TIER_2K: Final = 4_194_304


class PriceUnit(StrEnum):
    """The ways of charging."""

    TOKENS = "tokens"
    PER_REQUEST = "per_request"
    PER_IMAGE = "per_image"
    PER_IMAGE_MATRIX = "per_image_matrix"
    RATIO = "ratio"
    UPSTREAM_REPORTED = "upstream_reported"


class Item(StrEnum):
    """What a line of a bill counts. The first nine are the token rates of a price, by their names in the file."""

    TEXT_IN = "text_in"
    TEXT_IN_CACHED = "text_in_cached"
    IMAGE_IN = "image_in"
    IMAGE_IN_CACHED = "image_in_cached"
    IMAGE_OUT = "image_out"
    TEXT_OUT = "text_out"
    INPUT = "input"
    INPUT_CACHED = "input_cached"
    OUTPUT = "output"
    REQUEST = "request"
    IMAGE = "image"
    REPORTED = "reported"


class Rate(Struct, frozen=True, kw_only=True):
    """Micro-units for one. ``exact``: the price names this very item; else the nearest, never a cheaper one."""

    micro: Fraction
    exact: bool


class _Priced(Struct, frozen=True, kw_only=True):
    """``id`` names the price on the record; ``currency`` is a word such as USD."""

    id: str
    currency: str


class TokenPrice(_Priced, frozen=True, kw_only=True):
    """Charges by token. ``table`` tells how many tokens a picture has, for estimates only.

    ``exact_up_to``: with more input tokens than this the maker charges other rates, which are not known here.
    """

    rates: Mapping[Item, Fraction]
    unit: PriceUnit = PriceUnit.TOKENS
    table: TokenTable | None = None
    exact_up_to: int | None = None

    def rate(self, item: Item) -> Rate | None:
        """Give what one token of ``item`` costs; ``None`` when the price says nothing that could stand for it."""
        for name, exact in _STANDS_FOR[item]:
            if name in self.rates:
                return Rate(micro=self.rates[name], exact=exact)
        return None


class RequestPrice(_Priced, frozen=True, kw_only=True):
    """Charges the same for every request that is served."""

    amount: Fraction

    @property
    def unit(self) -> PriceUnit:
        """The way of charging."""
        return PriceUnit.PER_REQUEST


class ImagePrice(_Priced, frozen=True, kw_only=True):
    """Charges the same for every picture."""

    amount: Fraction

    @property
    def unit(self) -> PriceUnit:
        """The way of charging."""
        return PriceUnit.PER_IMAGE


class MatrixPrice(_Priced, frozen=True, kw_only=True):
    """Charges a picture by size and quality. Sizes are ``WxH`` or a tier (1K, 2K, 4K); a ``*`` quality is any other."""

    cells: Mapping[str, Mapping[str, Fraction]]

    @property
    def unit(self) -> PriceUnit:
        """The way of charging."""
        return PriceUnit.PER_IMAGE_MATRIX

    def amounts(self, size: Size | None, quality: str | None) -> frozenset[Fraction]:
        """Give what a picture may cost: one amount when size and quality decide it, none when the size is not there."""
        rows = [self.cells.get(key, {}) for key in self._keys(size)]
        return frozenset(amount for row in rows for amount in _cells(row, quality))

    def _keys(self, size: Size | None) -> tuple[str, ...]:
        if size is None:
            return tuple(self.cells)
        exact = f"{size[0]}x{size[1]}"
        return (exact if exact in self.cells else tier(size),)


class ReportedPrice(_Priced, frozen=True, kw_only=True):
    """The upstream says in its usage what it charged: ``cost`` in the currency, or ``cost_in_usd_ticks``."""

    @property
    def unit(self) -> PriceUnit:
        """The way of charging."""
        return PriceUnit.UPSTREAM_REPORTED


Price: TypeAlias = TokenPrice | RequestPrice | ImagePrice | MatrixPrice | ReportedPrice


class Ratios(Struct, frozen=True, kw_only=True):
    """How a catalog router writes a token price."""

    model: Fraction
    completion: Fraction
    cache: Fraction = Fraction(1)
    image: Fraction = Fraction(1)
    group: Fraction = Fraction(1)


def ratio_price(price_id: str, currency: str, ratios: Ratios, table: TokenTable | None = None) -> TokenPrice:
    """Work out the token rates that ratios stand for; a cached picture token costs what a cached text token does."""
    one = ratios.model * RATIO_ONE * ratios.group
    cached, out = one * ratios.cache, one * ratios.completion
    rates = {
        Item.TEXT_IN: one,
        Item.TEXT_IN_CACHED: cached,
        Item.IMAGE_IN: one * ratios.image,
        Item.IMAGE_IN_CACHED: cached,
        Item.IMAGE_OUT: out,
        Item.TEXT_OUT: out,
        Item.INPUT: one,
        Item.INPUT_CACHED: cached,
        Item.OUTPUT: out,
    }
    return TokenPrice(id=price_id, currency=currency, rates=rates, unit=PriceUnit.RATIO, table=table)


def tier(size: Size) -> str:
    """Give the tier of a size by its pixels: 1K up to 1,572,864, 2K up to 4,194,304, 4K above."""
    pixels = size[0] * size[1]
    return "1K" if pixels <= _TIER_1K else "2K" if pixels <= _TIER_2K else "4K"


def is_flat(price: Price | None) -> bool:
    """Whether an answer without a picture costs as much as one with it."""
    return isinstance(price, RequestPrice)


def _cells(row: Mapping[str, Fraction], quality: str | None) -> tuple[Fraction, ...]:
    if quality is None:
        return tuple(row.values())
    found = row.get(quality, row.get("*"))
    return () if found is None else (found,)


# What may stand for an item that a price does not name, in order, and whether that is still exact. A text model takes
# pictures at its one input rate. Without a rate for cached tokens the full one is an upper bound, and without one for
# text the rate of pictures is.
_STANDS_FOR: Final[Mapping[Item, tuple[tuple[Item, bool], ...]]] = {
    Item.TEXT_IN: ((Item.TEXT_IN, True), (Item.INPUT, True)),
    Item.TEXT_IN_CACHED: (
        (Item.TEXT_IN_CACHED, True),
        (Item.INPUT_CACHED, True),
        (Item.TEXT_IN, False),
        (Item.INPUT, False),
    ),
    Item.IMAGE_IN: ((Item.IMAGE_IN, True), (Item.INPUT, True)),
    Item.IMAGE_IN_CACHED: (
        (Item.IMAGE_IN_CACHED, True),
        (Item.INPUT_CACHED, True),
        (Item.IMAGE_IN, False),
        (Item.INPUT, False),
    ),
    Item.IMAGE_OUT: ((Item.IMAGE_OUT, True), (Item.OUTPUT, True)),
    Item.TEXT_OUT: ((Item.TEXT_OUT, True), (Item.OUTPUT, True), (Item.IMAGE_OUT, False)),
    Item.INPUT: ((Item.INPUT, True), (Item.TEXT_IN, True)),
    Item.INPUT_CACHED: (
        (Item.INPUT_CACHED, True),
        (Item.TEXT_IN_CACHED, True),
        (Item.INPUT, False),
        (Item.TEXT_IN, False),
    ),
    Item.OUTPUT: ((Item.OUTPUT, True), (Item.TEXT_OUT, True), (Item.IMAGE_OUT, False)),
    Item.REQUEST: (),
    Item.IMAGE: (),
    Item.REPORTED: (),
}
