"""Log lines: one JSON object a line, written by one thread, so that a stuck sink never holds up a request.

Rules: ``emit`` only puts a value into a bounded queue. A full queue, a sink that fails and a value that is no JSON
drop the line and count it; once the sink takes lines again one ``log.dropped`` line says how many are missing, in their
place. Lines are never cut, but for the last one when the process ends while the sink is stuck, and for one of which the
sink took a part before it failed: that one is ended before the next.
"""

import io
import queue
import threading
import time
from collections.abc import Callable
from typing import BinaryIO

from gateway.core.types import JsonObject
from gateway.stores.jsontext import encode

QUEUE_LIMIT = 8_192
BATCH_LINES = 256
FULL_SINK_PAUSE_S = 0.05
CLOSE_GRACE_S = 2.0

_LINE_END = ord("\n")


def _unheard(_event: JsonObject) -> None:
    """Nobody listens."""


class JsonLines:
    """Implements ``ports.Events`` on a binary stream (usually stdout's), which it does not close.

    A buffered stream is flushed once and then bypassed: a thread stuck inside its lock could not be left behind when
    the interpreter ends. ``heard`` is given every event, also one that is dropped; it must neither wait nor raise.
    """

    def __init__(
        self,
        stream: BinaryIO | io.RawIOBase,
        *,
        queue_limit: int = QUEUE_LIMIT,
        heard: Callable[[JsonObject], None] = _unheard,
    ) -> None:
        self._sink = stream
        self._heard = heard
        if isinstance(stream, io.BufferedWriter):
            stream.flush()
            self._sink = stream.raw
        self._limit = queue_limit
        self._queue: queue.SimpleQueue[JsonObject | None] = queue.SimpleQueue()
        self._lock = threading.Lock()  # held for one addition at a time
        self._missing = 0
        self._dropped = 0
        self._closed = False
        self._torn = False  # the sink ends in the middle of a line
        self._thread = threading.Thread(target=self._live, name="log-writer", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Lines dropped since the start."""
        return self._dropped

    @property
    def queued(self) -> int:
        """Lines that wait to be written."""
        return self._queue.qsize()

    def emit(self, event: JsonObject) -> None:
        """Queue one line. Never blocks and never raises; a full queue drops and counts."""
        if self._closed or self._queue.qsize() >= self._limit:
            self._drop(1)
        else:
            self._queue.put(event)
        self._heard(event)

    def close(self, grace_s: float = CLOSE_GRACE_S) -> bool:
        """Write what is queued for at most ``grace_s``; whether all of it got out. Idempotent."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
        self._thread.join(grace_s)
        return not self._thread.is_alive() and self._missing == 0

    def _drop(self, count: int) -> None:
        with self._lock:
            self._missing += count
            self._dropped += count

    # --- everything below runs in the thread ---

    def _live(self) -> None:
        open_ended = True
        while open_ended:
            events, open_ended = self._next()
            self._write_batch(events)

    def _next(self) -> tuple[list[JsonObject], bool]:
        events: list[JsonObject] = []
        event = self._queue.get()
        while event is not None:
            events.append(event)
            if len(events) >= BATCH_LINES or self._queue.empty():
                return events, True
            event = self._queue.get()
        return events, False

    def _write_batch(self, events: list[JsonObject]) -> None:
        lines = [encode(event) for event in events]
        with self._lock:
            missing, self._missing = self._missing, 0
        if missing:
            lines.append(encode({"event": "log.dropped", "count": missing}))
        if not lines:
            return
        try:
            self._write((b"\n" if self._torn else b"") + b"\n".join(lines) + b"\n")
        except (OSError, ValueError):  # the sink is gone, or closed
            with self._lock:
                self._missing += missing + len(events)
                self._dropped += len(events)

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                written = self._sink.write(rest)
            except BlockingIOError as error:
                written = error.characters_written
            if not written:
                time.sleep(FULL_SINK_PAUSE_S)  # a non-blocking pipe that is full
                continue
            self._torn = data[-len(rest) + written - 1] != _LINE_END
            rest = rest[written:]
        self._sink.flush()
