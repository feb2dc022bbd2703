"""The program with a watch on its event loop: ``python -m bench.heartbeat FILE serve …``; for ``bench.blocks``.

A timer of one millisecond beats on the loop. A beat that comes late means that something held the loop: how late it
came, how much processor time the loop's thread used meanwhile, and how long it waited for a processor (that is the
machine's doing) are noted, and what the thread was at is sampled by another thread. FILE gets the longest, as JSON.
"""

import asyncio
import gc
import json
import os
import sys
import threading
import time
import traceback
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Final

from gateway import launcher
from gateway.cli import main as waybill
from gateway.web.server import new_event_loop

BEAT_S: Final = 0.001
LATE_S: Final = 0.003
LOOK_S: Final = 0.002
KEPT: Final = 40
MOST_LOOKS: Final = 30
DEPTH: Final = 4
WRITE_S: Final = 0.5


@dataclass(slots=True, kw_only=True)
class Block:
    """One late beat, in milliseconds.

    ``cpu_ms``: of the loop's thread, ``process_ms``: of all threads; ``own_ms``: without what the loop waited for a
    processor; ``gc_ms``: of it in the collector; ``looks``: what it was at, every few milliseconds, innermost first.
    """

    at_s: float
    wall_ms: float
    cpu_ms: float
    process_ms: float
    own_ms: float
    gc_ms: float
    looks: list[str] = field(default_factory=list)


class Heart:
    """Beats on the loop, and keeps the longest pauses."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._thread = threading.get_ident()
        self._native = threading.get_native_id()
        self.blocks: list[Block] = []
        self.beats = 0
        self.looks: list[str] = []
        self._gc_s = self._gc_began = 0.0
        gc.callbacks.append(self._collector)
        self.last = time.perf_counter()
        self._cpu, self._process = time.thread_time(), time.process_time()
        self._waited = self._waited_s()

    def beat(self) -> None:
        now, waited = time.perf_counter(), self._waited_s()
        cpu, process = time.thread_time(), time.process_time()
        late = now - self.last - BEAT_S
        if late > LATE_S or cpu - self._cpu > LATE_S:
            own = max(0.0, late - (waited - self._waited))
            block = Block(
                at_s=now,
                wall_ms=late * 1000,
                cpu_ms=(cpu - self._cpu) * 1000,
                process_ms=(process - self._process) * 1000,
                own_ms=own * 1000,
                gc_ms=self._gc_s * 1000,
                looks=self.looks,
            )
            self.blocks = sorted([*self.blocks, block], key=lambda one: -max(one.own_ms, one.cpu_ms))[:KEPT]
        self.beats += 1
        self.looks, self.last, self._cpu, self._process = [], now, cpu, process
        self._waited, self._gc_s = waited, 0.0
        self._loop.call_later(BEAT_S, self.beat)

    def look(self) -> None:
        """Note what the loop's thread is at when a beat is overdue. Runs on another thread."""
        if time.perf_counter() - self.last > LATE_S + BEAT_S and len(self.looks) < MOST_LOOKS:
            frame: FrameType | None = sys._current_frames().get(self._thread)  # noqa: SLF001 - there is no other way
            stack = [f"{Path(at.filename).name}:{at.lineno} {at.name}" for at in traceback.extract_stack(frame)]
            self.looks.append(" < ".join(stack[: -DEPTH - 1 : -1]))

    def _collector(self, phase: str, _told: dict[str, int]) -> None:
        if phase == "start":
            self._gc_began = time.perf_counter()
        else:
            self._gc_s += time.perf_counter() - self._gc_began

    def _waited_s(self) -> float:
        with Path(f"/proc/self/task/{self._native}/schedstat").open("rb", buffering=0) as file:
            return int(file.read().split()[1]) / 1e9


def watch(heart: Heart, file: Path) -> None:
    """Look now and then, and write down what there is. Runs for ever on a thread of its own."""
    written = time.perf_counter()
    while True:
        time.sleep(LOOK_S)
        heart.look()
        if time.perf_counter() - written > WRITE_S:
            written = time.perf_counter()
            fresh = file.with_suffix(".fresh")
            document = {"beats": heart.beats, "now_s": written, "blocks": [asdict(one) for one in heart.blocks]}
            fresh.write_text(json.dumps(document), "utf-8")
            fresh.replace(file)


def main() -> None:
    file, plain = Path(sys.argv.pop(1)), new_event_loop

    def watched() -> asyncio.AbstractEventLoop:
        loop = plain()

        def begin() -> None:
            heart = Heart(loop)
            heart.beat()
            threading.Thread(target=watch, args=(heart, file), daemon=True).start()

        loop.call_later(0.2, begin)
        return loop

    vars(launcher)["new_event_loop"] = watched  # the program itself is not changed
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    waybill()


if __name__ == "__main__":
    main()
