"""How long a target takes, by the size of what is asked: an average that forgets, for the policy ``fastest``.

What was seen counts half after ten minutes: an old figure fades towards zero, so that a target which once was slow is
tried again, and one that was never seen is tried first. Pure; times are seconds of one clock.
"""

from collections.abc import Mapping
from typing import Final, TypeAlias

from msgspec import Struct

from gateway.core.health import TargetId
from gateway.core.pixels import pixels_of
from gateway.core.types import Facts, Surface

SHARE_OF_NEW: Final = 0.3
HALF_LIFE_S: Final = 600.0
SMALL_PIXELS: Final = 1_572_864
LARGE_PIXELS: Final = 4_194_304


class Average(Struct, frozen=True, kw_only=True):
    """A decayed average of seconds, and when it last learnt."""

    seconds: float
    at: float


Latencies: TypeAlias = Mapping[tuple[TargetId, str], Average]


def size_class(facts: Facts) -> str:
    """Give the class of a request: ``turn``, or ``1K``, ``2K``, ``4K`` by pixels, ``auto`` when no size was asked."""
    if facts.surface is Surface.RESPONSES:
        return "turn"
    pixels = pixels_of(facts.size)
    if pixels is None:
        return "auto"
    if pixels <= SMALL_PIXELS:
        return "1K"
    return "2K" if pixels <= LARGE_PIXELS else "4K"


def learn(known: Latencies, target: TargetId, size: str, seconds: float, now: float) -> Latencies:
    """Take in one attempt's duration."""
    old = known.get((target, size))
    mixed = seconds if old is None else old.seconds + SHARE_OF_NEW * (seconds - old.seconds)
    return {**known, (target, size): Average(seconds=mixed, at=now)}


def expected_s(known: Latencies, target: TargetId, size: str, now: float) -> float:
    """Give the seconds to expect; 0 for what was never seen, and less the older the figure is."""
    average = known.get((target, size))
    if average is None:
        return 0.0
    halvings: float = max(0.0, now - average.at) / HALF_LIFE_S
    return average.seconds * float(0.5**halvings)


def remaining_s(known: Latencies, target: TargetId, facts: Facts, gone_s: float) -> float | None:
    """Give the seconds that are left of a call that has taken ``gone_s``; ``None`` for what was never seen."""
    average = known.get((target, size_class(facts)))
    return None if average is None else round(max(0.0, average.seconds - gone_s), 1)
