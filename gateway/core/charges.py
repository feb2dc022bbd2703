"""What a key is charged in credits for pictures: by the picture, or by the tier of its size and its quality.

Rules: before anything is sent the price of the size that was asked for is held, for each picture asked for; a request
that leaves the size open is held at the dearest that the contract of its pictures can return. Afterwards each picture
that was delivered is charged, at the lower of what was asked for and what came. Nothing delivered, nothing charged.
A price that is not in the table is not zero: the request is refused, unless ``other`` says what it costs.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from gateway.core.errand import Errand
from gateway.core.plan import Target
from gateway.core.prices import tier
from gateway.core.redact import is_plain
from gateway.core.seen import Reading
from gateway.core.size_rules import read_size
from gateway.core.tariff import OPEN_QUALITIES, CreditCharge, CreditMatrix, CreditsPerImage
from gateway.core.terms import Contract
from gateway.core.tokens import Size
from gateway.core.types import Facts

TIERS: Final[Mapping[str, int]] = {"1K": 1, "2K": 1_572_865, "4K": 4_194_305}  # the fewest pixels of each


def pictures_asked(facts: Facts) -> int:
    """Give how many pictures a request asks for; a turn with the image tool asks for one."""
    if facts.surface.is_images:
        return max(1, facts.n)
    return 1 if facts.tool is not None and facts.errand is Errand.CREATE else 0


def worst_case(charge: CreditCharge, target: Target, facts: Facts) -> int | None:
    """Give the credits to hold should ``target`` serve; ``None``: what is asked for has no price."""
    asked = target.facts or facts
    count = pictures_asked(asked)
    if not count:
        return 0
    each = _ceiling(charge, asked, target.contract)
    return None if each is None else count * each


def unpriced(charge: CreditCharge | None, target: Target, facts: Facts) -> tuple[str, str]:
    """Say what of a picture without a price is to blame: the parameter, and the picture in words."""
    asked = target.facts or facts
    tiers = tuple(_tiers_asked(asked, target.contract))
    size = read_size(asked.size)
    named = " or ".join(sorted(tiers))
    is_plainly = asked.quality not in OPEN_QUALITIES and is_plain(asked.quality or "")
    quality = f"quality '{asked.quality}'" if is_plainly else "the quality asked for"
    what = f"a picture of {size[0]}x{size[1]} pixels (tier {named})" if size else f"a picture of tier {named}"
    is_sized = isinstance(charge, CreditMatrix) and not any(one in charge.cells for one in tiers)
    return ("size", what) if is_sized else ("quality", f"{what} in {quality}")


def charged(charge: CreditCharge, target: Target, facts: Facts, reading: Reading | None) -> int:
    """Give the credits for what ``target`` delivered."""
    if reading is None:
        return 0
    if isinstance(charge, CreditsPerImage):
        return charge.amount * (len(reading.pictures) + reading.url_count)
    asked = target.facts or facts
    sizes: list[Size | None] = [
        (picture.width, picture.height) if picture.width and picture.height else None for picture in reading.pictures
    ]
    sizes += [None] * reading.url_count
    ceiling = _ceiling(charge, asked, target.contract)
    return sum(_each(charge, size, asked.quality, reading.quality, ceiling) for size in sizes)


def _each(charge: CreditCharge, size: Size | None, asked: str | None, came: str | None, ceiling: int | None) -> int:
    """Charge one picture: by its own size where that is known, and by its own quality where another was asked for."""
    most = 0 if ceiling is None else ceiling
    if size is None:
        return most
    qualities = {asked} if asked in OPEN_QUALITIES or came in OPEN_QUALITIES else {asked, came}
    prices = [charge.price(tier(size), one) for one in qualities]
    return min([most, *(price for price in prices if price is not None)])


def _ceiling(charge: CreditCharge, asked: Facts, contract: Contract) -> int | None:
    """Give what one picture is charged at most; a flat price is that whatever its size."""
    if isinstance(charge, CreditsPerImage):
        return charge.amount
    return _dearest(charge.price(one, asked.quality) for one in _tiers_asked(asked, contract))


def _tiers_asked(asked: Facts, contract: Contract) -> Iterable[str]:
    size = read_size(asked.size)
    return _tiers_of(contract) if size is None else (tier(size),)


def _tiers_of(contract: Contract) -> Iterable[str]:
    """Give the tiers of all sizes that a contract knows; of one that knows none, all tiers."""
    sizes = contract.size
    if sizes is None:
        return tuple(TIERS)
    found = {tier(size) for word in sizes.words if (size := read_size(word)) is not None}
    if sizes.grid is not None:
        found |= {name for name, fewest in TIERS.items() if fewest <= sizes.grid.max_pixels}
    return found or tuple(TIERS)


def _dearest(prices: Iterable[int | None]) -> int | None:
    return max((price for price in prices if price is not None), default=None)
