"""Processor time and memory of a process and all it started, as Linux counts them."""

import os
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Tree:
    """A process and its children, theirs too."""

    pid: int

    def pids(self) -> list[int]:
        """Give the process and all that came of it and still run."""
        parents = {int(path.name): _parent(path) for path in Path("/proc").iterdir() if path.name.isdigit()}
        found, left = [], [self.pid]
        while left:
            one = left.pop()
            found.append(one)
            left += [pid for pid, parent in parents.items() if parent == one]
        return found

    def cpu_s(self) -> float:
        """Give the seconds of processor time of all threads so far, to the nanosecond where none has ended."""
        return sum(_cpu_s(pid) for pid in self.pids())

    def rss_bytes(self) -> int:
        """Give resident memory."""
        return sum(int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * PAGE for pid in self.pids())

    def peak_bytes(self) -> int:
        """Give the most resident memory since the last ``forget_peak``."""
        total = 0
        for pid in self.pids():
            lines = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
            total += next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)
        return total

    def forget_peak(self) -> None:
        """Start the peak anew."""
        for pid in self.pids():
            Path(f"/proc/{pid}/clear_refs").write_text("5", "ascii")

    def pin(self, cpu: int) -> None:
        """Let it run on one processor only, all its threads."""
        for pid in self.pids():
            for task in Path(f"/proc/{pid}/task").iterdir():
                os.sched_setaffinity(int(task.name), {cpu})


def _parent(path: Path) -> int:
    try:
        return int((path / "stat").read_text("ascii", "replace").rpartition(")")[2].split()[1])
    except OSError:  # it has ended
        return 0


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    rough_s = (int(fields[11]) + int(fields[12])) / TICKS
    precise_s = sum(
        int((task / "schedstat").read_text("ascii").split()[0]) / 1e9 for task in Path(f"/proc/{pid}/task").iterdir()
    )
    return precise_s if abs(precise_s - rough_s) < 0.05 + rough_s * 0.02 else rough_s
