"""How many output tokens a picture has, by size and quality: the makers' tables and formula, as data.

For estimates and checks only: what was really charged comes from the answer's usage. What is not known of a picture
(its size, its quality) counts as the dearest it can be, so an estimate is never a bargain.
"""

from collections.abc import Mapping
from typing import Final, TypeAlias

from msgspec import Struct, field

Size: TypeAlias = tuple[int, int]

_BASE_PIXELS: Final = 2_000_000
_DIVISOR: Final = 4_000_000
CHARS_PER_TOKEN: Final = 4  # of a prompt, in English; for estimates


class TokenTable(Struct, frozen=True, kw_only=True):
    """One model's output tokens. Either ``factors`` (the formula's axis factor by quality) or ``fixed`` sizes.

    ``auto_sizes``: what a request without a size may come back as. ``partial``: tokens of one partial picture.
    """

    name: str
    factors: Mapping[str, int] = field(default_factory=dict)
    fixed: Mapping[Size, Mapping[str, int]] = field(default_factory=dict)
    auto_sizes: tuple[Size, ...] = ()
    partial: int = 0

    def output_tokens(self, size: Size | None, quality: str | None) -> int:
        """Count one picture's tokens; the dearest that fits when size or quality is not known to the table."""
        if self.factors:
            factor = self.factors.get(quality or "") or max(self.factors.values())
            return max(formula(factor, one) for one in ((size,) if size is not None else self.auto_sizes))
        known = self.fixed.get(size) if size is not None else None
        rows = [known] if known is not None else list(self.fixed.values())
        return max(row.get(quality or "") or max(row.values()) for row in rows)


def formula(factor: int, size: Size) -> int:
    """Work out ``ceil(f * s * (2,000,000 + W * H) / 4,000,000)``, where ``s`` is ``f * short / long``, rounded half up.

    ``factor`` is the longer axis in patches; the size must have two positive edges.
    """
    short, long = min(size), max(size)
    side = (2 * factor * short + long) // (2 * long)
    return -(-factor * side * (_BASE_PIXELS + size[0] * size[1]) // _DIVISOR)


def text_tokens(chars: int) -> int:
    """Guess the tokens of a text."""
    return -(-chars // CHARS_PER_TOKEN)
