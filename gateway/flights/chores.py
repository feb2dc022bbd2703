"""What is done for flights that nobody waits for: filing what became of them."""

import asyncio
from collections.abc import Coroutine

from gateway.ports import Events


class Chores:
    """Tasks that run by themselves. There are no more of them than flights; one that fails is a bug, and is told."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._under_way: set[asyncio.Task[None]] = set()

    def add(self, work: Coroutine[None, None, None]) -> None:
        """Do it from now on."""
        task = asyncio.get_running_loop().create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._over)

    async def finish(self, within_s: float) -> None:
        """Wait for all of them, but no longer than this."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=within_s)

    def _over(self, task: "asyncio.Task[None]") -> None:
        self._under_way.discard(task)
        bug = None if task.cancelled() else task.exception()
        if bug is not None:
            self._events.emit({"event": "gateway.bug", "error": type(bug).__name__})
