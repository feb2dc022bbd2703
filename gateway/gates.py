"""How many calls may be under way at a channel, and how long a request waits for a place.

Per channel name, across reloads: a reload that changes ``max_in_flight`` takes effect for calls that come after it.
The wait is bounded in time and the line in length, so that one stalled channel costs its own requests a moment and the
others nothing.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field

WAIT_S = 2.0
LINE_PER_PLACE = 4


@dataclass(slots=True)
class _Gate:
    inside: int = 0
    line: deque[asyncio.Future[None]] = field(default_factory=deque)


class Gates:
    """Places per channel. ``enter`` and ``leave`` are called by the attempt loop only."""

    def __init__(self) -> None:
        self._gates: dict[str, _Gate] = {}

    async def enter(self, channel: str, limit: int, wait_s: float = WAIT_S) -> bool:
        """Take a place, waiting up to ``wait_s`` seconds in a line of at most 4 per place; ``False`` when none came."""
        gate = self._gates.setdefault(channel, _Gate())
        if gate.inside < limit:
            gate.inside += 1
            return True
        if len(gate.line) >= limit * LINE_PER_PLACE or wait_s <= 0:
            return False
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
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
        while gate.line:
            turn = gate.line.popleft()
            if not turn.done():
                turn.set_result(None)  # the place passes on, the count stays
                return
        gate.inside -= 1

    def inside(self, channel: str) -> int:
        """Give the number of calls under way at a channel."""
        gate = self._gates.get(channel)
        return gate.inside if gate else 0

    @staticmethod
    def _missed(gate: _Gate, turn: asyncio.Future[None]) -> bool:
        """Leave the line; ``True`` when the place came in the same moment after all."""
        if turn.done() and not turn.cancelled():
            return True
        if turn in gate.line:
            gate.line.remove(turn)
        return False
