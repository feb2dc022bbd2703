"""How many calls may be under way at a channel, and how long a request waits for a place.

Per channel name, across reloads: a reload that changes ``max_in_flight`` takes effect for calls that come after it.
The wait is bounded in time and the line in length, and who has somewhere else to go waits only for a pool that moves.
So one stalled channel costs its own requests a moment and the others nothing. A guest has a place that nobody else
needs, and goes as soon as somebody does. It must never look at rates: those are numbers (``core.limits``), these are
places.
"""

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct, field

from gateway.core.limits import WAIT_S, frees_in_time

LINE_PER_PLACE = 4
SHARE_OF_NEW = 0.3


class Guest(Protocol):
    """Has a place until somebody needs it."""

    def evict(self) -> None:
        """Take note that the place is another's now."""
        ...


class _Gate(Struct):
    inside: int = 0  # guests included
    guests: deque[Guest] = field(default_factory=deque)  # the one that came first goes first
    limit: int = 0  # as it was asked for last
    line: deque[asyncio.Future[None]] = field(default_factory=deque)
    moved_at: float = 0.0  # when a place last came free, or the pool last had one
    pace_s: float | None = None  # between two places that came free in a full pool, lately

    def moves(self, now: float) -> None:
        """Note that a place comes free."""
        if self.inside >= self.limit:
            gap_s = now - self.moved_at
            self.pace_s = gap_s if self.pace_s is None else self.pace_s + SHARE_OF_NEW * (gap_s - self.pace_s)
        self.moved_at = now

    def free(self) -> None:
        """Give a place to the next in line, or nobody."""
        while self.line:
            turn = self.line.popleft()
            if not turn.done():
                turn.set_result(None)  # the place passes on, the count stays
                return
        self.inside -= 1


class Gates:
    """Places per channel. The roster enters and leaves for attempts; ``visit``, ``stay`` and ``go`` are for guests."""

    def __init__(self) -> None:
        self._gates: dict[str, _Gate] = {}

    async def enter(self, channel: str, limit: int, wait_s: float = WAIT_S, *, patient: bool = True) -> bool:
        """Take a place, waiting up to ``wait_s`` seconds in a line of at most 4 per place; ``False`` when none came.

        ``patient``: there is nowhere else to go, so the wait is worth it even when no place is expected in time.
        """
        gate = self._gates.setdefault(channel, _Gate())
        gate.limit = limit
        loop = asyncio.get_running_loop()
        if gate.inside < limit:
            gate.inside += 1
            gate.moved_at = loop.time()
            return True
        if gate.guests:
            gate.guests.popleft().evict()  # the place passes on, the count stays
            return True
        if len(gate.line) >= limit * LINE_PER_PLACE or wait_s <= 0:
            return False
        if not (patient or frees_in_time(len(gate.line), loop.time() - gate.moved_at, gate.pace_s, wait_s)):
            return False
        turn: asyncio.Future[None] = loop.create_future()
        gate.line.append(turn)
        try:
            async with asyncio.timeout(wait_s):
                await turn
        except TimeoutError:
            return self._missed(gate, turn)
        except asyncio.CancelledError:
            if not self._missed(gate, turn):
                raise
            self.leave(channel)
            raise
        return True

    def leave(self, channel: str) -> None:
        """Give the place to the next in line, or free it."""
        gate = self._gates[channel]
        gate.moves(asyncio.get_running_loop().time())
        gate.free()

    def visit(self, channel: str, limit: int, guest: Guest) -> bool:
        """Take a place for as long as nobody else needs it; ``False`` when none is free."""
        gate = self._gates.setdefault(channel, _Gate())
        gate.limit = limit
        if gate.inside >= limit:
            return False
        gate.inside += 1
        gate.guests.append(guest)
        return True

    def stay(self, channel: str, guest: Guest) -> bool:
        """Make a guest's place one like any other, to be left by ``leave``; ``False`` when it has none any more."""
        guests = self._gates[channel].guests
        if guest not in guests:
            return False
        guests.remove(guest)
        return True

    def go(self, channel: str, guest: Guest) -> None:
        """Free a guest's place, if it has one still; that says nothing of how soon a call ends."""
        if self.stay(channel, guest):
            self._gates[channel].free()

    def inside(self, channel: str) -> int:
        """Give the number of calls under way at a channel."""
        gate = self._gates.get(channel)
        return gate.inside if gate else 0

    def load(self) -> Mapping[str, int]:
        """Give the number of calls under way at each channel that has any."""
        return {name: gate.inside for name, gate in self._gates.items() if gate.inside}

    @staticmethod
    def _missed(gate: _Gate, turn: asyncio.Future[None]) -> bool:
        """Leave the line; ``True`` when the place came in the same moment after all."""
        if turn.done() and not turn.cancelled():
            return True
        if turn in gate.line:
            gate.line.remove(turn)
        return False
