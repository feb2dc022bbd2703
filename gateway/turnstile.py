"""What a key may ask for in a minute and at the same time: counted when a request comes, before its body is read.

Rules: the pictures of a request are counted once it has been read. What is refused here counts nothing; what is refused
later, before anything was sent, gets its pictures back, and its place in the minute too when the key may not use what
it asks for. A key without limits is never looked up. Must never wait: a key that has used up its share is told when to
come back.
"""

import math
from typing import Final

from msgspec import Struct

from gateway.core.limits import Level, Rate
from gateway.core.principal import Principal
from gateway.core.types import Refusal
from gateway.ports import Ask, Clock, Shared

REQUESTS: Final = "requests"
IMAGES: Final = "images"
CROWDED_RETRY_S: Final = 1.0

Headers = tuple[tuple[bytes, bytes], ...]

_NAMES: Final = {
    what: (
        f"x-ratelimit-limit-{what}".encode(),
        f"x-ratelimit-remaining-{what}".encode(),
        f"x-ratelimit-reset-{what}".encode(),
    )
    for what in (REQUESTS, IMAGES)
}


class Passed(Struct, frozen=True, kw_only=True):
    """A request that may go on, or not; ``headers`` say how its key stands. ``room`` is to be left at its end."""

    headers: Headers = ()
    refusal: Refusal | None = None
    room: str | None = None


class Turnstile:
    """Counts for all keys. One instance serves all requests of the process."""

    def __init__(self, shared: Shared, clock: Clock) -> None:
        self._shared = shared
        self._clock = clock

    async def enter(self, principal: Principal) -> Passed:
        """Let a request in: one of its key's minute, and one of its places."""
        limits = principal.limits
        counted = await self._draw(principal, REQUESTS, limits.requests_per_minute, 1)
        if counted.refusal is not None or limits.at_once is None:
            return counted
        room = f"key {principal.scope}"
        if not await self._shared.enter(room, limits.at_once):
            return Passed(headers=counted.headers, refusal=_crowded(limits.at_once))
        return Passed(headers=counted.headers, room=room)

    async def draw(self, principal: Principal, images: int) -> Passed:
        """Count the pictures that a request asks for; more than a minute allows will never pass."""
        most = principal.limits.images_per_minute
        if most is not None and images > most:
            return Passed(refusal=_never(most))
        return await self._draw(principal, IMAGES, principal.limits.images_per_minute, images)

    async def restore(self, principal: Principal, *, requests: int, images: int) -> Headers:
        """Take back what was counted; gives how the key stands then."""
        limits, headers = principal.limits, Headers()
        for what, per_minute, pieces in (
            (REQUESTS, limits.requests_per_minute, requests),
            (IMAGES, limits.images_per_minute, images),
        ):
            headers += (await self._draw(principal, what, per_minute, -pieces)).headers
        return headers

    def leave(self, passed: Passed) -> None:
        """Give the place back that a request had."""
        if passed.room is not None:
            self._shared.leave(passed.room)

    async def _draw(self, principal: Principal, what: str, per_minute: int | None, pieces: int) -> Passed:
        if per_minute is None:
            return Passed()
        rate = Rate(per_minute=per_minute, bucket=True)
        ask = Ask(key=f"key {principal.scope} {what}", rate=rate, pieces=pieces)
        drawn = await self._shared.draw((ask,), self._clock.monotonic())
        return Passed(
            headers=_said(what, drawn.levels[0]),
            refusal=_too_many(what, per_minute, drawn.wait_s) if drawn.wait_s > 0 else None,
        )


def _said(what: str, level: Level) -> Headers:
    """Say how a rate stands in the API's own headers."""
    limit, remaining, reset = _NAMES[what]
    return (
        (limit, b"%d" % level.rate.per_minute),
        (remaining, b"%d" % level.left),
        (reset, span(level.full_in_s).encode()),
    )


def span(seconds: float) -> str:
    """Write a duration as the API does: ``120ms``, ``1s``, ``6m0s``."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    whole = math.ceil(seconds)
    return f"{whole // 60}m{whole % 60}s" if whole >= 60 else f"{whole}s"


def _too_many(what: str, per_minute: int, wait_s: float) -> Refusal:
    message = f"This key may ask for {per_minute} {what} in a minute. Nothing was sent; try again later."
    return Refusal(status=429, code="rate_limit_exceeded", message=message, retry_after_s=wait_s)


def _never(most: int) -> Refusal:
    message = f"This key may ask for {most} images in a minute: no request for more can be served."
    return Refusal(status=400, code="invalid_value", message=message, param="n")


def _crowded(at_once: int) -> Refusal:
    message = f"This key may have {at_once} requests under way at the same time. Nothing was sent; try again later."
    return Refusal(status=429, code="rate_limit_exceeded", message=message, retry_after_s=CROWDED_RETRY_S)
