"""A short soak: everything at once, with faults, and nothing is left of it. The long one is ``make soak``."""

from collections import Counter
from pathlib import Path

import pytest

from bench.soak import Lap, Report, Tally, run

pytestmark = pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="reads /proc, which is Linux")


def test_after_requests_of_all_kinds_and_faults_nothing_is_left() -> None:
    report = run(requests=240, minutes=0.12, laps=4)
    assert report.faults() == []
    assert report.tally.ends["small 200"] > 100
    assert report.tally.ends["leaves 200"] > 5
    assert sum(count for end, count in report.tally.ends.items() if not end.endswith("200")) > 0, "there were no faults"


def lap(requests: int, rss_bytes: int = 100_000_000, tasks: int = 7) -> Lap:
    return Lap(requests=requests, rss_bytes=rss_bytes, descriptors=17, sockets=3, threads=18, tasks=tasks, odd_files=())


def report(*laps: Lap) -> Report:
    tally = Tally(ends=Counter({"small 200": laps[-1].requests}), sent=laps[-1].requests)
    return Report(laps=laps, end=laps[-1], tally=tally, booked=tally.sent, left_open=0, seconds=1.0)


def test_what_grows_is_found() -> None:
    steps = range(1, 13)
    assert report(*(lap(at * 1_000) for at in steps)).faults() == []
    fat = report(*(lap(at * 1_000, rss_bytes=100_000_000 + at * 3_000_000) for at in steps))
    assert fat.faults() == ["memory grows by 3,000 bytes a request"]
    busy = report(*(lap(at * 1_000, tasks=7 + at) for at in steps))
    assert busy.faults() == [f"tasks grow: {list(range(12, 20))}"]
