"""What is measured: each scene asks one rival for one kind of work and gives its figures by name.

Processor time is the rival's own, per request or per byte that went through it. A figure whose name ends in ``added``
is given raw here: what ``direct`` needs is taken off when the table is made.
"""

import base64
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from bench.drain import Tally
from bench.process import ROOT
from bench.rivals import Rival
from bench.tree import Tree
from bench.upstream import png

MB: Final = 1_000_000
TARGET_S: Final = 3.0  # how long one measurement lasts about
QUICK_S: Final = 0.8
PICTURES: Final = 4
PICTURE: Final = 4 * MB
BOUNDARY: Final = "bench-boundary-7c1f"


class NotServed(Exception):
    """An answer was not 200."""


@dataclass(frozen=True, slots=True)
class Drain:
    """Runs ``bench.drain`` on its own processors."""

    cpus: frozenset[int]

    def start(self, port: int, request: bytes, connections: int, times: int) -> subprocess.Popen[str]:
        """Start one; its tally is on its standard output when it ends."""
        order = {
            "port": port,
            "request": base64.b64encode(request).decode(),
            "connections": connections,
            "times": times,
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.drain"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        os.sched_setaffinity(process.pid, self.cpus)
        assert process.stdin is not None
        json.dump(order, process.stdin)
        process.stdin.close()
        return process

    def run(self, port: int, request: bytes, connections: int, times: int) -> Tally:
        """Run one to its end. Raises ``NotServed`` when an answer was not 200."""
        with self.start(port, request, connections, times) as process:
            return tallied(process)


def tallied(process: subprocess.Popen[str]) -> Tally:
    """Read what a drain counted. Raises ``NotServed`` when an answer was not 200."""
    assert process.stdout is not None
    tally = Tally(**json.loads(process.stdout.read()))
    if tally.bad:
        raise NotServed(f"{tally.bad} answers were not 200; the first: {tally.said[:500]}")
    return tally


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """One rival, running. ``tree`` is absent for ``direct``."""

    rival: Rival
    port: int
    upstream: int
    drain: Drain
    quick: bool
    tree: Tree | None = None
    key: str = "sk-bench"

    def request(self, kind: str, body: bytes, content_type: str = "application/json", to: str = "generations") -> bytes:
        """Give a request's bytes."""
        headers = {
            "host": "127.0.0.1",
            "authorization": f"Bearer {self.key}",
            "content-type": content_type,
            "accept": "*/*",
            "content-length": str(len(body)),
            **self.rival.headers(kind, self.upstream),
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"POST {self.rival.path(kind)}/images/{to} HTTP/1.1\r\n{lines}\r\n".encode() + body

    def generation(self, kind: str, **more: bool | int) -> bytes:
        """Give a small request for one picture."""
        fields = {"model": kind, "prompt": "a lighthouse at night, " * 10, "size": "1024x1024", "n": 1, **more}
        return self.request(kind, json.dumps(fields).encode())

    def steady(self, request: bytes, connections: int) -> tuple[Tally, int, float]:
        """Warm up, find out how many requests fill the time, make them: the tally, how many, and CPU seconds."""
        goal_s = QUICK_S if self.quick else TARGET_S
        warm = self.drain.run(self.port, request, connections, connections * 2)
        times = max(connections * 2, min(20_000, int(goal_s / warm.took_s * connections * 2)))
        before = self.tree.cpu_s() if self.tree else 0.0
        tally = self.drain.run(self.port, request, connections, times)
        return tally, times, (self.tree.cpu_s() - before) if self.tree else 0.0


@contextmanager
def canned(faults: float = 0.0) -> Iterator[int]:
    """Run ``bench.canned`` on the processors that rivals do not use, so many percent of it faults; gives its port."""
    command = [sys.executable, "-m", "bench.canned", "--hold", "10", "--faults", str(faults)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        os.sched_setaffinity(process.pid, frozenset(os.sched_getaffinity(0) - {0}) or frozenset({0}))
        try:
            yield int(process.stdout.readline())
        finally:
            ended = process.poll()
            process.kill()
            if ended is not None:
                sys.stderr.write(f"the canned upstream had ended, with {ended}\n")


def small(bench: Bench) -> dict[str, float]:
    """Answers of 1 KB: processor time per request at 32 connections; time at one."""
    many, times, cpu_s = bench.steady(bench.generation("small"), 32)
    one, _, _ = bench.steady(bench.generation("small"), 1)
    figures = {
        "small answer, requests per second": times / many.took_s,
        "small answer, 1 connection, ms added": statistics.median(one.last_s) * 1000,
    }
    return figures | ({"small answer, CPU µs per request": cpu_s / times * 1e6} if bench.tree else {})


def large(bench: Bench) -> dict[str, float]:
    """Answers of 3 and 20 MB: bytes per second of processor time."""
    figures = {}
    for kind, connections in (("img3", 8), ("img20", 4)):
        tally, times, cpu_s = bench.steady(bench.generation(kind), connections)
        name = f"{kind.removeprefix('img')} MB answer"
        if bench.tree:
            figures[f"{name}, MB per CPU second"] = tally.came / cpu_s / MB
        figures[f"{name}, requests per second"] = times / tally.took_s
    return figures


def uploads(bench: Bench) -> dict[str, float]:
    """Edits with four pictures of 4 MB each: bytes both ways per second of processor time."""
    request = bench.request("small", form(), f"multipart/form-data; boundary={BOUNDARY}", "edits")
    tally, times, cpu_s = bench.steady(request, 4)
    return (
        {"upload 4 x 4 MB, MB per CPU second": (tally.came + len(request) * times) / cpu_s / MB} if bench.tree else {}
    )


def form() -> bytes:
    """Give the form of an edit of four pictures."""
    picture = png(64) + bytes(PICTURE)
    parts = [
        f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in (("model", "small"), ("prompt", "join them"))
    ]
    for number in range(PICTURES):
        head = (
            f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="image[]"; filename="{number}.png"\r\n'
            "content-type: image/png\r\n\r\n"
        )
        parts.append(head.encode() + picture + b"\r\n")
    return b"".join([*parts, f"--{BOUNDARY}--\r\n".encode()])


def streams(bench: Bench) -> dict[str, float]:
    """Sixteen streams at once: milliseconds until the first event."""
    request = bench.generation("sse", stream=True, partial_images=2)
    bench.drain.run(bench.port, request, 1, 1)  # who cannot do it says so once
    bench.drain.run(bench.port, request, 16, 32)
    tally = bench.drain.run(bench.port, request, 16, 64 if bench.quick else 320)
    ordered = sorted(tally.first_s)
    return {
        "first event of 16 streams, p50 ms added": statistics.median(ordered) * 1000,
        "first event of 16 streams, p95 ms added": ordered[int(len(ordered) * 0.95)] * 1000,
    }


def in_flight(bench: Bench) -> dict[str, float]:
    """A thousand requests, and five thousand, that wait ten seconds: memory of each, and what each takes."""
    figures = {}
    bench.drain.run(bench.port, bench.generation("small"), 32, 500)
    for count in (1_000,) if bench.quick else (1_000, 5_000):
        before = bench.tree.rss_bytes() if bench.tree else 0
        with bench.drain.start(bench.port, bench.generation("slow"), count, count) as process:
            time.sleep(8.0)
            held = (bench.tree.rss_bytes() if bench.tree else 0) - before
            tally = tallied(process)
        if bench.tree:
            figures[f"{count:,} in flight, kB each"] = held / count / 1000
        figures[f"{count:,} at once on 10 s, p50 s"] = statistics.median(tally.last_s)
    return figures


def peak(bench: Bench) -> dict[str, float]:
    """Sixty-four answers of 20 MB at once: memory at the peak, of each."""
    if bench.tree is None:
        return {}
    bench.drain.run(bench.port, bench.generation("img20"), 1, 2)
    before, most = bench.tree.rss_bytes(), Highest(bench.tree)
    bench.tree.forget_peak()
    with most.watched():
        bench.drain.run(bench.port, bench.generation("img20"), 64, 64)
    return {"64 answers of 20 MB at once, MB each": (max(most.bytes, bench.tree.peak_bytes()) - before) / 64 / MB}


class Highest:
    """Looks at the memory of a process now and then and keeps the most."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self.bytes = 0

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Look while the block runs."""
        over = threading.Event()

        def look() -> None:
            while not over.wait(0.05):
                self.bytes = max(self.bytes, self._tree.rss_bytes())

        thread = threading.Thread(target=look)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
