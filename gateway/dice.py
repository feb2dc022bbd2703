"""Chance: rolls for weights and jitter, and random bytes for ids, without asking the system each time.

Rules: what makes an id unguessable comes from the system's own source, of which a store is fetched at once and each
byte given once; a roll decides nothing secret, so an ordinary generator does. Made by each process for itself, after it
has started: two processes never share a store.
"""

import os
from collections.abc import Callable
from random import Random
from typing import Final

STORE: Final = 4_096  # bytes fetched at once; a call to the system takes as long as two dozen of ours


class Dice:
    """One set serves the event loop of a process. ``source`` gives so many random bytes."""

    __slots__ = ("_at", "_source", "_store", "roll")

    def __init__(self, source: Callable[[int], bytes] = os.urandom) -> None:
        self._source = source
        self._store = b""
        self._at = 0
        self.roll = Random(source(16)).random  # noqa: S311 - decides nothing secret; a number in [0, 1)

    def random_bytes(self, count: int) -> bytes:
        """Give ``count`` random bytes, at most ``STORE``, that nobody else gets."""
        if self._at + count > len(self._store):
            self._store, self._at = self._source(STORE), 0
        given = self._store[self._at : self._at + count]
        self._at += count
        return given
