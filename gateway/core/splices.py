"""What changes to a body come to, whoever asked for them: their order, and the body's length afterwards.

Rule: splices never overlap; each says its range in the body as it came.
"""

from collections.abc import Iterable

from gateway.core.types import Splice


def in_order(splices: Iterable[Splice]) -> tuple[Splice, ...]:
    """Give changes in the order in which they stand in the body."""
    return tuple(sorted(splices, key=lambda one: one.start))


def length_after(length: int, splices: Iterable[Splice]) -> int:
    """Give the bytes that a body of ``length`` has once it is changed."""
    return length + sum([len(one.text) - (one.end - one.start) for one in splices])
