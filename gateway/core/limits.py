"""How much may be asked of a channel or by a key, and how often a request may be repeated: the sums, without a clock.

A rate is kept by the generic cell rate algorithm: one number per rate, the theoretical arrival time. No half-open
minute holds more than the stated number, a tenth of which may come at once. A single request that asks for more pieces
than come at once goes when nothing is owed, and what it took is owed. What a key may ask is a bucket of one minute's
allowance that fills up again evenly: all of it may come at once.

The retry budget is a purse: each request earns a fifth of an attempt, each further attempt costs one, and it starts at
three. Only repeats ask whether it holds one; a fallback is made in any case, and leaves less for repeats. So in any run
of N requests at most 0.2 N + 3 are repeats, whatever the routes say. Times are seconds of one clock.
"""

from typing import Final

from msgspec import Struct

WAIT_S: Final = 2.0  # how long a request waits for a channel's rate or place, at most
MINUTE_S: Final = 60.0
_ROUNDING: Final = 1e-6  # of a piece, or of a second
BURST_SHARE: Final = 10  # a tenth of a minute's allowance may come at once

EARNED_PER_REQUEST: Final = 0.2
REPEATS_AT_START: Final = 3.0
PURSE: Final = 10.0  # what a calm hour can save up


class Rate(Struct, frozen=True, kw_only=True):
    """At most ``per_minute`` pieces in any minute; ``bucket``: all at once if need be, then one after the other."""

    per_minute: int
    bucket: bool = False

    @property
    def at_once(self) -> int:
        """How many may come in one moment."""
        return self.per_minute if self.bucket else max(1, self.per_minute // BURST_SHARE)

    @property
    def interval_s(self) -> float:
        """Seconds between two pieces when the burst is used up: burst and flow together stay under the minute's sum."""
        if self.bucket:
            return MINUTE_S / self.per_minute
        return MINUTE_S / (self.per_minute - self.at_once + 1)


class Reserved(Struct, frozen=True, kw_only=True):
    """A place in the flow: send after ``wait_s``; ``arrival`` is the rate's new state."""

    wait_s: float
    arrival: float


def reserve(rate: Rate, arrival: float, pieces: int, now: float) -> Reserved:
    """Say when ``pieces`` may go and what the rate's state is once they did; ``arrival`` 0: nothing was asked yet.

    Fewer than none: so many are given back.
    """
    interval_s = rate.interval_s
    at_once = max(rate.at_once, pieces)
    after = max(arrival, now) + pieces * interval_s
    wait_s = after - at_once * interval_s - now
    if wait_s < _ROUNDING:  # what clocks with large numbers leave over is no wait
        wait_s = 0.0
    return Reserved(wait_s=wait_s, arrival=max(now, after))


class Level(Struct, frozen=True, kw_only=True):
    """How a rate stands: ``left`` pieces may go at once, and after ``full_in_s`` nothing is owed."""

    rate: Rate
    left: int
    full_in_s: float


class Drawn(Struct, frozen=True, kw_only=True):
    """What became of a request for pieces: taken when ``wait_s`` is 0, else nothing was; how the rates stand now."""

    wait_s: float
    levels: tuple[Level, ...]


def level(rate: Rate, arrival: float, now: float) -> Level:
    """Say how a rate stands."""
    owed_s, interval_s = max(0.0, arrival - now), rate.interval_s
    left = int((rate.at_once * interval_s - owed_s) / interval_s + _ROUNDING)
    return Level(rate=rate, left=max(0, left), full_in_s=owed_s)


def earn(purse: float) -> float:
    """Give the purse after a request's first attempt."""
    return min(PURSE, purse + EARNED_PER_REQUEST)


def may_repeat(purse: float) -> bool:
    """Whether the purse holds a whole repeat."""
    return purse >= 1.0


def spend(purse: float) -> float:
    """Give the purse after an attempt that was not a request's first."""
    return max(0.0, purse - 1.0)


def frees_in_time(waiting: int, idle_s: float, per_place_s: float | None, wait_s: float = WAIT_S) -> bool:
    """Whether a full pool can be expected to have a place for the one who comes after ``waiting`` others.

    ``idle_s``: since a place last came free (or since the pool filled). ``per_place_s``: between two that came free
    while others waited, lately; absent: not known, so it is tried. A pool in which nothing moves is not waited for.
    """
    if idle_s >= wait_s:
        return False
    return per_place_s is None or (waiting + 1) * per_place_s <= wait_s


def busyness(inside: int, limit: int) -> float:
    """Give the share of a channel's places that is taken; over 1 while a reload has just lowered the limit."""
    return inside / limit
