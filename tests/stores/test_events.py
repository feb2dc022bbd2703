import io
import json
import os
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.core.types import JsonObject
from gateway.stores.events import JsonLines


@pytest.fixture
def pipe() -> Iterator[tuple[int, io.FileIO]]:
    """A pipe nobody reads yet: its reading end, and a raw stream into it."""
    reading, writing = os.pipe()
    with io.FileIO(writing, "wb") as stream:
        yield reading, stream
    os.close(reading)


def lines_of(data: bytes) -> list[JsonObject]:
    return [json.loads(line) for line in data.splitlines()]


def wait_for(claim: Callable[[], bool]) -> None:
    until = time.monotonic() + 3
    while not claim() and time.monotonic() < until:
        time.sleep(0.005)
    assert claim()


def drain(reading: int, until: Callable[[bytes], bool]) -> bytes:
    os.set_blocking(reading, False)
    data = b""
    deadline = time.monotonic() + 5
    while not until(data) and time.monotonic() < deadline:
        try:
            data += os.read(reading, 1 << 16)
        except BlockingIOError:
            time.sleep(0.005)
    return data


def test_events_come_out_in_order_one_a_line() -> None:
    sink = io.BytesIO()
    events = JsonLines(sink)
    for number in range(1_000):
        events.emit({"event": "request.finished", "n": number, "text": "a\nb"})
    assert events.close()
    assert [line["n"] for line in lines_of(sink.getvalue())] == list(range(1_000))
    assert events.dropped == 0


def test_an_event_is_written_at_once(pipe: tuple[int, io.FileIO]) -> None:
    reading, stream = pipe
    events = JsonLines(stream)
    events.emit({"event": "server.ready"})
    assert os.read(reading, 1_000) == b'{"event":"server.ready"}\n'
    assert events.close()


def test_a_blocked_sink_never_holds_up_the_caller_and_the_gap_is_told(pipe: tuple[int, io.FileIO]) -> None:
    reading, stream = pipe
    events = JsonLines(stream, queue_limit=50)
    slowest = 0.0
    for number in range(2_000):
        before = time.perf_counter()
        events.emit({"event": "request.finished", "n": number, "pad": "x" * 10_000})
        slowest = max(slowest, time.perf_counter() - before)
    assert slowest < 0.25
    wait_for(lambda: events.dropped > 1_000)
    missing = events.dropped
    assert not events.close(0.05)  # in bounded time, although nothing can be written
    told = lines_of(drain(reading, lambda data: b"log.dropped" in data and data.endswith(b"\n")))
    written = [line for line in told if line["event"] == "request.finished"]
    assert {"event": "log.dropped", "count": missing} in told
    assert len(written) + missing == 2_000
    assert events.close()


def test_a_sink_that_comes_back_takes_new_lines(pipe: tuple[int, io.FileIO]) -> None:
    reading, stream = pipe
    events = JsonLines(stream, queue_limit=10)
    for _ in range(500):
        events.emit({"event": "early", "pad": "x" * 10_000})
    wait_for(lambda: events.dropped > 0)
    drain(reading, lambda data: b"log.dropped" in data)
    events.emit({"event": "late"})
    assert b'{"event":"late"}\n' in drain(reading, lambda data: b"late" in data)
    assert events.close()


def test_a_sink_that_does_not_block_but_is_full_loses_nothing(pipe: tuple[int, io.FileIO]) -> None:
    reading, stream = pipe
    os.set_blocking(stream.fileno(), False)
    events = JsonLines(stream)
    for number in range(300):
        events.emit({"n": number, "pad": "x" * 1_000})
    data = drain(reading, lambda data: data.count(b"\n") == 300)
    assert [line["n"] for line in lines_of(data)] == list(range(300))
    assert events.close()


def test_a_sink_that_is_gone_is_counted_and_never_raises() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with io.FileIO(writing, "wb") as stream:
        events = JsonLines(stream)
        events.emit({"event": "lost"})
        wait_for(lambda: events.dropped == 1)
        assert not events.close()
        events.emit({"event": "after the end"})
    assert events.dropped == 2


def test_a_closed_sink_is_counted(tmp_path: Path) -> None:
    stream = (tmp_path / "log").open("wb")
    events = JsonLines(stream)
    stream.close()
    events.emit({"event": "lost"})
    wait_for(lambda: events.dropped == 1)
    events.close()


def test_what_a_full_disk_cut_spoils_no_other_line(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with (tmp_path / "log").open("wb", buffering=0) as stream:
        events = JsonLines(stream)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
        try:
            events.emit({"event": "cut", "pad": "x" * 200})
            wait_for(lambda: events.dropped == 1)
            events.emit({"event": "lost"})
            wait_for(lambda: events.dropped == 2)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        events.emit({"event": "after"})
        assert events.close()
    cut, *others = (tmp_path / "log").read_bytes().splitlines()
    assert len(cut) == 100
    assert [json.loads(line) for line in others] == [{"event": "after"}, {"event": "log.dropped", "count": 2}]


def test_a_buffered_stream_keeps_what_was_in_it_and_comes_first(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as stream:
        stream.write(b"before\n")
        events = JsonLines(stream)
        events.emit({"event": "after"})
        assert events.close()
    assert (tmp_path / "log").read_bytes() == b'before\n{"event":"after"}\n'


def test_no_value_stops_the_log() -> None:
    sink = io.BytesIO()
    events = JsonLines(sink)
    events.emit({"odd": 10**6000, "half": "\ud800", "nan": float("nan")})
    events.emit({"event": "next"})
    assert events.close()
    assert lines_of(sink.getvalue())[1] == {"event": "next"}
