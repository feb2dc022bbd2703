"""A Redis server of a test's own, on a unix socket in a new directory."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

MISSING = "REDIS IS NOT TESTED HERE: it needs the program redis-server and the package redis"


class RedisServer:
    """One server, without a disk: what it knew is gone when it is killed."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="wb-redis-"))
        self._socket = self._directory / "redis.sock"
        self.url = f"unix://{self._socket}"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self._socket

    def start(self) -> None:
        """Start it, or start it again."""
        self._socket.unlink(missing_ok=True)
        command = [
            "redis-server",
            "--port",
            "0",
            "--unixsocket",
            str(self._socket),
            "--save",
            "",
            "--loglevel",
            "warning",
        ]
        self._process = subprocess.Popen(command, cwd=self._directory, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while not self._answers() and time.monotonic() < deadline:
            time.sleep(0.01)

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        """Stop it: the socket stays open and nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it and remove its directory."""
        self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            os.kill(self._process.pid, number)

    def _answers(self) -> bool:
        with suppress(OSError), socket.socket(socket.AF_UNIX) as line:
            line.settimeout(1)
            line.connect(str(self._socket))
            line.sendall(b"PING\r\n")
            return line.recv(16) == b"+PONG\r\n"
        return False


@contextmanager
def redis_server() -> Iterator[RedisServer]:
    """Run a server for as long as the context; skips, loudly, where there is none."""
    if shutil.which("redis-server") is None:
        pytest.skip(MISSING)
    pytest.importorskip("redis", reason=MISSING)
    server = RedisServer()
    try:
        yield server
    finally:
        server.stop()
