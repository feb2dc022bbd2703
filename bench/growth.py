"""How the cost of a request grows: ``python -m bench.growth [--quick] [--only NAME,…] [--json FILE] [--svg FILE]``.

Processor time of the gateway for one request, against the size of an answer, the size of an upload, connections, rows
that the ledger holds already, and routes in the file. All points of a series are measured in turns, so that the
machine's moods fall on all of them; a point is the median of its turns. What should be linear gets a straight line
through all points (least squares of the relative error), what should be flat a line over the logarithm.

A series holds when nothing grows faster than it may: the far end of a flat one costs no more than ``FLAT`` times its
median (it may get cheaper: requests share commits), the last stretch of a linear one is no more than ``STEEPER`` times
as steep as its line. Exit code 1 otherwise.
"""

import argparse
import json
import math
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from bench.gate import Work, ask
from bench.house import machine
from bench.million import fill
from bench.plot import Plot, sheet
from bench.rivals import Place, Start, running, waybill, waybill_of
from bench.scenes import BOUNDARY, MB, Bench, Drain, canned
from bench.tree import Tree
from bench.upstream import png
from bench.yardstick import WORDS

TURNS: Final = 7
FLAT: Final = 1.15
STEEPER: Final = 1.3
SMALL_TIMES: Final = 256
ANSWERS: Final = {"small": 0.0007, "img01": 0.1, "img1": 1.0, "img3": 3.0, "img8": 8.0, "img20": 20.0, "img40": 40.0}
UPLOADS: Final = (1.0, 4.0, 16.0, 22.0, 28.0, 48.0, 96.0)  # memory takes up to 24 MiB of a body
CONNECTIONS: Final = (1, 4, 16, 64, 256)
ROWS: Final = (1_000, 10_000, 100_000, 1_000_000)
ROUTES: Final = (1, 10, 100, 1_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One point: where it lies, and what gives the milliseconds of a request there."""

    x: float
    cost_ms: Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """What was measured: ``(x, milliseconds)``, and how it may grow."""

    name: str
    across: str
    is_linear: bool
    points: Sequence[tuple[float, float]]

    @property
    def line(self) -> tuple[float, float]:
        """Give where the line begins and how steep it is: by a unit when linear, else by a decade."""
        return fitted([(x if self.is_linear else math.log10(x), y) for x, y in self.points])

    def at(self, x: float) -> float:
        """Give the line's height."""
        start, slope = self.line
        return start + slope * (x if self.is_linear else math.log10(x))

    @property
    def excess(self) -> float:
        """Give what a bound holds: the last stretch's steepness over the line's, or the far end over the median."""
        if not self.is_linear:
            return self.points[-1][1] / statistics.median(y for _, y in self.points)
        (x1, y1), (x2, y2) = self.points[-2:]
        return (y2 - y1) / (x2 - x1) / self.line[1]

    @property
    def holds(self) -> bool:
        return self.excess <= (STEEPER if self.is_linear else FLAT)

    @property
    def told(self) -> str:
        """Say the slope in words."""
        start, slope = self.line
        if self.is_linear:
            return f"{start:.2f} ms + {slope:.3f} ms per MB"
        return f"{slope:+.3f} ms per decade ({slope / statistics.median(y for _, y in self.points):+.1%})"


def fitted(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Give start and slope of the line that misses the points by the least, each relative to its own height."""
    weights = [1 / y**2 for _, y in points]
    total = sum(weights)
    mean_x = sum(w * x for w, (x, _) in zip(weights, points, strict=True)) / total
    mean_y = sum(w * y for w, (_, y) in zip(weights, points, strict=True)) / total
    spread = sum(w * (x - mean_x) ** 2 for w, (x, _) in zip(weights, points, strict=True))
    slope = sum(w * (x - mean_x) * (y - mean_y) for w, (x, y) in zip(weights, points, strict=True)) / spread
    return mean_y - slope * mean_x, slope


def cost_ms(bench: Bench, work: Work) -> float:
    """Make a turn's requests; gives the gateway's processor time for one."""
    assert bench.tree is not None
    before = bench.tree.cpu_s()
    ask(bench, work, work.times)
    return (bench.tree.cpu_s() - before) / work.times * 1000


def in_turns(points: Sequence[Point], turns: int) -> list[tuple[float, float]]:
    """Measure every point once in each turn, after one that does not count; gives the medians."""
    found: list[list[float]] = [[] for _ in points]
    for number in range(turns + 1):
        sys.stderr.write(f"  turn {number} of {turns}\n")
        for at, point in enumerate(points):
            cost = point.cost_ms()
            if number:
                found[at].append(cost)
    return [(point.x, statistics.median(costs)) for point, costs in zip(points, found, strict=True)]


@contextmanager
def serving(upstream: int, *, kinds: Sequence[str] = ("small",), rows: int = 0, routes: int = 0) -> Iterator[Bench]:
    """Run the program with a ledger of so many requests, and so many routes."""

    def start(place: Place) -> Start:
        if rows:
            (place.work / "data").mkdir(mode=0o700)
            fill(f"sqlite:///{place.work / 'data' / 'waybill.db'}", rows).dispose()
        return waybill_of(place, kinds, idle_routes=max(0, routes - len(kinds)))

    rival = replace(waybill(), start=start)
    with tempfile.TemporaryDirectory() as work, running(rival, Path(work), upstream) as (pid, port, started):
        drain = Drain(cpus=frozenset(os.sched_getaffinity(0)))
        yield Bench(rival=rival, port=port, upstream=upstream, drain=drain, quick=True, tree=Tree(pid), key=started.key)


def small(bench: Bench, connections: int = 32, times: int = SMALL_TIMES) -> Work:
    """Give a turn of small generations."""
    return Work(
        name="small",
        request=bench.generation("small"),
        connections=connections,
        times=max(times, connections),
        yardstick=WORDS,
    )


def point(bench: Bench, x: float, work: Work) -> Point:
    return Point(x=x, cost_ms=partial(cost_ms, bench, work))


def by_answer(stack: ExitStack, upstream: int) -> list[Point]:
    bench = stack.enter_context(serving(upstream, kinds=tuple(ANSWERS)))
    works = {
        size: Work(
            name=kind,
            request=bench.generation(kind),
            connections=2,
            times=max(2, int(48 / (1 + size))),
            yardstick=WORDS,
        )
        for kind, size in ANSWERS.items()
    }
    return [point(bench, size, work) for size, work in works.items()]


def by_upload(stack: ExitStack, upstream: int) -> list[Point]:
    bench = stack.enter_context(serving(upstream))
    works = {}
    for size in UPLOADS:
        request = bench.request("small", form(size), f"multipart/form-data; boundary={BOUNDARY}", "edits")
        works[size] = Work(
            name="upload", request=request, connections=2, times=max(2, int(32 / (1 + size))), yardstick=WORDS
        )
    return [point(bench, size, work) for size, work in works.items()]


def by_connections(stack: ExitStack, upstream: int) -> list[Point]:
    bench = stack.enter_context(serving(upstream))
    return [point(bench, count, small(bench, count, SMALL_TIMES * 2)) for count in CONNECTIONS]


def by_rows(stack: ExitStack, upstream: int, most: int = ROWS[-1]) -> list[Point]:
    benches = {rows: stack.enter_context(serving(upstream, rows=rows)) for rows in ROWS if rows <= most}
    return [point(bench, rows, small(bench)) for rows, bench in benches.items()]


def by_routes(stack: ExitStack, upstream: int) -> list[Point]:
    benches = {count: stack.enter_context(serving(upstream, routes=count)) for count in ROUTES}
    return [point(bench, count, small(bench)) for count, bench in benches.items()]


def form(megabytes: float) -> bytes:
    """Give the form of an edit of one picture."""
    head = f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="'
    text = "".join(f'{head}{name}"\r\n\r\n{value}\r\n' for name, value in (("model", "small"), ("prompt", "a boat")))
    text += f'{head}image"; filename="a.png"\r\ncontent-type: image/png\r\n\r\n'
    return text.encode() + png(64) + bytes(round(megabytes * MB)) + f"\r\n--{BOUNDARY}--\r\n".encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A series that can be measured."""

    name: str
    across: str
    is_linear: bool
    points: Callable[[ExitStack, int], list[Point]]


KINDS: Final = {
    "answers": Kind(name="size of the answer", across="MB", is_linear=True, points=by_answer),
    "uploads": Kind(name="size of an upload", across="MB", is_linear=True, points=by_upload),
    "connections": Kind(name="connections at once", across="connections", is_linear=False, points=by_connections),
    "rows": Kind(name="requests in the ledger", across="rows", is_linear=False, points=by_rows),
    "routes": Kind(name="routes in the file", across="routes", is_linear=False, points=by_routes),
}


def measure(only: Sequence[str], turns: int) -> list[Series]:
    """Measure the series of these names."""
    found = []
    with canned() as upstream:
        for name in only:
            kind = KINDS[name]
            sys.stderr.write(f"{kind.name}\n")
            with ExitStack() as stack:
                points = in_turns(kind.points(stack, upstream), turns)
            found.append(Series(name=kind.name, across=kind.across, is_linear=kind.is_linear, points=points))
    return found


def show(found: Sequence[Series]) -> None:
    """Print the table."""
    table = Table(title="Processor time of a request: how it grows", caption=f"load {os.getloadavg()[0]:.1f}")
    for name in ("against", "from", "to", "slope", "bound", ""):
        table.add_column(name)
    for series in found:
        ends = [f"{y:.2f} ms at {x:g} {series.across}" for x, y in (series.points[0], series.points[-1])]
        bound = f"{series.excess:.2f} of {STEEPER if series.is_linear else FLAT:g}"
        verdict = ("linear" if series.is_linear else "does not grow") if series.holds else "[red]GROWS[/]"
        table.add_row(series.name, *ends, series.told, bound, verdict)
    Console(width=None if sys.stdout.isatty() else 150).print(table)


def drawn(found: Sequence[Series]) -> str:
    """Give the plots."""
    return sheet(
        [
            Plot(
                title=f"CPU against {series.name}",
                across=series.across,
                upward="ms CPU a request",
                points=series.points,
                line=series.at,
                is_log=not series.is_linear,
            )
            for series in found
        ]
    )


def as_json(found: Sequence[Series]) -> str:
    """Give the figures."""
    rows = [
        {
            "name": series.name,
            "across": series.across,
            "expected": "linear" if series.is_linear else "flat",
            "holds": series.holds,
            "start_ms": round(series.line[0], 4),
            "slope_ms": round(series.line[1], 4),
            "points": [[x, round(y, 4)] for x, y in series.points],
        }
        for series in found
    ]
    return json.dumps({**machine(), "series": rows}, indent=1) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two turns, and no ledger of a million")
    parser.add_argument("--only", default="", metavar="NAME,…", help=", ".join(KINDS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the plots there")
    given = parser.parse_args()
    if given.quick:
        KINDS["rows"] = replace(KINDS["rows"], points=partial(by_rows, most=10_000))
    found = measure([name for name in given.only.split(",") if name] or list(KINDS), 2 if given.quick else TURNS)
    show(found)
    for file, text in ((given.json, as_json), (given.svg, drawn)):
        if file is not None:
            file.write_text(text(found), "utf-8")
    return 0 if all(series.holds for series in found) else 1


if __name__ == "__main__":
    sys.exit(main())
