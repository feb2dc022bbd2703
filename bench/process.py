"""The processes under measurement, and what the system says of them. Linux: figures come from ``/proc``."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROUTES = """\
version: 1
channels:
  {name}:
    owner: canned
    kind: direct
    api: openai
    base_url: http://127.0.0.1:{port}/{name}/v1
    api_key: sk-canned
    max_in_flight: 4000
    rows:
      {name}: {{serves: [images/generations]}}
"""


@dataclass(frozen=True, slots=True)
class Watched:
    """A running process."""

    pid: int
    port: int

    def cpu_s(self) -> float:
        """Seconds of processor time of all its threads so far, and of its children that ended."""
        fields = Path(f"/proc/{self.pid}/stat").read_text("ascii").rpartition(")")[2].split()
        ticks = sum(int(field) for field in fields[11:15])
        precise = sum(
            int((task / "schedstat").read_text("ascii").split()[0]) for task in Path(f"/proc/{self.pid}/task").iterdir()
        )
        # Ticks are 10 ms; the scheduler's own count is in nanoseconds, but forgets threads that ended.
        rough_s = ticks / os.sysconf("SC_CLK_TCK")
        return precise / 1e9 if abs(precise / 1e9 - rough_s) < 0.05 + rough_s * 0.02 else rough_s

    def waited_s(self) -> float:
        """Seconds that the main thread was ready to run and had no processor: what others on the machine cost it."""
        return int(Path(f"/proc/{self.pid}/task/{self.pid}/schedstat").read_text("ascii").split()[1]) / 1e9

    def rss_bytes(self) -> int:
        """Resident memory."""
        return int(Path(f"/proc/{self.pid}/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def canned_upstream(hold_s: float) -> Iterator[Watched]:
    """Run ``bench/upstream.py``."""
    command = [sys.executable, "-m", "bench.upstream", "--hold", str(hold_s)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Watched(process.pid, int(process.stdout.readline()))
        finally:
            process.kill()


@contextmanager
def served(upstream: Watched, directory: Path, route: str = "", storage: str = "") -> Iterator[Watched]:
    """Run ``python -m gateway serve`` with one channel for each kind of answer.

    ``route``: more keys of each route; ``storage``: the line of the file that says where things are kept.
    """
    head, _, channel = ROUTES.partition("channels:\n")
    names = ("small", "big", "slow")
    channels = "".join(channel.format(name=name, port=upstream.port) for name in names)
    routes = "".join(f"  {name}: {{targets: [{name}]{route}}}\n" for name in names)
    (directory / "routes.yaml").write_text(f"{head}{storage}channels:\n{channels}routes:\n{routes}", "utf-8")
    with serving(directory) as gateway:
        yield gateway


@contextmanager
def serving(directory: Path) -> Iterator[Watched]:
    """Run ``python -m gateway serve`` with the routes file that lies in ``directory``."""
    command = [sys.executable, "-m", "gateway", "serve", "--port", "0", "--data-dir", str(directory / "data")]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    log = directory / "log.jsonl"
    with (
        log.open("wb") as out,
        (directory / "stderr.txt").open("wb") as err,
        subprocess.Popen(command, cwd=directory, env=environment, stdout=out, stderr=err) as process,
    ):
        try:
            yield Watched(process.pid, _port(process, log))
        finally:
            process.kill()


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    while process.poll() is None:
        first = log.read_bytes().partition(b"\n")
        if first[1]:
            found = re.search(r":(\d+)$", json.loads(first[0])["url"])
            assert found is not None
            return int(found[1])
    raise RuntimeError(f"the gateway did not start:\n{(log.parent / 'stderr.txt').read_text('utf-8')}")
