"""The first ceilings, measured: ``python -m bench.house [--quick] [--json FILE]``.

The program is started as users start it, with a canned upstream behind it and a client that only reads. What is counted
is the gateway's own processor time and memory, as the system reports them, so the figures hold on a busy machine; only
the longest block is a wall-clock figure: the time for which a processor was busy with others is taken off it.
"""

import argparse
import asyncio
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.load import HEALTH, Connection, generation, run
from bench.process import ROOT, Watched, canned_upstream, served
from gateway import __version__

HOLD_S = 8.0
PROBE_EVERY_S = 0.005
WAITING = 1_000
PACKAGES = ("httptools", "orjson", "pybase64", "sqlalchemy", "starlette", "uvicorn", "uvloop")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured thing; ``ceiling`` absent: told for information."""

    name: str
    value: float
    unit: str
    ceiling: float | None = None
    note: str = ""

    @property
    def holds(self) -> bool:
        return self.ceiling is None or self.value < self.ceiling


async def small(gateway: Watched, connections: int, times: int) -> list[Figure]:
    """Processor time of the gateway per small generation."""
    await run(gateway.port, generation("small"), connections=connections, times=200)
    before = gateway.cpu_s()
    took_s = await run(gateway.port, generation("small"), connections=connections, times=times)
    cpu_ms = (gateway.cpu_s() - before) / times * 1000
    many = "1 connection" if connections == 1 else f"{connections} connections"
    return [
        Figure(name=f"small generation, {many}", value=cpu_ms, unit="ms CPU", ceiling=1.5, note=f"mean of {times:,}"),
        Figure(
            name=f"  throughput, {many}", value=times / took_s, unit="/s", note="client and upstream share the CPUs"
        ),
    ]


async def big(gateway: Watched, times: int) -> list[Figure]:
    """Processor time of the gateway per answer of 20 MB, and the longest block of its loop meanwhile."""
    client = [sys.executable, "-m", "bench.load", str(gateway.port), "big"]
    await (await asyncio.create_subprocess_exec(*client, "2", cwd=ROOT, stdout=subprocess.DEVNULL)).wait()
    before = gateway.cpu_s()
    fetching = await asyncio.create_subprocess_exec(*client, str(times), cwd=ROOT, stdout=subprocess.PIPE)
    out, _ = await fetching.communicate()
    cpu_ms = (gateway.cpu_s() - before) / times * 1000
    took = json.loads(out)
    fetching = await asyncio.create_subprocess_exec(*client, str(times), cwd=ROOT, stdout=subprocess.DEVNULL)
    delays = await probe(gateway, asyncio.ensure_future(fetching.wait()))
    alone = [own for _, own in delays]
    raw = max(whole for whole, _ in delays)
    note = f"{len(delays)} probes, p50 {percentile(alone, 50):.1f}, p99 {percentile(alone, 99):.1f}; raw {raw:.1f}"
    return [
        Figure(name="answer of 20 MB", value=cpu_ms, unit="ms CPU", ceiling=60.0, note=f"mean of {times}"),
        Figure(name="  its time, client's side", value=statistics.median(took) * 1000, unit="ms", note="median"),
        Figure(name="  longest block meanwhile", value=max(alone), unit="ms", ceiling=20.0, note=note),
    ]


async def probe(gateway: Watched, until: "asyncio.Future[int]") -> list[tuple[float, float]]:
    """Ask ``/healthz`` every 5 ms; gives what each answer took, in ms, and that without waits for a processor."""
    line = await Connection.to(gateway.port)
    asker = Watched(os.getpid(), 0)
    delays = []
    while not until.done():
        waited_s = gateway.waited_s() + asker.waited_s()
        started = time.perf_counter()
        await line.ask(HEALTH)
        took_s = time.perf_counter() - started
        waited_s = gateway.waited_s() + asker.waited_s() - waited_s
        delays.append((took_s * 1000, max(0.0, took_s - waited_s) * 1000))
        await asyncio.sleep(max(0.0, PROBE_EVERY_S - took_s))
    await line.close()
    return delays


async def waiting(gateway: Watched, upstream: Watched, count: int) -> list[Figure]:
    """Resident memory per request that waits for a slow upstream."""
    await run(gateway.port, generation("small"), connections=32, times=500)
    before = gateway.rss_bytes()
    lines = [await Connection.to(gateway.port) for _ in range(count)]
    connected = gateway.rss_bytes()
    asking = asyncio.gather(*(line.ask(generation("slow")) for line in lines))
    counter = await Connection.to(upstream.port)
    while int(await counter.ask(b"GET /held HTTP/1.1\r\n\r\n")) < count:
        if asking.done():
            await asking
            raise RuntimeError("the slow upstream did not hold every request at once")
        await asyncio.sleep(0.05)
    grown = gateway.rss_bytes() - before
    await asking
    for line in (counter, *lines):
        await line.close()
    note = f"of it {(connected - before) / count / 1000:.1f} for the client's connection"
    return [
        Figure(name=f"{count:,} waiting requests", value=grown / count / 1000, unit="kB each", ceiling=60, note=note)
    ]


def percentile(values: list[float], percent: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


async def measure(*, quick: bool) -> list[Figure]:
    times, bigs = (500, 5) if quick else (4_000, 30)
    figures: list[Figure] = []
    with canned_upstream(HOLD_S) as upstream:
        for part in range(3):  # each on a gateway of its own
            with tempfile.TemporaryDirectory() as directory, served(upstream, Path(directory)) as gateway:
                if part == 0:
                    figures += await small(gateway, 1, times) + await small(gateway, 32, times)
                elif part == 1:
                    figures += await big(gateway, bigs)
                else:
                    figures += await waiting(gateway, upstream, WAITING)
    return figures


def machine() -> dict[str, str]:
    """Say what was measured on."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "unknown"
    )
    return {
        "waybill": __version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} x {model}",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load": " ".join(f"{load:.1f}" for load in os.getloadavg()),
        **{name: version(name) for name in PACKAGES},
    }


def _lines(path: str) -> list[str]:
    file = Path(path)
    return file.read_text("utf-8").splitlines() if file.exists() else []


def show(where: dict[str, str], figures: list[Figure]) -> None:
    console = Console(width=None if sys.stdout.isatty() else 140)
    table = Table(
        title="Waybill: first ceilings", caption="; ".join(f"{name} {value}" for name, value in where.items())
    )
    for name in ("what", "measured", "ceiling", "", "how"):
        table.add_column(name, justify="right" if name in ("measured", "ceiling") else "left")
    for figure in figures:
        ceiling = "" if figure.ceiling is None else f"{figure.ceiling:g} {figure.unit}"
        verdict = "" if figure.ceiling is None else "[green]holds[/]" if figure.holds else "[red]MISSED[/]"
        table.add_row(figure.name, f"{figure.value:,.2f} {figure.unit}", ceiling, verdict, figure.note)
    console.print(table)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    options = parser.parse_args()
    if not Path("/proc/self/schedstat").exists():
        sys.exit("bench.house reads processor time from /proc, which this system does not have")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    where = machine()
    figures = asyncio.run(measure(quick=options.quick))
    show(where, figures)
    if options.json is not None:
        document = {**where, "figures": [{**asdict(figure), "holds": figure.holds} for figure in figures]}
        options.json.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    return 0 if all(figure.holds for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
