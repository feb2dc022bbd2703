"""Makes the ids of a process: of requests, attempts, flights, keys, pictures and spans, out of its clock and its dice.

An id tells its time, so that newest first is largest first; the rest of it nobody can guess.
"""

from gateway.core.ids import RANDOM_BYTES, new_id
from gateway.dice import Dice
from gateway.ports import Clock

SPAN_BYTES = 8


class Mint:
    """One set serves all requests of the process."""

    __slots__ = ("_clock", "_dice")

    def __init__(self, clock: Clock, dice: Dice) -> None:
        self._clock = clock
        self._dice = dice

    def new(self, prefix: str) -> str:
        """Give a new id: ``prefix_`` and 32 hexadecimal digits."""
        now_ms = int(self._clock.now().timestamp() * 1000)
        return new_id(prefix, now_ms, self._dice.random_bytes(RANDOM_BYTES))

    def span_id(self) -> str:
        """Give the id of a span: 64 random bits, not all of them zero."""
        return f"{int.from_bytes(self._dice.random_bytes(SPAN_BYTES)) or 1:016x}"
