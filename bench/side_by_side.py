"""Waybill beside its peers, in one run: ``python -m bench.side_by_side [--quick] [--only NAME,…] [--json FILE]``.

Each rival runs alone on one processor, upstream and client share the others; rounds are interleaved and medians told.
What is compared is the rival's own processor time and memory, so a client that is slower than nginx does no harm; where
time itself is told it is what the rival adds to the same client and upstream with nobody in between.
"""

import argparse
import json
import os
import resource
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.house import machine
from bench.report import BARS, Figures, markdown, show
from bench.rivals import Rival, direct, litellm, nginx, portkey, running, waybill
from bench.scenes import Bench, Drain, NotServed, canned, in_flight, large, peak, small, streams, uploads
from bench.tree import Tree

ROUNDS: Final = 3
SCENES: Final[dict[str, Callable[[Bench], dict[str, float]]]] = {
    "waiting": in_flight,  # first, in a process that has grown by nothing yet
    "small": small,
    "streams": streams,
    "large": large,
    "uploads": uploads,
    "peak": peak,
}
QUICK: Final = ("small", "streams", "large", "uploads")  # no scene that waits


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was asked for."""

    quick: bool
    only: tuple[str, ...]
    scenes: tuple[str, ...]
    rounds: int


def rivals(only: tuple[str, ...]) -> list[Rival]:
    """Build who takes part."""
    known = {"waybill": waybill, "litellm": litellm, "portkey": portkey, "nginx": nginx}
    wanted = [make() for name, make in known.items() if not only or name in only]
    return [direct(), *(rival for rival in wanted if rival is not None)]


def measure(options: Options) -> Figures:
    """Run every scene with every rival, round by round."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    everybody = rivals(options.only)
    with canned() as upstream:
        for turn in range(options.rounds):
            for rival in everybody:
                with _bench(rival, upstream, quick=options.quick) as bench:
                    for name in options.scenes:
                        sys.stderr.write(f"round {turn + 1} of {options.rounds}, {rival.name}: {name}\n")
                        for figure, value in _scene(name, bench).items():
                            found[figure][rival.name].append(value)
    return {
        figure: {name: statistics.median(values) for name, values in per.items() if values}
        for figure, per in found.items()
    }


def _scene(name: str, bench: Bench) -> dict[str, float]:
    """Run a scene; what a peer cannot do is said and has no figure."""
    try:
        return SCENES[name](bench)
    except NotServed as refused:
        if bench.rival.name in ("waybill", "direct"):
            raise
        sys.stderr.write(f"  {bench.rival.name} does not do this: {refused}\n")
        return {}


@contextmanager
def _bench(rival: Rival, upstream: int, *, quick: bool) -> Iterator[Bench]:
    with ExitStack() as stack:
        drain = Drain(cpus=_others())
        if rival.name == "direct":
            yield Bench(rival=rival, port=upstream, upstream=upstream, drain=drain, quick=quick)
            return
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        pid, port, start = stack.enter_context(running(rival, work, upstream))
        tree = Tree(pid)
        tree.pin(0)
        yield Bench(rival=rival, port=port, upstream=upstream, drain=drain, quick=quick, tree=tree, key=start.key)


def _others() -> frozenset[int]:
    """Give the processors that rivals do not run on."""
    return frozenset(os.sched_getaffinity(0) - {0}) or frozenset({0})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"one round with few repetitions: {', '.join(QUICK)}")
    parser.add_argument("--only", default="", metavar="NAME,…", help="waybill, litellm, portkey, nginx")
    parser.add_argument("--scenes", default="", metavar="NAME,…", help=", ".join(SCENES))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there")
    given = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    options = Options(
        quick=given.quick,
        only=tuple(name for name in given.only.split(",") if name),
        scenes=tuple(name for name in given.scenes.split(",") if name) or (QUICK if given.quick else tuple(SCENES)),
        rounds=1 if given.quick else ROUNDS,
    )
    where, figures = machine(), measure(options)
    show(where, figures)
    if given.json is not None:
        given.json.write_text(json.dumps({**where, "bars": BARS.as_json(), "figures": figures}, indent=1) + "\n")
    if given.markdown is not None:
        given.markdown.write_text(markdown(figures), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
