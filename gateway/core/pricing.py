"""What one attempt cost: its outcome, what its answer reported, and the prices of its row and its image tool.

Asked in this order, for each price in its own way of charging:

1. Usage the upstream reported is priced, whatever became of the answer. A usage without output tokens is not believed
   of an answer that has a picture.
2. What was refused or never sent cost nothing; that is exact, also without a price.
3. A delivery without usage is estimated by the shape of what came; where nothing can be known, it is missing.
4. An unknown outcome is exposure: what the shape of the request may have cost at most, as far as the price tells.

The row's price pays for a Responses turn, the image tool's row for its pictures; a row that charges by the request, by
the picture or by what the upstream reports pays for both. Must never turn what is not known into zero.
"""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Final, assert_never

from msgspec import Struct

from gateway.core.meter import Metered, picture_usage, turn_usage
from gateway.core.money import MISSING, Cost, CostState, Line, billed, exposed, line, nothing
from gateway.core.prices import (
    MICRO,
    ImagePrice,
    Item,
    MatrixPrice,
    Price,
    ReportedPrice,
    RequestPrice,
    TokenPrice,
)
from gateway.core.seen import Reading
from gateway.core.tokens import Size, text_tokens
from gateway.core.types import Facts, ImageFacts, JsonObject, JsonValue, Outcome

_SIZE: Final = re.compile(r"([1-9][0-9]{0,5})x([1-9][0-9]{0,5})")
_OPEN_WORDS: Final = frozenset({"auto", ""})
_FREE: Final = frozenset({Outcome.NOT_SENT, Outcome.REFUSED})
_TICKS_PER_MICRO: Final = 10_000  # xAI: 10,000,000,000 ticks are one USD
_MOST_MICRO: Final = 10**15
_COST_CHARS: Final = 40
_NOTHING_HEARD: Final = Reading()


class Purchase(Struct, frozen=True, kw_only=True):
    """One attempt as its bill sees it. ``tool_price`` is that of the image tool's row."""

    facts: Facts
    outcome: Outcome
    price: Price | None
    tool_price: Price | None = None
    reading: Reading | None = None

    @property
    def heard(self) -> Reading:
        """What the answer contained; nothing when there was none."""
        return self.reading if self.reading is not None else _NOTHING_HEARD

    @property
    def pictures(self) -> int:
        """Pictures that came, whole or as links."""
        heard = self.heard
        return len(heard.pictures) + heard.url_count


class _Part(Struct, frozen=True, kw_only=True):
    """A part of an attempt's bill; ``lines`` absent: what it cost cannot be known."""

    lines: tuple[Line, ...] | None
    exact: bool
    told: bool = False  # the upstream reported it


_UNKNOWABLE: Final = _Part(lines=None, exact=False)
_NO_PART: Final = _Part(lines=(), exact=True)


def attempt_cost(bought: Purchase) -> Cost:
    """Give what one attempt cost. Total: never raises, and never below zero."""
    price = bought.price
    match price:
        case None:
            return _unpriced(bought)
        case TokenPrice():
            return _by_tokens(bought, price)
        case RequestPrice() | ImagePrice() | MatrixPrice():
            return _by_piece(bought, price)
        case ReportedPrice():
            return _by_report(bought, price)
        case _:
            assert_never(price)


def size_of(word: str | None) -> Size | None:
    """Read ``WxH``; nothing for ``auto`` and other words."""
    match = _SIZE.fullmatch(word or "")
    return (int(match[1]), int(match[2])) if match else None


def _unpriced(bought: Purchase) -> Cost:
    """Without a price only what was not bought has a cost."""
    if bought.outcome in _FREE and not _has_usage(bought):
        return nothing()
    return MISSING


def _has_usage(bought: Purchase) -> bool:
    usage = bought.heard.usage or {}
    metered = turn_usage(usage) or picture_usage(usage, text_only=True)
    return metered is not None and bool(metered.counts)


# --- by token


def _by_tokens(bought: Purchase, price: TokenPrice) -> Cost:
    if bought.facts.surface.is_images:
        parts = [_picture_part(bought, price, bought.heard.usage)]
    else:
        parts = [_turn_part(bought, price), _tool_part(bought)]
    if bought.outcome in _FREE and not any(part.told for part in parts):
        return nothing(price.currency)
    kept = [part.lines for part in parts if part.lines is not None]
    lines = [one for part in kept for one in part]
    if len(kept) < len(parts):
        return Cost(state=CostState.MISSING, unit=_unit(bought, price, lines), lines=tuple(lines))
    is_exact = all(part.exact for part in parts)
    cost = billed(lines, unit=_unit(bought, price, lines), exact=is_exact)
    is_open = bought.outcome is Outcome.UNKNOWN and not any(part.told for part in parts)
    return exposed(cost) if is_open else cost


def _unit(bought: Purchase, price: TokenPrice, lines: Sequence[Line]) -> str:
    tool = bought.tool_price
    other = tool is not None and tool.unit is not price.unit and any(one.price_id == tool.id for one in lines)
    return "mixed" if other else price.unit.value


def _picture_part(bought: Purchase, price: TokenPrice, usage: JsonObject | None) -> _Part:
    """Bill an image model: by its usage, else by the token table."""
    facts, count = bought.facts, bought.pictures
    metered = picture_usage(usage or {}, text_only=not _has_input(facts))
    if metered is not None and (metered.output or not count):
        is_plain = facts.output_format != "svg"  # an SVG is charged for by a second model, in another usage
        return _priced(metered, price, exact=metered.exact and is_plain, told=True)
    if bought.outcome in _FREE:
        return _NO_PART
    if price.table is None or (bought.outcome is Outcome.DELIVERED and not count):
        return _UNKNOWABLE
    sizes = _sizes(bought)
    drawn = sum(price.table.output_tokens(size, _quality(bought)) for size in sizes)
    drawn += len(sizes) * (facts.partial_images or 0) * price.table.partial
    counts = {Item.TEXT_IN: text_tokens(facts.prompt_chars), Item.IMAGE_OUT: drawn}
    return _priced(Metered(counts=counts, exact=False), price, exact=False, told=False)


def _turn_part(bought: Purchase, price: TokenPrice) -> _Part:
    """Bill the text model of a Responses turn; without usage only the prompt can be guessed."""
    metered = turn_usage(bought.heard.usage or {})
    if metered is not None:
        within = price.exact_up_to is None or metered.input <= price.exact_up_to
        return _priced(metered, price, exact=metered.exact and within, told=True)
    if bought.outcome is Outcome.DELIVERED and not bought.pictures:
        return _UNKNOWABLE
    guessed = Metered(counts={Item.INPUT: text_tokens(bought.facts.prompt_chars)}, exact=False)
    return _priced(guessed, price, exact=False, told=False)


def _tool_part(bought: Purchase) -> _Part:
    """Bill the image tool of a Responses turn at its own row's price."""
    tools = (bought.heard.usage or {}).get("tool_usage")
    usage = tools.get("image_gen") if isinstance(tools, Mapping) else None
    reported = usage if isinstance(usage, Mapping) else None
    if bought.facts.tool is None and reported is None:
        return _NO_PART
    is_over = bought.reading is not None and turn_usage(bought.heard.usage or {}) is not None
    if reported is None and is_over and not bought.pictures:
        return _NO_PART  # the turn was billed and the tool was not called
    price = bought.tool_price
    if isinstance(price, TokenPrice):
        return _picture_part(bought, price, reported)
    if isinstance(price, (ImagePrice, MatrixPrice, RequestPrice)):
        return _pieces(bought, price)
    return _UNKNOWABLE


def _priced(metered: Metered, price: TokenPrice, *, exact: bool, told: bool) -> _Part:
    lines: list[Line] = []
    for item, count in metered.counts.items():
        rate = price.rate(item)
        if rate is None:
            return _Part(lines=None, exact=False, told=told)
        exact = exact and rate.exact
        lines.append(line(item, count, rate.micro, price.currency, price.id))
    return _Part(lines=tuple(lines), exact=exact, told=told)


# --- by piece


def _by_piece(bought: Purchase, price: RequestPrice | ImagePrice | MatrixPrice) -> Cost:
    if bought.outcome in _FREE:
        return nothing(price.currency)
    part = _pieces(bought, price)
    if part.lines is None:
        return Cost(state=CostState.MISSING, unit=str(price.unit))
    cost = billed(part.lines, unit=str(price.unit), exact=part.exact)
    return exposed(cost) if bought.outcome is Outcome.UNKNOWN else cost


def _pieces(bought: Purchase, price: RequestPrice | ImagePrice | MatrixPrice) -> _Part:
    """Bill by the request or by the picture: those that came, or those asked for when none is known to have come."""
    if isinstance(price, RequestPrice):
        return _Part(lines=(line(Item.REQUEST, 1, price.amount, price.currency, price.id),), exact=True)
    if isinstance(price, ImagePrice):
        return _Part(lines=(line(Item.IMAGE, _count(bought), price.amount, price.currency, price.id),), exact=True)
    found = [_cell(bought, price, size) for size in _sizes(bought)]
    if any(not amounts for amounts in found):
        return _UNKNOWABLE
    lines = tuple(line(Item.IMAGE, 1, max(amounts), price.currency, price.id) for amounts in found)
    return _Part(lines=lines, exact=all(len(amounts) == 1 for amounts in found))


def _cell(bought: Purchase, price: MatrixPrice, size: Size | None) -> frozenset[Fraction]:
    """Give the amounts that may be meant: what came and what was asked for may fall into two cells."""
    asked = size_of(bought.heard.size) or size_of(bought.facts.size)
    sizes: set[Size | None] = {one for one in (size, asked) if one is not None}
    return frozenset().union(*(price.amounts(one, _quality(bought)) for one in sizes or {None}))


# --- by report


def _by_report(bought: Purchase, price: ReportedPrice) -> Cost:
    micro = _reported(bought.heard.usage or {}, price.currency)
    if micro is not None:
        return billed([line(Item.REPORTED, 1, micro, price.currency, price.id)], unit=price.unit.value, exact=True)
    if bought.outcome in _FREE:
        return nothing(price.currency)
    return Cost(state=CostState.MISSING, unit=price.unit.value)


def _reported(usage: JsonObject, currency: str) -> Fraction | None:
    """Read what the upstream says it charged, as micro-units."""
    ticks = _number(usage.get("cost_in_usd_ticks")) if currency == "USD" else None
    cost = _number(usage.get("cost"))
    micro = ticks / _TICKS_PER_MICRO if ticks is not None else cost * MICRO if cost is not None else None
    return micro if micro is not None and 0 <= micro <= _MOST_MICRO else None


def _number(value: JsonValue) -> Fraction | None:
    """Read a decimal as it was written; a float has the digits of its shortest form."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    text = str(value) if not isinstance(value, int) or abs(value) <= _MOST_MICRO**2 else ""
    try:
        number = Decimal(text) if len(text) <= _COST_CHARS else Decimal("NaN")
    except InvalidOperation:
        return None
    return Fraction(number) if number.is_finite() and abs(number.adjusted()) <= _COST_CHARS else None


# --- the shape


def _count(bought: Purchase) -> int:
    """Count the pictures that came; those that were asked for when the outcome is unknown and none came."""
    came = bought.pictures
    if came or bought.outcome is not Outcome.UNKNOWN:
        return came
    return max(1, bought.facts.n) if bought.facts.surface.is_images else 1


def _sizes(bought: Purchase) -> list[Size | None]:
    """Give the size of each picture that is counted."""
    heard = bought.heard
    said = size_of(heard.size) or size_of(bought.facts.size)
    shown = [_pixels(one) or said for one in heard.pictures]
    return shown + [said] * (_count(bought) - len(shown))


def _pixels(image: ImageFacts) -> Size | None:
    return (image.width, image.height) if image.width and image.height else None


def _quality(bought: Purchase) -> str | None:
    """Give the quality the answer names, else the one asked for; nothing when it was left open."""
    words = (bought.heard.quality, bought.facts.quality)
    return next((word for word in words if word and word not in _OPEN_WORDS), None)


def _has_input(facts: Facts) -> bool:
    return bool(facts.inputs) or facts.mask is not None or facts.markup is not None
