"""What a route charges keys in credits, as values: by the picture, or by tier and quality of each picture.

A price that is not in the table is ``None`` and never zero; ``core/charges`` says what follows from that.
"""

from collections.abc import Mapping
from typing import Final, TypeAlias

from msgspec import Struct

OPEN_QUALITIES: Final = frozenset({None, "", "auto"})


class CreditsPerImage(Struct, frozen=True, kw_only=True):
    """So many credits for every picture."""

    amount: int

    def price(self, _tier: str, _quality: str | None) -> int | None:
        """Give the credits of one picture."""
        return self.amount


class CreditMatrix(Struct, frozen=True, kw_only=True):
    """Credits by tier (1K, 2K, 4K) and quality. ``auto``: the quality that stands for one left open, else the dearest.

    ``other``: what any picture costs whose tier or quality is not there; absent: it has no price.
    """

    cells: Mapping[str, Mapping[str, int]]
    auto: str | None = None
    other: int | None = None

    def price(self, tier: str, quality: str | None) -> int | None:
        """Give the credits of one picture; ``None``: it has no price."""
        row = self.cells.get(tier)
        if row is None:
            return self.other
        if quality in OPEN_QUALITIES and "auto" not in row:
            return max(row.values()) if self.auto is None else row.get(self.auto, self.other)
        return row.get(quality or "auto", self.other)


CreditCharge: TypeAlias = CreditsPerImage | CreditMatrix
