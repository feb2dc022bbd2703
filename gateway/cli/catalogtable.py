"""A price list beside a channel's rows, as people read it and as JSON."""

from collections.abc import Mapping, Sequence
from fractions import Fraction

from msgspec import Struct
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.cli import terminal
from gateway.cli.terminal import BOLD, DIM, GOOD, WARN, is_wide, stacked, words
from gateway.cli.wording import price as our_words
from gateway.cli.wording import surfaces
from gateway.config.insertion import NewRow
from gateway.core.listed import Flag, FlatPrice, OurPrice, Standing
from gateway.core.prices import MICRO, RATIO_ONE, ImagePrice, Item, Price, RequestPrice, TokenPrice
from gateway.core.types import JsonObject, Surface

_ITEMS = ((Item.TEXT_IN, Item.INPUT), (Item.IMAGE_OUT, Item.OUTPUT))
FLAGS: Mapping[Flag, str] = {
    Flag.DEFAULT_RATIO: "ratio 37.5 is what a router assumes when nobody has set one",
    Flag.DEFAULT_COMPLETION: "completion ratio 2 is what a router assumes when nobody has set one",
    Flag.NO_COMPLETION: "no completion ratio: what its output costs is not told",
    Flag.NO_PRICE: "no price that can be worked out",
    Flag.FLAT_ON_TOKENS: "a flat price for a model that its maker charges by the token",
    Flag.TIERED: "billed by an expression that cannot be worked out here",
    Flag.BUNDLE: "named like a bundle: what answers may be any model",
    Flag.NOT_IN_GROUP: "not for this price group",
    Flag.GROUP_UNKNOWN: "the list does not know this price group",
    Flag.NO_IMAGE_SURFACE: "claims no images surface, which proves nothing",
    Flag.PRICE_CHANGED: "its price has changed since the list was seen last",
    Flag.IS_NEW: "new since the list was seen last",
}
_STANDINGS: Mapping[Standing, tuple[str, str]] = {
    Standing.SAME: ("as listed", GOOD),
    Standing.CHANGED: ("price differs", WARN),
    Standing.UNPRICED: ("no price", WARN),
    Standing.VANISHED: ("vanished", WARN),
    Standing.NEW: ("no row", DIM),
}


class Line(Struct, frozen=True, kw_only=True):
    """A row of ours or a listed model, or both. ``price`` is our row's, ``listed`` the list's.

    ``claims``: the surfaces that the list claims; ``verified`` and ``failed``: how the last smoke run of the row ended.
    """

    model: str
    row: str
    standing: Standing
    price: Price | None = None
    listed: OurPrice | None = None
    claims: tuple[Surface, ...] = ()
    endpoints: tuple[str, ...] = ()
    flags: tuple[Flag, ...] = ()
    verified: tuple[Surface, ...] = ()
    failed: tuple[Surface, ...] = ()

    @property
    def is_usable(self) -> bool:
        """Whether an account of the group may use it at all."""
        return Flag.NOT_IN_GROUP not in self.flags

    def as_json(self) -> JsonObject:
        """Give it as ``--json`` shows it."""
        return {
            "model": self.model,
            "row": None if self.standing is Standing.NEW else self.row,
            "standing": self.standing.value,
            "price": None if self.price is None else our_words(self.price),
            "listed": _listed_json(self.listed),
            "claims": [surface.value for surface in self.claims],
            "endpoint_types": list(self.endpoints),
            "verified": [surface.value for surface in self.verified],
            "failed": [surface.value for surface in self.failed],
            "flags": [flag.value for flag in self.flags],
        }


class Compared(Struct, frozen=True, kw_only=True):
    """A whole list beside a channel. ``vanished``: models that the last list had."""

    channel: str
    source: str
    group: str
    group_ratio: Fraction | None
    version: str | None
    version_before: str | None
    lines: tuple[Line, ...]
    vanished: tuple[str, ...]
    has_before: bool

    @property
    def differs(self) -> bool:
        """Whether a row of ours is not as listed, or the list has changed where it concerns a row."""
        return self.version_changed or any(
            line.standing not in {Standing.SAME, Standing.NEW}
            or (line.standing is not Standing.NEW and Flag.PRICE_CHANGED in line.flags)
            for line in self.lines
        )

    @property
    def version_changed(self) -> bool:
        """Whether the list says that its prices are of another version than the last one."""
        return self.has_before and self.version != self.version_before

    def as_json(self) -> JsonObject:
        """Give it as ``--json`` shows it."""
        return {
            "channel": self.channel,
            "source": self.source,
            "group": self.group,
            "group_ratio": None if self.group_ratio is None else float(self.group_ratio),
            "pricing_version": self.version,
            "pricing_version_changed": self.version_changed,
            "differs": self.differs,
            "models": [line.as_json() for line in self.lines],
            "vanished": list(self.vanished),
        }


def show(screen: Console, compared: Compared) -> None:
    """Print the comparison."""
    for line in _head(compared):
        screen.print(line, soft_wrap=True)
    screen.print()
    if compared.lines:
        screen.print(_table(compared.lines, wide=is_wide(screen)))
    else:
        screen.print(words("The list has none of the channel's models, and no model that makes pictures.", WARN))
    if compared.vanished:
        screen.print()
        screen.print(words(f"Gone from the list since it was seen last: {', '.join(compared.vanished)}.", WARN))


def show_rows(screen: Console, compared: Compared, lines: Sequence[Line], rows: Sequence[NewRow]) -> None:
    """Print the rows that would be written, and of what they are made."""
    for line in _head(compared):
        screen.print(line, soft_wrap=True)
    screen.print()
    if not rows:
        screen.print(words("Every model of the list that makes pictures has a row.", DIM))
        return
    screen.print(_table(lines, wide=is_wide(screen)))
    screen.print()
    for row in rows:
        for remark in row.remarks:
            screen.print(words(remark, DIM), soft_wrap=True)
        screen.print(words(f"{row.key}: {row.block}"), soft_wrap=True)
    screen.print()
    after = "A row takes no traffic before `waybill smoke` has passed on it, and belongs to no route yet."
    screen.print(words(after, DIM))


def _head(compared: Compared) -> list[Text]:
    ratio = "" if compared.group_ratio is None else f", which pays {_number(compared.group_ratio)} of each price"
    lines = [
        words(compared.channel, BOLD).append_text(words(f"  {compared.source}", DIM)),
        words(f"group {compared.group}{ratio}", DIM),
    ]
    if compared.version_changed:
        before, now = compared.version_before or "none", compared.version or "none"
        lines.append(words(f"the list's version has changed: {before} -> {now}", WARN))
    return lines


def _table(lines: Sequence[Line], *, wide: bool) -> Table:
    names = ("model", "standing", "our price", "listed", "surfaces", "odd")
    shown = terminal.table(*(names if wide else ("model", "price", "odd")))
    for line in lines:
        said, style = _STANDINGS[line.standing]
        how, name = words(said, style), words(line.model, BOLD)
        odd = stacked(*(words(FLAGS[flag], WARN) for flag in line.flags))
        claims = _surfaces(line)
        ours = words("-" if line.price is None else _price(line.price))
        listed = words("-" if line.listed is None else _listed(line.listed))
        if wide:
            shown.add_row(name, how, ours, listed, claims, odd)
        else:
            prices = stacked(words("ours ", DIM) + ours, words("list ", DIM) + listed)
            shown.add_row(stacked(name, how, claims), prices, odd)
    return shown


def _surfaces(line: Line) -> Text:
    claimed = surfaces(line.claims) or ", ".join(line.endpoints)
    return stacked(
        words(f"claims {claimed}" if claimed else "", DIM),
        words(f"verified {surfaces(line.verified)}" if line.verified else "", GOOD),
        words(f"failed {surfaces(line.failed)}" if line.failed else "", WARN),
    )


def _price(price: Price) -> str:
    """Say a price in the words of a list, where it can be said so."""
    if isinstance(price, TokenPrice):
        rates = price.rates
        one, out = (next((rates[item] for item in items if item in rates), None) for items in _ITEMS)
        return _per_million(_maybe(one), _maybe(out), price.currency)
    if isinstance(price, (ImagePrice, RequestPrice)):
        thing = "picture" if isinstance(price, ImagePrice) else "call"
        return f"{_number(price.amount / MICRO)} {price.currency} a {thing}"
    return our_words(price)


def _listed(price: OurPrice) -> str:
    if isinstance(price, FlatPrice):
        return f"{_number(price.amount)} USD a {'picture' if price.per_image else 'call'}"
    one = price.model * RATIO_ONE * price.group
    return _per_million(_number(one), _number(one * price.completion), "USD")


def _per_million(given: str, made: str, currency: str) -> str:
    return f"{given} {currency} in, {made} {currency} out per 1M tokens"


def _listed_json(price: OurPrice | None) -> JsonObject | None:
    if price is None:
        return None
    if isinstance(price, FlatPrice):
        return {"unit": "per_image" if price.per_image else "per_request", "amount": float(price.amount)}
    return {
        "unit": "ratio",
        "model_ratio": float(price.model),
        "completion_ratio": float(price.completion),
        "cache_ratio": float(price.cache),
        "image_ratio": float(price.image),
        "group_ratio": float(price.group),
    }


def _maybe(amount: Fraction | None) -> str:
    return "?" if amount is None else _number(amount)


def _number(exact: Fraction) -> str:
    return f"{float(exact):.6f}".rstrip("0").rstrip(".")
