"""Whether a model takes a size, and if not, which rule it breaks.

Rules: a size is ``auto`` or another word of the contract, or ``WIDTHxHEIGHT`` in pixels without leading zeros; the grid
of free sizes is checked edge by edge, so that the sentence says what to change.
"""

import re

from gateway.core.terms import Grid, Sizes

_SIZE = re.compile(r"([1-9][0-9]{0,5})x([1-9][0-9]{0,5})")


def read_size(text: str | None) -> tuple[int, int] | None:
    """Give width and height in pixels; ``None`` for a word such as ``auto``, and for what is no size."""
    match = _SIZE.fullmatch(text or "")
    return (int(match[1]), int(match[2])) if match else None


def broken_rule(text: str, sizes: Sizes) -> str | None:
    """Say which rule a size breaks, as a sentence; ``None`` when it is taken."""
    if text in sizes.words:
        return None
    if sizes.grid is None:
        return f"Supported sizes are: {', '.join(sizes.words)}."
    pixels = read_size(text)
    if pixels is None:
        return f"It must be {', '.join(sizes.words)} or WIDTHxHEIGHT."
    return _off_grid(*pixels, sizes.grid)


def _off_grid(width: int, height: int, grid: Grid) -> str | None:
    if width % grid.multiple or height % grid.multiple:
        return f"Width and height must both be divisible by {grid.multiple}."
    if max(width, height) > grid.max_edge:
        return f"Neither edge may be longer than {grid.max_edge} pixels."
    if max(width, height) > grid.max_ratio * min(width, height):
        return f"The aspect ratio must be between 1:{grid.max_ratio} and {grid.max_ratio}:1."
    if width * height < grid.min_pixels:
        return f"It must have at least {grid.min_pixels} pixels."
    if width * height > grid.max_pixels:
        return f"It must have at most {grid.max_pixels} pixels."
    return None
