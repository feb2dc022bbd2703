"""A long run: ``python -m bench.soak [--requests 10000] [--minutes 30] [--laps 12] [--json FILE]``.

Requests of all kinds (small answers, 1 to 20 MB, uploads, streams, clients that leave and come back) at an even pace, a
part of them answered by faults. They come in laps; after each one the gateway is left alone until nothing is under way,
and looked at from outside: resident memory, descriptors, threads, tasks, files. Whatever grows from lap to lap leaks.
At the end every connection is gone, the books hold every request, and none is open.

Memory is judged by the slope of a line through the laps after the first third, which warms caches. Before the first lap
more large bodies are under way at once than any lap has, so that the allocator has seen its most.
Exit code 1 when something leaks, when an answer is not what the upstream sent, or when anything but a fault failed.
"""

import argparse
import asyncio
import hashlib
import json
import random
import re
import sqlite3
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

from bench.canned import SIZES
from bench.growth import form
from bench.house import machine
from bench.rivals import Place, Start, running, waybill, waybill_of
from bench.scenes import BOUNDARY, Bench, Drain, canned
from bench.tree import Tree
from bench.upstream import answer

KINDS: Final = ("small", "img1", "img3", "img20", "sse")
WEIGHTS: Final = {"small": 62, "img1": 8, "img3": 4, "img20": 2, "upload": 6, "sse": 12, "leaves": 6}
WORKERS: Final = 24
FAULTS: Final = 5.0
SEED: Final = 7
BACKOFF_S: Final = 0.4  # as an SDK waits; a retry that is faster than the news of the hang-up would be another request
PATIENCE_S: Final = 60.0
CALM_S: Final = 15.0  # until nothing is under way
SLOPE_BYTES: Final = 500.0  # a request, over a long run
NOISE_BYTES: Final = 6_000_000  # what a short run may grow by for other reasons
PEAK: Final = ("img20", "img20", "img20", "img3", "img3", "upload", "upload", "upload")  # at once, to begin with
SPARE: Final = 2
POOLS: Final = 4  # threads of bounded pools, each with a connection to the ledger, that may first be needed late
EXPECTED: Final = re.compile(
    r"waybill\.db(-wal|-shm|\.lock)?|server\.json|prompt\.key|spool\.lock|assets/[0-9a-f]{2}/[0-9a-f]{2,64}(/[0-9a-f]{64})?(\.\w+)?"
)


@dataclass(slots=True, kw_only=True)
class Tally:
    """What came of the requests, by kind and outcome; ``wrong`` are answers that are not what was sent."""

    ends: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    sent: int = 0

    def add(self, kind: str, end: str) -> None:
        name = f"{kind} {end}"
        self.ends[name] = self.ends.get(name, 0) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Lap:
    """The gateway at rest, after so many requests."""

    requests: int
    rss_bytes: int
    descriptors: int
    sockets: int
    threads: int
    tasks: int
    odd_files: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All of it."""

    laps: Sequence[Lap]
    end: Lap
    tally: Tally
    booked: int
    left_open: int
    seconds: float

    @property
    def judged(self) -> Sequence[Lap]:
        """Give the laps after the first third."""
        return self.laps[len(self.laps) // 3 :]

    @property
    def bytes_per_request(self) -> float:
        """Give the slope of memory."""
        xs, ys = [lap.requests for lap in self.judged], [lap.rss_bytes for lap in self.judged]
        return statistics.linear_regression(xs, ys).slope if len(xs) > 1 else 0.0

    def faults(self) -> list[str]:
        """Say what is not as it should be."""
        found = list(self.tally.wrong[:10])
        judged = self.judged
        span = judged[-1].requests - judged[0].requests
        if self.bytes_per_request * span > SLOPE_BYTES * span + NOISE_BYTES:
            found.append(f"memory grows by {self.bytes_per_request:,.0f} bytes a request")
        for name in ("descriptors", "threads", "tasks"):
            values = [getattr(lap, name) for lap in judged]
            if values[-1] > values[0] + POOLS:
                found.append(f"{name} grow: {values}")
        if self.end.sockets > judged[0].sockets + 1 and self.end.sockets > min(lap.sockets for lap in judged):
            found.append(f"{self.end.sockets} sockets are left, {min(lap.sockets for lap in judged)} were before")
        found += [f"a file is left: {name}" for name in self.end.odd_files]
        if self.booked != self.tally.sent or self.left_open:
            found.append(f"{self.tally.sent} were sent, {self.booked} are booked, {self.left_open} of them open")
        served = sum(count for end, count in self.tally.ends.items() if end.endswith(" 200"))
        if served < sum(self.tally.ends.values()) * 0.85:
            found.append(f"only {served} requests were served")
        return found


class Caller:
    """Makes requests, one connection for each, and compares what comes with what the upstream sent."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._requests = {kind: bench.generation(kind) for kind in ("small", "img1", "img3", "img20")}
        self._requests["sse"] = bench.generation("sse", stream=True, partial_images=2)
        upload = form(2.0)
        self._requests["upload"] = bench.request("small", upload, f"multipart/form-data; boundary={BOUNDARY}", "edits")
        self._bodies = {kind: _digest(kind) for kind in ("small", "img1", "img3", "img20")}
        self._bodies["upload"] = self._bodies["small"]

    async def call(self, kind: str, tally: Tally, leaves_after_s: float) -> None:
        """Make one request."""
        tally.sent += 1
        try:
            async with asyncio.timeout(PATIENCE_S):
                end = await self._call(kind, leaves_after_s, tally)
        except (ConnectionError, asyncio.IncompleteReadError):
            end = "cut"
        except TimeoutError:
            end = "late"
            tally.wrong.append(f"{kind}: no answer within {PATIENCE_S:g} s")
        tally.add(kind, end)

    async def _call(self, kind: str, leaves_after_s: float, tally: Tally) -> str:
        if kind != "leaves":
            return await self._ask(kind, self._requests[kind], tally)
        request = self._bench.generation("img3", number=tally.sent)  # as no other: its retry finds its own flight
        _, writer = await asyncio.open_connection("127.0.0.1", self._bench.port)
        writer.write(request)
        await writer.drain()
        await asyncio.sleep(leaves_after_s)
        writer.close()
        await asyncio.sleep(BACKOFF_S)
        tally.sent += 1
        return await self._ask("img3", request, tally)

    async def _ask(self, kind: str, request: bytes, tally: Tally) -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._bench.port, limit=1 << 20)
        try:
            writer.write(request)
            await writer.drain()
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            status = int(head.split(b" ", 2)[1])
            length = re.search(rb"\r\ncontent-length: (\d+)", head)
            body = await (_chunks(reader) if length is None else reader.readexactly(int(length[1])))
        finally:
            writer.close()
        if kind == "sse":
            whole = b"image_generation.completed" in body or b"event: error" in body or status != 200
            tally.wrong += [] if whole else [f"sse: ended without a last event after {len(body)} bytes"]
            return str(status) if b"event: error" not in body else "error event"
        if status == 200 and hashlib.sha256(body).hexdigest() != self._bodies[kind]:
            tally.wrong.append(f"{kind}: an answer of {len(body)} bytes is not what the upstream sent")
        if status != 200 and b'"error"' not in body:
            tally.wrong.append(f"{kind}: {status} without an error: {body[:200]!r}")
        return str(status)


def _digest(kind: str) -> str:
    return hashlib.sha256(answer(SIZES[kind.encode()]).partition(b"\r\n\r\n")[2]).hexdigest()


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    pieces = []
    while size := int(await reader.readline(), 16):
        pieces.append(await reader.readexactly(size))
        await reader.readexactly(2)
    await reader.readexactly(2)
    return b"".join(pieces)


async def lap(caller: Caller, tally: Tally, kinds: Sequence[str], pace_s: float) -> None:
    """Make these requests at an even pace, at most ``WORKERS`` at once."""
    draw, places = random.Random(tally.sent), asyncio.Semaphore(WORKERS)

    async def one(kind: str) -> None:
        try:
            await caller.call(kind, tally, draw.random() * 0.05)
        finally:
            places.release()

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number, kind in enumerate(kinds):
            await asyncio.sleep(max(0.0, started + number * pace_s - time.perf_counter()))
            await places.acquire()
            group.create_task(one(kind))


async def figures(port: int) -> dict[str, float]:
    """Read the gateway's own figures."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /metrics HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")
    text = (await reader.read()).decode()
    writer.close()
    return {name: float(value) for name, value in re.findall(r"^(\w+(?:\{[^}]*\})?) ([0-9.e+-]+)$", text, re.MULTILINE)}


async def calm(port: int) -> dict[str, float]:
    """Wait until nothing is under way; gives the figures of then. Raises ``RuntimeError`` when that never comes."""
    busy: dict[str, float] = {}
    for _ in range(round(CALM_S / 0.1)):
        found = await figures(port)
        # An answer whose client never came back is held for a quarter of an hour: that is no leak.
        spool = () if found["waybill_flights_unclaimed"] else ("spool_bytes",)
        names = ("requests_in_flight", "flights_aloft", "ledger_unwritten", "queue_depth", *spool)
        busy = {
            name: value
            for name, value in found.items()
            if value and name.removeprefix("waybill_").startswith(names) and name != "waybill_requests_in_flight"
        }
        if not busy and found["waybill_requests_in_flight"] <= 1:  # this call may count
            return found
        await asyncio.sleep(0.1)
    raise RuntimeError(f"still under way after {CALM_S:g} s: {busy}")


async def look(bench: Bench, data: Path, requests: int) -> Lap:
    """Look at the gateway once it is at rest."""
    found = await calm(bench.port)
    return _lap(bench, data, requests, round(found["waybill_tasks"]))


def _lap(bench: Bench, data: Path, requests: int, tasks: int) -> Lap:
    assert bench.tree is not None
    descriptors = _descriptors(bench.tree.pid)
    names = (path.relative_to(data).as_posix() for path in data.rglob("*") if path.is_file())
    return Lap(
        requests=requests,
        rss_bytes=bench.tree.rss_bytes(),
        descriptors=sum(count for kind, count in descriptors.items() if kind != "socket"),
        sockets=descriptors["socket"],
        threads=sum(1 for _ in Path(f"/proc/{bench.tree.pid}/task").iterdir()),
        tasks=tasks,
        odd_files=tuple(sorted(name for name in names if not EXPECTED.fullmatch(name))),
    )


def _descriptors(pid: int) -> Counter[str]:
    kinds: Counter[str] = Counter()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            kinds["socket" if str(entry.readlink()).startswith("socket:") else "other"] += 1
        except OSError:
            continue
    return kinds


def _books(data: Path) -> tuple[int, int]:
    """Count the requests in the ledger, and those of them that are open."""
    with sqlite3.connect(f"file:{data / 'waybill.db'}?mode=ro", uri=True) as connection:
        [(total, left)] = connection.execute("SELECT COUNT(*), SUM(state = 'open') FROM requests").fetchall()
    return int(total), int(left or 0)


async def soak(bench: Bench, data: Path, *, requests: int, minutes: float, laps: int) -> Report:
    """Make all requests; gives what was seen."""
    draw = random.Random(SEED)
    kinds = draw.choices(list(WEIGHTS), list(WEIGHTS.values()), k=requests)
    caller, tally, seen = Caller(bench), Tally(), []
    for _ in range(3):
        await lap(caller, tally, PEAK, pace_s=0.0)
    started = time.perf_counter()
    for at in range(laps):
        part = kinds[at * requests // laps : (at + 1) * requests // laps]
        await lap(caller, tally, part, minutes * 60 / requests)
        seen.append(await look(bench, data, tally.sent))
        sys.stderr.write(f"{said(seen[-1])}\n")
    took_s = time.perf_counter() - started
    end = await look(bench, data, tally.sent)
    for _ in range(20):  # connections to the upstream are kept for some seconds
        if end.sockets <= min(one.sockets for one in seen):
            break
        await asyncio.sleep(0.5)
        end = await look(bench, data, tally.sent)
    booked, left_open = _books(data)
    return Report(laps=seen, end=end, tally=tally, booked=booked, left_open=left_open, seconds=took_s)


@contextmanager
def serving(faults: float) -> Iterator[tuple[Bench, Path]]:
    """Run the program, with channels to fall back to, beside an upstream that fails now and then."""

    def start(place: Place) -> Start:
        return waybill_of(place, KINDS, spare=SPARE)

    rival = replace(waybill(), start=start)
    with (
        canned(faults) as upstream,
        tempfile.TemporaryDirectory() as work,
        running(rival, Path(work), upstream) as (pid, port, started),
    ):
        bench = Bench(rival=rival, port=port, upstream=upstream, drain=Drain(cpus=frozenset({0})), quick=True,
                      tree=Tree(pid), key=started.key)  # fmt: skip
        yield bench, Path(work) / "data"


def run(*, requests: int, minutes: float, laps: int, faults: float = FAULTS) -> Report:
    """Run it all."""
    with serving(faults) as (bench, data):
        return asyncio.run(partial(soak, requests=requests, minutes=minutes, laps=laps)(bench, data))


def said(one: Lap) -> str:
    """Say a lap in a line."""
    return (
        f"  {one.requests:6} requests: {one.rss_bytes / 1e6:6.1f} MB, {one.descriptors} descriptors, "
        f"{one.sockets} sockets, {one.threads} threads, {one.tasks} tasks, {len(one.odd_files)} odd files"
    )


def show(report: Report) -> None:
    """Print what was seen."""
    print(f"{report.tally.sent:,} requests in {report.seconds / 60:.1f} minutes; how they ended:")
    for end, count in sorted(report.tally.ends.items()):
        print(f"  {end:20} {count:6}")
    for one in (*report.laps, report.end):
        print(said(one))
    print(f"memory: {report.bytes_per_request:+,.0f} bytes a request after the first third")
    print(f"books: {report.booked} of {report.tally.sent}, {report.left_open} open")
    print("\n".join(report.faults()) or "nothing leaks")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--minutes", type=float, default=30.0, help="at least so long")
    parser.add_argument("--laps", type=int, default=12)
    parser.add_argument("--faults", type=float, default=FAULTS, metavar="PERCENT")
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    report = run(requests=given.requests, minutes=given.minutes, laps=given.laps, faults=given.faults)
    show(report)
    if given.json is not None:
        document = {**machine(), **asdict(report), "bytes_per_request": report.bytes_per_request}
        given.json.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    return 1 if report.faults() else 0


if __name__ == "__main__":
    sys.exit(main())
