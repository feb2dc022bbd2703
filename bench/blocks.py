"""The longest block of the event loop under mixed load: ``python -m bench.blocks [--seconds 20] [--json FILE]``.

Small requests, answers of 3 and 20 MB, uploads of 16 MB and streams at once, ``/metrics`` and ``/api`` pages meanwhile,
with everything on. The program runs with a heart on its loop (``bench.heartbeat``); a block is a turn of the loop, with
all that was ready in it. What is held to the ceiling is the processor time that the loop's thread took in one turn:
that holds on a busy machine. Beside it stands the time with what it waited for the interpreter's lock and the disk, but
without what it waited for a processor; where the whole process did next to nothing meanwhile, it was the machine (a
host that takes the processor away). Exit code 1 when the longest turn is over the ceiling.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from bench.heartbeat import Block
from bench.house import machine
from bench.rivals import Place, Start, running, waybill, waybill_of
from bench.scenes import Bench, Drain, canned, form
from bench.soak import figures

CEILING_MS: Final = 10.0
KINDS: Final = ("small", "img3", "img20", "sse")
WARM_S: Final = 2.0
IDLE: Final = 0.3  # of a block's time: with less processor time than that, it was the machine's


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the heart told: the longest blocks, and how often it beat."""

    beats: int
    blocks: list[Block]

    @property
    def own(self) -> list[Block]:
        """Give the late beats in which the process was at work."""
        return [one for one in self.blocks if one.process_ms > one.own_ms * IDLE]

    @property
    def longest_ms(self) -> float:
        """Give the most processor time of the loop's thread in a turn."""
        return max((one.cpu_ms for one in self.blocks), default=0.0)


@contextmanager
def serving() -> Iterator[tuple[Bench, Path]]:
    """Run the program with a heart on its loop."""

    def start(place: Place) -> Start:
        plain = waybill_of(place, KINDS)
        python, _, _, *words = plain.argv
        return replace(plain, argv=(python, "-m", "bench.heartbeat", str(place.work / "heart.json"), *words))

    rival = replace(waybill(), start=start)
    with (
        canned() as upstream,
        tempfile.TemporaryDirectory() as work,
        running(rival, Path(work), upstream) as (_, port, started),
    ):
        drain = Drain(cpus=frozenset(os.sched_getaffinity(0)))
        yield (
            Bench(rival=rival, port=port, upstream=upstream, drain=drain, quick=True, key=started.key),
            Path(work) / "heart.json",
        )


def loads(bench: Bench) -> dict[str, tuple[bytes, int]]:
    """Give the kinds of request, each with its connections."""
    upload = bench.request("small", form(), "multipart/form-data; boundary=bench-boundary-7c1f", "edits")
    return {
        "small": (bench.generation("small"), 4),
        "img3": (bench.generation("img3"), 1),
        "img20": (bench.generation("img20"), 1),
        "upload": (upload, 1),
        "sse": (bench.generation("sse", stream=True, partial_images=2), 8),
    }


async def pages(port: int) -> None:
    """Ask for the figures now and then, as a scraper does."""
    while True:
        await figures(port)
        await asyncio.sleep(1.0)


async def run(bench: Bench, heart: Path, seconds: float, only: str) -> Found:
    """Load it for so long; gives what the heart told since it was warm."""
    drains = [
        bench.drain.start(bench.port, request, connections, 1_000_000)
        for name, (request, connections) in loads(bench).items()
        if not only or name in only.split(",")
    ]
    scraping = asyncio.ensure_future(pages(bench.port))
    try:
        await asyncio.sleep(WARM_S)
        before = _told(heart)
        await asyncio.sleep(seconds)
    finally:
        scraping.cancel()
        for drain in drains:
            drain.kill()
            drain.wait()
    after = _told(heart)
    fresh = [Block(**one) for one in after["blocks"] if one["at_s"] > before["now_s"]]
    return Found(beats=after["beats"] - before["beats"], blocks=fresh)


def _told(heart: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(heart.read_text("utf-8"))
    return document


def show(found: Found) -> None:
    """Print the longest blocks, and what they were at."""
    load = os.getloadavg()[0]
    print(f"longest turn {found.longest_ms:.1f} ms of {CEILING_MS:g} (CPU); {found.beats:,} beats; load {load:.1f}")
    print(f"  with waits for the lock and the disk: {max((one.own_ms for one in found.own), default=0.0):.1f} ms")
    others = max((one.own_ms for one in found.blocks if one not in found.own), default=0.0)
    print(f"  the machine's: {others:.1f} ms")
    for one in found.own[:8]:
        told = f"wall {one.wall_ms:.1f}, CPU {one.cpu_ms:.1f}, all threads {one.process_ms:.1f}"
        print(f"  {one.own_ms:6.1f} ms ({told}, collector {one.gc_ms:.1f})")
        for look, times in Counter(one.looks).most_common(3):
            print(f"     {times:4} x {look}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--only", default="", metavar="NAME,…", help="small, img3, img20, upload, sse")
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    with serving() as (bench, heart):
        found = asyncio.run(partial(run, seconds=given.seconds, only=given.only)(bench, heart))
    show(found)
    if given.json is not None:
        given.json.write_text(json.dumps({**machine(), "longest_ms": found.longest_ms}, indent=1) + "\n", "utf-8")
    return 0 if found.longest_ms <= CEILING_MS else 1


if __name__ == "__main__":
    sys.exit(main())
