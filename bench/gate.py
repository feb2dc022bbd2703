"""Holds what a request costs: ``python -m bench.gate [--json FILE]``, ``make gate``; exit code 1 when it grew.

The program runs as users run it, with everything on (a key, the ledger, the store, records, prices, metrics), beside a
canned upstream. In turns, many short ones, it answers small requests, then answers of 20 MB, then uploads; before and
after each turn fixed work (``bench.yardstick``) is done by this process. A cost is the gateway's processor time for a
request over the processor time of the yardstick beside it. The ceilings are data: ``bench/ceilings.yaml``.

Why this is sound on a machine that does other things too:

- Processor time is counted, by the kernel and to the nanosecond, never wall time: waiting for a processor is free.
- What others do still makes work dearer (cold caches, a slower clock, a host that takes the processor away), but it
  does so to the yardstick as well, which ran some milliseconds before and after. Only the ratio is looked at. The
  yardstick is done several times and the least counts, so that a moment's disturbance of it hides nothing.
- What is left of noise mostly adds, to some turns. So a cost is the lower quartile of the turns' ratios: a cost that
  grew has grown in every turn, a busy neighbour disturbs some of them, and one lucky turn decides nothing.
- While a ceiling seems broken, a whole round of turns is taken again, twice at most, and the best round counts: a bad
  half minute does not fail a change, and a request that really costs more than its ceiling does so in every round.
- The same program gives the same ratio within a tenth, quiet or beside a test suite in two processes; a ceiling lies a
  third above. A request that grew by less than that room can pass; one that grew by more cannot.

A yardstick in instructions would be steadier still, but counting them takes a privilege that most machines withhold.
"""

import argparse
import base64
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import uvloop
import yaml

from bench.drain import Order, drain
from bench.rivals import running, waybill
from bench.scenes import BOUNDARY, Bench, Drain, canned, form
from bench.tree import Tree
from bench.yardstick import BYTES, WORDS

CEILINGS: Final = Path(__file__).with_name("ceilings.yaml")
TURNS: Final = 8
ROUNDS: Final = 3  # of turns, at most
SETTLE_S: Final = 0.03  # what a turn leaves behind it is written by then
YARDSTICKS: Final = 5  # on each side of a turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceiling:
    """What one kind of request may cost, and what it did cost when that was set."""

    name: str
    ceiling: float
    measured: float
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One kind of request: its bytes, over how many connections, how many in a turn, and what it is compared with."""

    name: str
    request: bytes
    connections: int
    times: int
    yardstick: Callable[[], float]


@dataclass(slots=True, kw_only=True)
class Cost:
    """What rounds of turns found: ratios, and the processor time of a request in milliseconds."""

    ceiling: Ceiling
    rounds: list[list[float]] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """Give the lower quartile of a round's turns, of the best round."""
        return min(statistics.quantiles(ratios, n=4)[0] for ratios in self.rounds)

    @property
    def holds(self) -> bool:
        return self.ratio <= self.ceiling.ceiling


def read_ceilings(path: Path = CEILINGS) -> dict[str, Ceiling]:
    """Read the data."""
    document = yaml.safe_load(path.read_text("utf-8"))
    return {name: Ceiling(name=name, **fields) for name, fields in document["ceilings"].items()}


def works(bench: Bench) -> list[Work]:
    """Give the kinds of request."""
    upload = bench.request("small", form(), f"multipart/form-data; boundary={BOUNDARY}", "edits")
    return [
        Work(name="small", request=bench.generation("small"), connections=32, times=192, yardstick=WORDS),
        Work(name="answer_20_mb", request=bench.generation("img20"), connections=2, times=2, yardstick=BYTES),
        Work(name="upload_16_mb", request=upload, connections=2, times=2, yardstick=BYTES),
    ]


@contextmanager
def gateway() -> Iterator[Bench]:
    """Run the program beside a canned upstream."""
    with (
        canned() as upstream,
        tempfile.TemporaryDirectory() as place,
        running(waybill(), Path(place), upstream) as (pid, port, start),
    ):
        everywhere = Drain(cpus=frozenset(os.sched_getaffinity(0)))
        yield Bench(
            rival=waybill(), port=port, upstream=upstream, drain=everywhere, quick=True, tree=Tree(pid), key=start.key
        )


def ask(bench: Bench, work: Work, times: int) -> None:
    """Make so many requests. Raises ``RuntimeError`` when one is not served."""
    order = Order(
        port=bench.port, request=base64.b64encode(work.request).decode(), connections=work.connections, times=times
    )
    tally = uvloop.run(drain(order))
    if tally.bad or len(tally.last_s) != times:
        raise RuntimeError(f"{work.name}: {tally.bad} of {times} answers were not 200: {tally.said[:500]}")
    time.sleep(SETTLE_S)


def turn(bench: Bench, work: Work, cost: Cost) -> None:
    """Take one turn, between yardsticks."""
    assert bench.tree is not None
    beside = [work.yardstick() for _ in range(YARDSTICKS)]
    before = bench.tree.cpu_s()
    ask(bench, work, work.times)
    cpu_s = (bench.tree.cpu_s() - before) / work.times
    beside += [work.yardstick() for _ in range(YARDSTICKS)]
    cost.rounds[-1].append(cpu_s / min(beside))
    cost.cpu_ms.append(cpu_s * 1000)


def measure(ceilings: dict[str, Ceiling]) -> list[Cost]:
    """Measure every kind of request, and those that seem too dear again."""
    costs = {name: Cost(ceiling=ceiling) for name, ceiling in ceilings.items()}
    with gateway() as bench:
        kinds = works(bench)
        for work in kinds:
            ask(bench, work, work.times * 2)
        for _ in range(ROUNDS):
            take = [work for work in kinds if not costs[work.name].rounds or not costs[work.name].holds]
            for work in take:
                costs[work.name].rounds.append([])
            for _ in range(TURNS):
                for work in take:
                    turn(bench, work, costs[work.name])
    return list(costs.values())


def say(costs: Sequence[Cost]) -> None:
    """Print what was found."""
    for cost in costs:
        verdict = "holds" if cost.holds else "BROKEN"
        print(
            f"{cost.ceiling.name:14} {cost.ratio:8.4f} of {cost.ceiling.ceiling:8.4f}  {verdict:6}"
            f"  ({min(cost.rounds[-1]):.4f} to {max(cost.rounds[-1]):.4f}, {len(cost.rounds)} of {ROUNDS} rounds;"
            f" {statistics.median(cost.cpu_ms):.2f} ms CPU; {cost.ceiling.measured:g} when it was set)"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found there")
    given = parser.parse_args()
    costs = measure(read_ceilings())
    say(costs)
    if given.json is not None:
        found = [{**asdict(cost), "ratio": cost.ratio, "holds": cost.holds} for cost in costs]
        given.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    return 0 if all(cost.holds for cost in costs) else 1


if __name__ == "__main__":
    sys.exit(main())
