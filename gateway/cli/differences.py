"""Two channels held against each other, and against what was asked for: facet by facet, and which matter.

Pure. A facet matters when an application would notice: no picture, another size or format, no transparency, an event
that is missing, a usage that is not told, a record that is not what came. That two models draw two different pictures
does not, nor how long they take.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum

from msgspec import Struct

from gateway.cli.commission import Commission
from gateway.cli.legs import RECORD_UNREADABLE, Seen, Walked
from gateway.cli.likeness import Pixels, difference
from gateway.core.money import decimal
from gateway.core.result_check import DIFFERENCES
from gateway.core.types import ImageFacts, JsonObject

SLOWER = 2.0
SLOWER_S = 2.0
MORE_TOKENS = 1.25
_COUNTS = ("input_tokens", "output_tokens")
NEEDED = frozenset({"data", "data[].b64_json", "output", "output[].result", "output[].type"})


class Verdict(StrEnum):
    """``same``; ``noted``: different, and it does not matter; ``matters``."""

    SAME = "same"
    NOTED = "noted"
    MATTERS = "matters"


class Facet(Struct, frozen=True, kw_only=True):
    """One thing that was compared. ``baseline`` is empty when there is none to compare with."""

    step: str
    what: str
    baseline: str
    target: str
    verdict: Verdict
    why: str = ""


class _Pair(Struct, frozen=True, kw_only=True):
    step: str
    asked: Commission
    one: Walked | None
    other: Walked

    def facet(self, what: str, baseline: str, target: str, verdict: Verdict | None = None, why: str = "") -> Facet:
        """Make a facet; without a verdict a difference is noted."""
        known = baseline if self.one is not None else ""
        if verdict is None:
            verdict = Verdict.SAME if self.one is None or baseline == target else Verdict.NOTED
        return Facet(step=self.step, what=what, baseline=known, target=target, verdict=verdict, why=why)

    @property
    def both(self) -> tuple[tuple[Seen, ...], tuple[Seen, ...]]:
        """What was seen of the one and of the other."""
        return (self.one.seen if self.one is not None else (), self.other.seen)


def facets(baseline: Walked | None, target: Walked) -> list[Facet]:
    """Compare a target with the baseline, or only with what was asked when there is none."""
    pair = _Pair(step=target.leg.name, asked=target.leg.asked, one=baseline, other=target)
    found = [_status(pair), *_failure(pair)]
    if any(seen.status == 200 for seen in target.seen):
        found += [_shape(pair), *_events(pair), _count(pair), _format(pair), _size(pair)]
        found += [_alpha(pair), *_likeness(pair), _bytes(pair), *_usage(pair), _served(pair), _warnings(pair)]
    return [*found, _latency(pair), _cost(pair), _record(pair)]


# --- the answer


def _status(pair: _Pair) -> Facet:
    one, other = (_said(str(seen.status or "no answer") for seen in all_seen) for all_seen in pair.both)
    if all(seen.status == 200 and not seen.failure for seen in pair.other.seen):
        return pair.facet("status", one, other)
    return pair.facet("status", one, other, Verdict.MATTERS, "no success")


def _failure(pair: _Pair) -> list[Facet]:
    one, other = (_said(seen.failure for seen in all_seen if seen.failure) for all_seen in pair.both)
    return [pair.facet("failure", one, other, Verdict.NOTED if other else None)] if one or other else []


def _shape(pair: _Pair) -> Facet:
    first, second = (frozenset[str]().union(*(seen.shape for seen in all_seen)) for all_seen in pair.both)
    if pair.one is None or not first:
        return pair.facet("shape", "", f"{len(second)} members", Verdict.SAME)
    missing, extra = sorted(first - second), sorted(second - first)
    said = ", ".join([*(f"-{name}" for name in missing), *(f"+{name}" for name in extra)])
    is_grave = bool(NEEDED & set(missing))
    verdict = Verdict.MATTERS if is_grave else Verdict.NOTED if said else Verdict.SAME
    return pair.facet("shape", f"{len(first)} members", said or f"{len(second)} members", verdict)


def _events(pair: _Pair) -> list[Facet]:
    if not pair.asked.stream:
        return []
    one, other = (_said(", ".join(_short(seen.events)) for seen in all_seen) for all_seen in pair.both)
    if not any(seen.events for seen in pair.other.seen):
        return [pair.facet("events", one, "none: not a stream", Verdict.MATTERS, "a stream was asked for")]
    first, second = (frozenset[str]().union(*(seen.events for seen in all_seen)) for all_seen in pair.both)
    missing = sorted(first - second)
    why = f"no {', '.join(_short(missing))}" if missing else "another order" if pair.one and one != other else ""
    return [pair.facet("events", one, other, Verdict.MATTERS if why else Verdict.SAME, why)]


def _served(pair: _Pair) -> Facet:
    one, other = (_said(seen.served for seen in all_seen) for all_seen in pair.both)
    return pair.facet("served model", one, other)


def _warnings(pair: _Pair) -> Facet:
    first, second = ({word for seen in all_seen for word in seen.warnings} for all_seen in pair.both)
    grave = sorted((second - first) & set(DIFFERENCES))
    verdict = Verdict.MATTERS if grave else None
    return pair.facet("warnings", _listed(first), _listed(second), verdict, ", ".join(grave))


# --- the pictures


def _count(pair: _Pair) -> Facet:
    one, other = (_said(str(len(seen.pictures)) for seen in all_seen) for all_seen in pair.both)
    wanted = pair.asked.n if pair.asked.surface.is_images else 1
    short = any(len(seen.pictures) != wanted for seen in pair.other.seen)
    return pair.facet("pictures", one, other, Verdict.MATTERS if short else None, f"{wanted} asked" if short else "")


def _format(pair: _Pair) -> Facet:
    one, other = (_said(each.format for seen in all_seen for each in seen.pictures) for all_seen in pair.both)
    wanted = pair.asked.output_format or one
    wrong = bool(wanted) and other != wanted
    return pair.facet("format", one, other, Verdict.MATTERS if wrong else None, f"{wanted} expected" if wrong else "")


def _size(pair: _Pair) -> Facet:
    one, other = (_said(_sides(each) for seen in all_seen for each in seen.pictures) for all_seen in pair.both)
    asked = pair.asked.size or "auto"
    wanted = one if asked == "auto" else asked
    wrong = bool(wanted) and other != wanted
    if asked == "auto" and wrong:  # two models may choose two sizes
        return pair.facet("pixels", one, other, Verdict.NOTED)
    return pair.facet("pixels", one, other, Verdict.MATTERS if wrong else None, f"{wanted} asked" if wrong else "")


def _alpha(pair: _Pair) -> Facet:
    one, other = (_said(_clearness(seen) for seen in all_seen) for all_seen in pair.both)
    pixels = [each for seen in pair.other.seen for each in seen.pixels]
    is_drawn = any(facts.format != "svg" for seen in pair.other.seen for facts in seen.pictures)
    if is_drawn and any(each is None for each in pixels):
        return pair.facet("transparency", one, other, Verdict.MATTERS, "a picture cannot be decoded")
    if pair.asked.background == "transparent" and any(each is not None and not each.clear for each in pixels):
        return pair.facet("transparency", one, other, Verdict.MATTERS, "transparent was asked")
    return pair.facet("transparency", one, other)


def _likeness(pair: _Pair) -> list[Facet]:
    first, second = (next((each for seen in all_seen for each in seen.pixels if each), None) for all_seen in pair.both)
    apart = difference(first, second) if first is not None and second is not None else None
    if apart is None:
        return []
    said = "the same pixels" if apart == 0 else f"{100 * apart:.1f} % apart on average"
    return [pair.facet("likeness", "", said, Verdict.SAME if apart == 0 else Verdict.NOTED)]


def _bytes(pair: _Pair) -> Facet:
    one, other = (_said(f"{each.bytes:,}" for seen in all_seen for each in seen.pictures) for all_seen in pair.both)
    return pair.facet("bytes", one, other)


# --- what it took


def _usage(pair: _Pair) -> list[Facet]:
    first, second = (next((seen.usage for seen in all_seen if seen.usage), None) for all_seen in pair.both)
    if second is None:
        verdict = Verdict.MATTERS if first is not None else Verdict.NOTED
        return [pair.facet("usage", _tokens(first), "none told", verdict, "nothing to bill by")]
    why = ""
    one, other = _output(first), _output(second)
    if one and other and max(one, other) / min(one, other) > MORE_TOKENS:
        why = "another number of output tokens: another model or quality?"
    return [pair.facet("usage", _tokens(first), _tokens(second), Verdict.MATTERS if why else None, why)]


def _latency(pair: _Pair) -> Facet:
    one = 0.0 if pair.one is None else pair.one.took_s
    other = pair.other.took_s
    slower = pair.one is not None and other > SLOWER * one + SLOWER_S
    return pair.facet("latency", f"{one:.1f} s", f"{other:.1f} s", Verdict.NOTED if slower else Verdict.SAME)


def _cost(pair: _Pair) -> Facet:
    one, other = (_said(_money(seen.cost) for seen in all_seen) for all_seen in pair.both)
    is_open = any(seen.status == 200 and (seen.cost or {}).get("state") == "missing" for seen in pair.other.seen)
    why = "its row has no price that tells" if is_open else ""
    return pair.facet("cost", one, other, Verdict.NOTED if is_open else None, why)


def _record(pair: _Pair) -> Facet:
    one, other = (_said("; ".join(seen.record) or "as it came" for seen in all_seen) for all_seen in pair.both)
    doubts = {word for seen in pair.other.seen for word in seen.record}
    verdict = Verdict.MATTERS if doubts - {RECORD_UNREADABLE} else Verdict.NOTED if doubts else Verdict.SAME
    return pair.facet("our record", one, other, verdict)


# --- words


def _said(values: Iterable[str]) -> str:
    """List what all runs showed, each thing once."""
    return " | ".join(dict.fromkeys(values))


def _listed(values: Iterable[str]) -> str:
    return ", ".join(sorted(values)) or "none"


def _short(events: Sequence[str]) -> list[str]:
    prefixes = ("image_generation.", "image_edit.", "response.")
    return [next((event.removeprefix(one) for one in prefixes if event.startswith(one)), event) for event in events]


def _sides(image: ImageFacts) -> str:
    return f"{image.width}x{image.height}" if image.width and image.height else "unknown"


def _clearness(seen: Seen) -> str:
    pairs = zip(seen.pixels, seen.pictures, strict=True)
    return _said(_clear(pixels, "not made of pixels" if of.format == "svg" else "undecodable") for pixels, of in pairs)


def _clear(pixels: Pixels | None, otherwise: str) -> str:
    return f"{pixels.mode}, {100 * pixels.clear:.0f} % see-through" if pixels is not None else otherwise


def _output(usage: JsonObject | None) -> int:
    found = (usage or {}).get("output_tokens")
    return found if isinstance(found, int) else 0


def _tokens(usage: JsonObject | None) -> str:
    if usage is None:
        return "none told"
    counts = [f"{usage[name]} {name.removesuffix('_tokens')}" for name in _COUNTS if isinstance(usage.get(name), int)]
    return ", ".join(counts) or "told in other words"


def _money(cost: JsonObject | None) -> str:
    if cost is None:
        return "not told"
    amount = cost.get("amount_micro")
    return f"{decimal(amount)} {cost.get('currency')}, {cost.get('state')}" if isinstance(amount, int) else "unknown"
