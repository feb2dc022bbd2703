"""Several serving processes behind one listening socket, and the one that minds them.

The minder serves nothing. It passes on what the workers log, whole lines only, so that no two of them mix; it hands
SIGTERM, SIGINT and SIGHUP on; a worker that ends by itself is said, and started again after a pause. One that ends
before it has served for a while could not start: then all end, with its exit code.
"""

import os
import selectors
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import orjson
from msgspec import Struct, field

from gateway.clock import SystemClock
from gateway.core.record import timestamp

PIECE = 65_536
LOOK_S = 0.5
AGAIN_S = 1.0
HANDED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
SETTLED_S = 10.0  # a worker that lived this long did start

Work = Callable[[int], int]


class _Worker(Struct, kw_only=True):
    """One process. ``rest``: the beginning of a line that is not whole yet."""

    number: int
    pid: int
    log: int
    since: float
    rest: bytes = field(default=b"")


def run_workers(count: int, work: Work) -> int:
    """Run ``work(number)`` in ``count`` processes, numbered from 1, until a signal ends them; gives the exit code.

    Call before the process has threads or an event loop: the workers are its copies.
    """
    return _Minder(work).run(count)


class _Minder:
    def __init__(self, work: Work) -> None:
        self._work = work
        self._selector = selectors.DefaultSelector()
        self._workers: dict[int, _Worker] = {}
        self._due: dict[int, float] = {}
        self._stopping = False
        self._code = 0

    def run(self, count: int) -> int:
        """Start the workers and mind them until the last has ended."""
        for one in HANDED_ON:
            signal.signal(one, self._hand_on)
        for number in range(1, count + 1):
            self._start(number)
        while self._workers or (self._due and not self._stopping):
            for key, _ in self._selector.select(LOOK_S):
                self._read(self._workers[key.data])
            for number, due in list(self._due.items()):
                if time.monotonic() >= due and not self._stopping:
                    del self._due[number]
                    self._start(number)
        return self._code

    def _start(self, number: int) -> None:
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            self._be(number, writing)
        os.close(writing)
        self._workers[number] = _Worker(number=number, pid=pid, log=reading, since=time.monotonic())
        self._selector.register(reading, selectors.EVENT_READ, number)

    def _be(self, number: int, writing: int) -> None:
        """Be a worker; never comes back."""
        code = 1
        try:
            for other in self._workers.values():
                os.close(other.log)
            self._selector.close()
            os.dup2(writing, sys.stdout.fileno())
            os.close(writing)
            for one in HANDED_ON:
                signal.signal(one, signal.SIG_DFL)
            code = self._work(number)
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)

    def _hand_on(self, number: int, _frame: FrameType | None) -> None:
        self._stopping = self._stopping or number != signal.SIGHUP
        for worker in self._workers.values():
            with suppress(ProcessLookupError):
                os.kill(worker.pid, number)

    def _read(self, worker: _Worker) -> None:
        piece = os.read(worker.log, PIECE)
        if not piece:
            self._ended(worker)
            return
        lines, end, worker.rest = (worker.rest + piece).rpartition(b"\n")
        _write(lines + end)

    def _ended(self, worker: _Worker) -> None:
        self._selector.unregister(worker.log)
        os.close(worker.log)
        del self._workers[worker.number]
        code = os.waitstatus_to_exitcode(os.waitpid(worker.pid, 0)[1])
        if self._stopping:
            self._code = self._code or max(0, code)
            return
        now = {"event": "worker.ended", "time": timestamp(SystemClock().now()), "worker": worker.number, "code": code}
        _write(orjson.dumps(now) + b"\n")
        if time.monotonic() - worker.since >= SETTLED_S:
            self._due[worker.number] = time.monotonic() + AGAIN_S
            return
        self._code = max(1, code)
        self._hand_on(signal.SIGTERM, None)


def _write(lines: bytes) -> None:
    """Write whole lines to standard output; a reader that left gets none."""
    left = memoryview(lines)
    with suppress(BrokenPipeError):
        while left:
            left = left[os.write(sys.stdout.fileno(), left) :]
