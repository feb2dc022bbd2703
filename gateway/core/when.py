"""``when`` rules: which requests a rule speaks of, which of the targets it leaves, and rules that can never speak.

A rule matches when each of its conditions does. A condition holds a word, a list of words (any of them) or, for
numbers, a span. What a request does not say matches nothing: no ``size`` is not ``auto``. The first rule that matches
narrows the targets to those it names, in the order of the route. Pure and total.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final, TypeAlias

from msgspec import Struct

from gateway.core.pixels import pixels_of
from gateway.core.types import Directives, Facts, Surface

WORDS: Final = frozenset({"surface", "size", "quality", "background", "output_format", "key", "team"})
FLAGS: Final = frozenset({"stream", "has_mask"})
NUMBERS: Final[Mapping[str, tuple[int, int]]] = MappingProxyType(  # what the API takes: from, to
    {
        "n": (1, 10),
        "pixels": (1, 999_999 * 999_999),
        "partial_images": (0, 3),
        "input_images": (0, 16),
        "prompt_chars": (0, 10_000_000),
    }
)
TAG: Final = "tag."

Word: TypeAlias = str | int | bool


class Span(Struct, frozen=True, kw_only=True):
    """Numbers from ``gte`` to ``lte``, both included; absent: no bound on that side."""

    gte: float | None = None
    lte: float | None = None

    def holds(self, number: float) -> bool:
        """Whether a number lies in the span."""
        return (self.gte is None or number >= self.gte) and (self.lte is None or number <= self.lte)


class Condition(Struct, frozen=True, kw_only=True):
    """One key of a rule: any of ``words``, or a ``span``."""

    key: str
    words: tuple[Word, ...] = ()
    span: Span | None = None

    def admits(self, value: Word) -> bool:
        """Whether what a request says meets the condition."""
        if self.span is not None:
            return self.span.holds(value) if isinstance(value, (int, float)) else False
        return value in self.words


class Use(Struct, frozen=True, kw_only=True):
    """Targets that a rule leaves: those of a channel, or one of its rows."""

    channel: str
    row: str | None = None

    def names(self, channel: str, row: str) -> bool:
        """Whether a target is meant."""
        return self.channel == channel and self.row in (None, row)


class WhenRule(Struct, frozen=True, kw_only=True):
    """If every condition is met, only the targets of ``use`` are left."""

    conditions: tuple[Condition, ...]
    use: tuple[Use, ...]

    def matches(self, facts: Facts, directives: Directives) -> bool:
        """Whether the rule speaks of a request."""
        return all(
            any(condition.admits(word) for word in _said(condition.key, facts, directives))
            for condition in self.conditions
        )

    def leaves(self, channel: str, row: str) -> bool:
        """Whether a target is left."""
        return any(one.names(channel, row) for one in self.use)


def first_match(rules: Sequence[WhenRule], facts: Facts, directives: Directives) -> int | None:
    """Give the place of the rule that speaks of a request; ``None``: all targets are left."""
    return next((at for at, rule in enumerate(rules) if rule.matches(facts, directives)), None)


def read(key: str, value: object) -> Condition | str:
    """Make a condition of what stands in the file, or say in one sentence what is wrong with it."""
    if key in NUMBERS:
        return _numbers(key, value)
    words = value if isinstance(value, list) else [value]
    if not words:
        return "the list is empty, so nothing can match: leave the condition out, or name a value"
    if key in FLAGS:
        flags = [_flag(word) for word in words]
        named = [flag for flag in flags if flag is not None]
        return Condition(key=key, words=tuple(named)) if len(named) == len(flags) else "must be true or false"
    if key not in WORDS and not (key.startswith(TAG) and len(key) > len(TAG)):
        return "is not something a rule can ask"
    texts = [str(word) for word in words if isinstance(word, (str, int, float)) and not isinstance(word, bool)]
    if len(texts) < len(words):
        return "must be a word, or a list of words"
    unknown = sorted(set(texts) - set(Surface)) if key == "surface" else []
    return f"there is no surface of that name: use {', '.join(Surface)}" if unknown else _texts(key, texts)


def doubts(rules: Sequence[WhenRule], served: Collection[Surface]) -> Iterator[tuple[int, str]]:
    """Say of each rule that can never match why; ``served``: surfaces that the route's targets answer on."""
    for at, rule in enumerate(rules):
        why = next(_impossible(rule, served), None)
        if why is not None:
            yield at, why
        elif any(set(other.conditions) <= set(rule.conditions) for other in rules[:at]):
            yield at, "an earlier rule matches all that this one matches, so it is never reached"


def _said(key: str, facts: Facts, directives: Directives) -> Sequence[Word]:
    """Give what a request says of a key: nothing, one word, or two for a virtual key, which has an id and a name."""
    if key.startswith(TAG):
        words: Sequence[Word | None] = (dict(directives.tags).get(key.removeprefix(TAG)),)
    elif key == "key":
        words = (directives.caller.key_id, directives.caller.name)
    else:
        words = (_fact(key, facts, directives),)
    return [word for word in words if word is not None]


def _fact(key: str, facts: Facts, directives: Directives) -> Word | None:
    said: Mapping[str, Word | None] = {
        "surface": facts.surface.value,
        "size": facts.size,
        "quality": facts.quality,
        "background": facts.background,
        "output_format": facts.output_format,
        "n": facts.n,
        "pixels": pixels_of(facts.size),
        "stream": facts.stream,
        "partial_images": facts.partial_images,
        "has_mask": facts.mask is not None,
        "input_images": len(facts.inputs),
        "prompt_chars": facts.prompt_chars,
        "team": directives.caller.team,
    }
    return said[key]


def _texts(key: str, texts: Sequence[str]) -> Condition:
    return Condition(key=key, words=tuple(texts))


def _flag(word: object) -> bool | None:
    return word if isinstance(word, bool) else {"true": True, "false": False}.get(str(word))


def _number(word: object) -> int | None:
    if isinstance(word, int) and not isinstance(word, bool):
        return word
    return int(word) if isinstance(word, str) and word.isascii() and word.isdigit() and len(word) < 19 else None


def _numbers(key: str, value: object) -> Condition | str:
    if isinstance(value, dict):
        ends = {name: _number(end) for name, end in value.items()}
        if not ends or set(ends) - {"gte", "lte"} or None in ends.values():
            return "a span is written {gte: N, lte: N}, with whole numbers, one of the two at least"
        return Condition(key=key, span=Span(gte=ends.get("gte"), lte=ends.get("lte")))
    numbers = [_number(word) for word in (value if isinstance(value, list) else [value])]
    held = tuple(number for number in numbers if number is not None)
    if not held or len(held) < len(numbers):
        return "must be a whole number, a list of them, or {gte: N, lte: N}"
    return Condition(key=key, words=held)


def _impossible(rule: WhenRule, served: Collection[Surface]) -> Iterator[str]:
    for condition in rule.conditions:
        if condition.key in NUMBERS and not _is_reachable(condition):
            low, high = NUMBERS[condition.key]
            yield f"'{condition.key}' is never so: the API takes {low} to {high}"
    held = {condition.key: condition for condition in rule.conditions}
    asked = {surface for surface in Surface if "surface" not in held or held["surface"].admits(surface.value)}
    if not asked & set(served):
        yield "no target of this route serves the surface it asks for"
    takes_pictures = asked & set(served) - {Surface.GENERATIONS}
    if not takes_pictures and any(key in held and not _admits_none(held[key]) for key in ("has_mask", "input_images")):
        yield f"{Surface.GENERATIONS} takes no pictures and no mask"
    sizes, pixels = held.get("size"), held.get("pixels")
    if sizes and pixels and not any(_fits(word, pixels) for word in sizes.words):
        yield "'size' and 'pixels' contradict each other"


def _is_reachable(condition: Condition) -> bool:
    low, high = NUMBERS[condition.key]
    span = condition.span
    if span is None:
        return any(low <= word <= high for word in condition.words if isinstance(word, int))
    return max(low, span.gte or low) <= min(high, high if span.lte is None else span.lte)


def _admits_none(condition: Condition) -> bool:
    """Whether the condition is met by a request without pictures."""
    return condition.admits(False if condition.key == "has_mask" else 0)


def _fits(word: Word, pixels: Condition) -> bool:
    said = pixels_of(str(word))
    return said is not None and pixels.admits(said)
