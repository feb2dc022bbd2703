"""What an upstream's ``usage`` counts, as the items that a price knows.

Total over whatever an upstream may put there: a count that is no whole number of at least zero is not a count. Where
the upstream leaves open which tokens were meant, they are counted as the dearer kind and the reading is not ``exact``.
No input is read twice: the cached tokens of a usage are part of its input tokens, and are taken out of them here.
"""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from gateway.core.prices import Item
from gateway.core.types import JsonObject, JsonValue

_MOST_TOKENS: Final = 10**12


class Metered(Struct, frozen=True, kw_only=True):
    """Counts by item, none of them zero; ``exact`` when the usage told every one of them by itself."""

    counts: Mapping[Item, int]
    exact: bool

    @property
    def output(self) -> int:
        """All output tokens."""
        return sum(count for item, count in self.counts.items() if item in _OUTPUTS)

    @property
    def input(self) -> int:
        """All input tokens."""
        return sum(count for item, count in self.counts.items() if item not in _OUTPUTS)


_OUTPUTS: Final = frozenset({Item.IMAGE_OUT, Item.TEXT_OUT, Item.OUTPUT})


class _Split(Struct, frozen=True, kw_only=True):
    """A total, told apart."""

    text: int
    image: int
    exact: bool


def picture_usage(usage: JsonObject, *, text_only: bool) -> Metered | None:
    """Read the usage of an image model; ``None`` when it does not tell the output tokens.

    ``text_only``: the request carried no picture, so that input which is not told apart is text.
    """
    made = _first(usage, "output_tokens", "completion_tokens")
    out = _details(usage, "output_tokens_details", "completion_tokens_details")
    parts = (_count(out.get("text_tokens")), _count(out.get("image_tokens")))
    if made is None and parts == (None, None):
        return None
    given = _first(usage, "input_tokens", "prompt_tokens")
    told = _details(usage, "input_tokens_details", "prompt_tokens_details")
    taken = _split(given, _count(told.get("text_tokens")), _count(told.get("image_tokens")), all_text=text_only)
    cached = _cached(usage, told, taken)
    drawn = _split(made, *parts, all_text=False, all_image=True)
    counts = {
        Item.TEXT_IN: taken.text - cached.text,
        Item.TEXT_IN_CACHED: cached.text,
        Item.IMAGE_IN: taken.image - cached.image,
        Item.IMAGE_IN_CACHED: cached.image,
        Item.TEXT_OUT: drawn.text,
        Item.IMAGE_OUT: drawn.image,
    }
    is_exact = taken.exact and cached.exact and drawn.exact
    return Metered(counts={item: count for item, count in counts.items() if count}, exact=is_exact)


def turn_usage(usage: JsonObject) -> Metered | None:
    """Read the usage of a text model; ``None`` unless it tells input and output tokens."""
    given, made = _first(usage, "input_tokens", "prompt_tokens"), _first(usage, "output_tokens", "completion_tokens")
    if given is None or made is None:
        return None
    told = _details(usage, "input_tokens_details", "prompt_tokens_details")
    said = _count(told.get("cached_tokens")) or 0
    cached = min(said, given)
    counts = {Item.INPUT: given - cached, Item.INPUT_CACHED: cached, Item.OUTPUT: made}
    return Metered(counts={item: count for item, count in counts.items() if count}, exact=said == cached)


def _split(
    total: int | None, text: int | None, image: int | None, *, all_text: bool, all_image: bool = False
) -> _Split:
    """Tell a total apart; what nobody accounts for is image, the dearer kind."""
    if text is None and image is None:
        whole, is_known = total or 0, total is not None
        if all_text:
            return _Split(text=whole, image=0, exact=is_known)
        return _Split(text=0, image=whole, exact=is_known and (all_image or not whole))
    if total is None:
        return _Split(text=text or 0, image=image or 0, exact=text is not None and image is not None)
    known_text = text if text is not None else max(0, total - (image or 0))
    known_image = image if image is not None else max(0, total - known_text)
    rest = total - known_text - known_image
    return _Split(text=known_text, image=known_image + max(0, rest), exact=rest == 0)


def _cached(usage: JsonObject, told: JsonObject, taken: _Split) -> _Split:
    """Tell how many of the input tokens were cached. Not told apart, they are text first: the smaller discount."""
    parts = _object(told.get("cached_tokens_details"))
    text, image = _count(parts.get("text_tokens")), _count(parts.get("image_tokens"))
    total = _first(told, "cached_tokens") or _first(usage, "cached_tokens") or 0
    if text is None and image is None:
        text = min(total, taken.text)
        image = min(total - text, taken.image)
        is_told = total == 0 or not (taken.text and taken.image)
        return _Split(text=text, image=image, exact=is_told and text + image == total)
    kept_text, kept_image = min(text or 0, taken.text), min(image or 0, taken.image)
    return _Split(text=kept_text, image=kept_image, exact=(kept_text, kept_image) == (text or 0, image or 0))


def _first(usage: JsonObject, *names: str) -> int | None:
    found = (_count(usage.get(name)) for name in names)
    return next((count for count in found if count is not None), None)


def _details(usage: JsonObject, *names: str) -> JsonObject:
    return next((held for name in names if (held := _object(usage.get(name)))), {})


def _object(value: JsonValue) -> JsonObject:
    return value if isinstance(value, Mapping) else {}


def _count(value: JsonValue) -> int | None:
    """Read a count; some languages write a whole number with a point."""
    if isinstance(value, float) and value.is_integer() and 0 <= value <= _MOST_TOKENS:
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_TOKENS:
        return value
    return None
