"""What requests share, as the routes file says it: in this process, or through Redis with all replicas."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress

from gateway.core.health import Rule, Trouble
from gateway.ports import Clock, Events, Shared
from gateway.stores.shared_local import SharedLocal
from gateway.stores.shared_redis import SharedRedis

IN_MEMORY = "memory"
OK = "ok"


class Sharing:
    """The shared state and its life. ``start`` and ``stop`` belong to the event loop that serves."""

    def __init__(self, shared: SharedLocal | SharedRedis) -> None:
        self.shared: Shared = shared
        self._remote = shared if isinstance(shared, SharedRedis) else None
        self._life: asyncio.Future[None] | None = None

    @property
    def state(self) -> str:
        """How the store stands: ``memory``, ``ok``, or what holds while it is out of reach."""
        if self._remote is None:
            return IN_MEMORY
        return self._remote.fault or OK

    @property
    def is_up(self) -> bool:
        """Whether all that is shared can be reached."""
        return self._remote is None or self._remote.fault is None

    def start(self) -> None:
        """Talk with the other replicas from now on."""
        if self._remote is not None:
            self._life = asyncio.ensure_future(self._remote.live())

    async def stop(self) -> None:
        """Give back what is held, and say no more."""
        if self._life is not None:
            self._life.cancel()
            with suppress(asyncio.CancelledError):
                await self._life
        if self._remote is not None:
            await self._remote.close()


def open_sharing(
    url: str, rules: Mapping[Trouble, Rule], others: Callable[[], int], events: Events, clock: Clock
) -> Sharing:
    """Give what ``storage.shared`` names; empty: this process. Raises ``LedgerRefused`` when there is no client."""
    if not url:
        return Sharing(SharedLocal(rules))
    return Sharing(SharedRedis(url, others, events, clock, rules=rules))
