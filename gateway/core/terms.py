"""The words of a contract: what one model takes and gives, as frozen values.

A contract is data (``catalog/contracts.yaml``, a row of the routes file) and decides nothing; ``core/contracts`` holds
a request against it and ``core/result_check`` a result. What a contract does not state (``None``, or a name that is not
in ``words``) is not checked. ``open`` states nothing at all, and nothing is translated for it.
"""

from collections.abc import Mapping
from datetime import date, timedelta
from enum import StrEnum

from msgspec import Struct, field

from gateway.core.tokens import TokenTable
from gateway.core.types import Facts, Surface

OPEN = "open"
RETIRING_DAYS = 60  # from so long before its last day on a model is said to be retiring


class Mode(StrEnum):
    """What follows a violation: the target is out, or it is only the last choice."""

    ENFORCE = "enforce"
    ADVISE = "advise"


class Unknown(StrEnum):
    """What happens to a parameter that this program does not know."""

    FORWARD = "forward"
    REFUSE = "refuse"


class Grid(Struct, frozen=True, kw_only=True):
    """Which free sizes there are. Pixels; ``max_ratio`` is the long edge over the short one. Bounds are included."""

    multiple: int
    max_edge: int
    max_ratio: int
    min_pixels: int
    max_pixels: int


class Sizes(Struct, frozen=True, kw_only=True):
    """What ``size`` may be: one of ``words`` (``auto``, ``1024x1024``), or a free size of the grid."""

    words: tuple[str, ...] = ()
    grid: Grid | None = None


class Span(Struct, frozen=True, kw_only=True):
    """An integer's bounds, both included."""

    lowest: int
    highest: int


class Inputs(Struct, frozen=True, kw_only=True):
    """The pictures that may be given: how many, in which formats, how large each (bytes, not included)."""

    count: int
    formats: tuple[str, ...]
    max_bytes: int | None = None


class Overlay(Struct, frozen=True, kw_only=True):
    """A mask or a markup: a PNG with transparency, as large in pixels as the first picture, under ``max_bytes``."""

    max_bytes: int


class Contract(Struct, frozen=True, kw_only=True):
    """What one model takes. ``name`` is that of the catalog's contract it is, or extends.

    ``words``: parameter -> the values it may have. ``transparent_formats``: the output formats that can be transparent.
    ``compressed_formats``: those whose ``output_compression`` may be under 100. ``default_format``: what comes when no
    format is asked for. ``excludes``: output format -> parameters that cannot stand with it. ``refuses``: parameters
    the model does not take; ``drops``: those that are left out of what is sent instead. ``tokens``: how many output
    tokens its pictures take, where that is known well enough to be a check. ``retired_on``: the day from which on it
    answers no more.
    """

    name: str
    mode: Mode = Mode.ENFORCE
    surfaces: frozenset[Surface] = frozenset()
    size: Sizes | None = None
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    transparent_formats: tuple[str, ...] | None = None
    compressed_formats: tuple[str, ...] | None = None
    default_format: str | None = None
    prompt_chars: int | None = None
    n: Span | None = None
    partial_images: Span | None = None
    frame_count: Span | None = None
    frame_duration_ms: Span | None = None
    excludes: Mapping[str, frozenset[str]] = field(default_factory=dict)
    inputs: Inputs | None = None
    mask: Overlay | None = None
    markup: Overlay | None = None
    refuses: frozenset[str] = frozenset()
    drops: frozenset[str] = frozenset()
    unknown: Unknown = Unknown.FORWARD
    tokens: TokenTable | None = None
    retired_on: date | None = None

    @property
    def is_open(self) -> bool:
        """Whether nothing is checked and nothing translated."""
        return self.name == OPEN

    def states(self, param: str) -> bool:
        """Whether the contract has a rule for a parameter, so that a request that passed it may be believed."""
        if param in self.words:
            return True
        stated = {
            "size": self.size,
            "n": self.n,
            "partial_images": self.partial_images,
            "output_compression": self.compressed_formats,
            "frame_count": self.frame_count,
            "frame_duration_ms": self.frame_duration_ms,
            "mask": self.mask,
            "markup": self.markup,
            "image": self.inputs,
        }
        return param in self.drops or stated.get(param) is not None

    def retires_soon(self, day: date) -> bool:
        """Whether the model's last day is near, or past."""
        return self.retired_on is not None and day >= self.retired_on - timedelta(days=RETIRING_DAYS)


OPEN_CONTRACT = Contract(name=OPEN)


def parameters(facts: Facts) -> Mapping[str, str | int | bool]:
    """Give the parameters that a request asks something with, by name; defaults (one picture, no stream) are left out.

    A picture that was given counts as ``True``.
    """
    given: dict[str, str | int | bool | None] = {
        "size": facts.size,
        "quality": facts.quality,
        "background": facts.background,
        "output_format": facts.output_format,
        "output_compression": facts.output_compression,
        "moderation": facts.moderation,
        "input_fidelity": facts.input_fidelity,
        "partial_images": facts.partial_images,
        "complexity": facts.complexity,
        "frame_count": facts.frame_count,
        "frame_duration_ms": facts.frame_duration_ms,
        "response_format": facts.response_format,
        "style": facts.style,
        "n": facts.n if facts.n > 1 else None,
        "stream": facts.stream or None,
        "svg": facts.svg or None,
        "mask": facts.mask is not None or None,
        "markup": facts.markup is not None or None,
    }
    return {name: value for name, value in given.items() if value is not None}
