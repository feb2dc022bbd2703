"""A few threads that do what would hold the event loop.

Rules: what is done is done to its end, also when nobody waits any more. The loop is told of everything that is done by
then in one call, since to wake it costs more than to tell it. One loop per crew. The threads end with the crew.
"""

import asyncio
import threading
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Final, TypeAlias, TypeVar, cast

from gateway.ports import StoreUnavailable

T = TypeVar("T")

_Task: TypeAlias = "tuple[Callable[[], object], asyncio.Future[object]]"
_FELL: Final = "a thread of the store has ended"


class Crew:
    """Threads that begin with the first pieces of work."""

    def __init__(self, size: int, name: str) -> None:
        self._size = size
        self._name = name
        self._shared = _Shared()
        self._threads: list[threading.Thread] = []
        weakref.finalize(self, _dismiss, self._shared.queue, size).atexit = False

    def do(self, work: Callable[[], T]) -> "asyncio.Future[T]":
        """Have it done; the future gets what it returns, or the ``OSError`` or ``StoreUnavailable`` it raises."""
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        if len(self._threads) < self._size + self._shared.fallen:
            self._hire()
        self._shared.queue.put((work, cast("asyncio.Future[object]", done)))
        return done

    def close(self) -> None:
        """End the threads, once all that was asked for is done; idempotent."""
        _dismiss(self._shared.queue, len(self._threads))
        for thread in self._threads:
            thread.join()

    def _hire(self) -> None:
        name = f"{self._name}-{len(self._threads)}"
        thread = threading.Thread(target=self._shared.work, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()


class _Shared:
    """What the threads hold of the crew: the work that waits, and what is done on its way back to the loop."""

    def __init__(self) -> None:
        self.queue: SimpleQueue[_Task | None] = SimpleQueue()
        self.fallen = 0  # threads that ended for a fault of ours
        self._done: deque[tuple[asyncio.Future[object], object, BaseException | None]] = deque()
        self._is_told = False  # that something is done

    def work(self) -> None:
        """Be a thread."""
        while (task := self.queue.get()) is not None:
            self._do(*task)

    def _do(self, work: Callable[[], object], done: "asyncio.Future[object]") -> None:
        result: object = None
        error: BaseException | None = None
        is_fallen = True
        try:
            result = work()
            is_fallen = False
        except (OSError, StoreUnavailable) as raised:
            error = raised
            is_fallen = False
        finally:
            if is_fallen:
                self.fallen += 1
                error = StoreUnavailable(_FELL)
            self._put(done, result, error)

    def _put(self, future: "asyncio.Future[object]", result: object, error: BaseException | None) -> None:
        self._done.append((future, result, error))
        if not self._is_told:
            self._is_told = True
            with suppress(RuntimeError):  # the loop is closed: nobody is left to tell
                future.get_loop().call_soon_threadsafe(self._give)

    def _give(self) -> None:
        """Tell the loop of all that is done."""
        self._is_told = False  # before it is taken: what comes now is told of again
        while self._done:
            future, result, error = self._done.popleft()
            if future.done():
                continue
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)


def _dismiss(queue: "SimpleQueue[_Task | None]", count: int) -> None:
    for _ in range(count):
        queue.put(None)
