"""The real server in a process of its own: started, measured from outside, killed.

Nothing of it is in the test's process, so its memory and its delays are its own and ``kill -9`` is what it says.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerProcess:
    """One running server. ``ready`` is its first line."""

    process: asyncio.subprocess.Process
    ready: Mapping[str, Any]
    directory: Path

    @property
    def url(self) -> str:
        return str(self.ready["url"])

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    async def kill(self) -> None:
        """End it as the kernel would for want of memory."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Tell it something."""
        self.process.send_signal(number)

    def events(self) -> list[dict[str, Any]]:
        """Every line logged so far."""
        return [json.loads(line) for line in (self.directory / "log.jsonl").read_text("utf-8").splitlines()]

    def waited_s(self) -> float:
        """Give how long its main thread was ready to run and had no processor, where the system tells."""
        return waited_s(self.process.pid)

    def rss_bytes(self) -> int:
        """Give its resident memory."""
        statm = Path(f"/proc/{self.process.pid}/statm")
        if statm.exists():
            return int(statm.read_text("ascii").split()[1]) * PAGE
        command = ["ps", "-o", "rss=", "-p", str(self.process.pid)]
        return int(subprocess.run(command, check=True, capture_output=True).stdout) * 1024


def waited_s(pid: int) -> float:
    """Give how long the main thread of a process was kept waiting for a processor, all in all; 0.0 if nobody tells."""
    file = Path(f"/proc/{pid}/schedstat")
    return int(file.read_text("ascii").split()[1]) / 1e9 if file.exists() else 0.0


def environment(directory: Path) -> dict[str, str]:
    """Give the environment a program of ours is started with: nothing of the tester's."""
    return {"PYTHONPATH": str(REPOSITORY), "PATH": os.environ["PATH"], "HOME": str(directory)}


@asynccontextmanager
async def server_process(
    routes: str, directory: Path, *arguments: str, program: Sequence[str] = ("gateway",), **env: str
) -> AsyncIterator[ServerProcess]:
    """Run ``serve`` over ``directory``, which outlives it; it is killed at the end unless it has ended.

    ``program``: the module that is run, and what it is told before ``serve``.
    """
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "routes.yaml").write_text(routes, "utf-8")
    command = [sys.executable, "-m", *program, "serve", "--port", "0", *arguments]
    with (directory / "log.jsonl").open("ab") as out, (directory / "stderr.txt").open("ab") as err:
        before = out.tell()
        process = await asyncio.create_subprocess_exec(
            *command, cwd=directory, env={**environment(directory), **env}, stdout=out, stderr=err
        )
        try:
            ready = await first_line(process, directory, before)
            yield ServerProcess(process=process, ready=ready, directory=directory)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def first_line(process: asyncio.subprocess.Process, directory: Path, before: int) -> Mapping[str, Any]:
    """Wait for ``server.ready``."""
    async with asyncio.timeout(30):
        while process.returncode is None:
            line, end, _ = (directory / "log.jsonl").read_bytes()[before:].partition(b"\n")
            if end:
                ready: Mapping[str, Any] = json.loads(line)
                assert ready["event"] == "server.ready"
                return ready
            await asyncio.sleep(0.01)
    raise AssertionError((directory / "stderr.txt").read_text("utf-8"))


async def run_program(directory: Path, *arguments: str, **env: str) -> str:
    """Run a command of the program to its end; give what it printed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", *arguments),
        cwd=directory,
        env={**environment(directory), **env},
        stdout=subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()
