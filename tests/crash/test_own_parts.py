"""The program's own parts fail: ledger, disk, log, descriptors, clock. Nothing is bought that is not on file.

Numbers of the names are those of a common list of faults: I, own parts; L, what happens in a process' life.
"""

import asyncio
import fcntl
import json
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from tests.fakes.answers import image_answer
from tests.fakes.pair import GENERATION, routes_file
from tests.fakes.script import reply
from tests.fakes.server import ServerProcess, environment, server_process
from tests.fakes.upstream import FakeUpstream

PICTURE = reply(200, image_answer())
SLOW_S = 1.5
SLOW = reply(200, image_answer(), delay_s=SLOW_S)
HOUR, DAY = 3600, 86_400
ROOM = 100_000  # bytes of a file: the log needs less, the ledger more
SET_PIPE_SIZE, PIPE_BYTES = 1031, 4_096

needs_limits = pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="limits of another process are Linux's")


@dataclass(slots=True, kw_only=True)
class House:
    """A server in a process of its own, its upstream, and a client."""

    server: ServerProcess
    upstream: FakeUpstream
    client: httpx2.AsyncClient

    @property
    def database(self) -> Path:
        return self.server.directory / "data" / "waybill.db"

    async def generate(self, prompt: str = "a lighthouse", **headers: str) -> httpx2.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        body = {**GENERATION, "prompt": prompt}
        return await self.client.post(f"{self.server.url}/v1/images/generations", json=body, headers=named)

    async def ready(self) -> int:
        return (await self.client.get(f"{self.server.url}/readyz")).status_code

    def rows(self) -> list[tuple[str]]:
        """The outcome of each attempt in the ledger."""
        with closing(sqlite3.connect(self.database)) as connection:
            return connection.execute("SELECT outcome FROM attempts").fetchall()


@asynccontextmanager
async def house(directory: Path, **env: str) -> AsyncIterator[House]:
    async with (
        FakeUpstream(key="sk-A", default=PICTURE) as upstream,
        server_process(routes_file({"A": upstream.url}), directory, **env) as server,
        httpx2.AsyncClient(timeout=30, trust_env=False) as client,
    ):
        yield House(server=server, upstream=upstream, client=client)
        server.process.terminate()
        assert await asyncio.wait_for(server.process.wait(), 30) == 0
        assert "Traceback" not in (directory / "stderr.txt").read_text("utf-8")
        assert not [line for line in server.events() if line["event"] == "gateway.bug"]


def refusal(answer: httpx2.Response) -> tuple[int, str, str]:
    return answer.status_code, answer.json()["error"]["code"], answer.headers["x-should-retry"]


@contextmanager
def limited(server: ServerProcess, kind: int, most: int) -> Iterator[None]:
    """Hold a running server to a limit for a while."""
    _, hard = before = resource.prlimit(server.process.pid, kind)
    resource.prlimit(server.process.pid, kind, (most, hard))
    try:
        yield
    finally:
        resource.prlimit(server.process.pid, kind, before)


async def until_served(it: House) -> None:
    async with asyncio.timeout(20):
        while (await it.generate()).status_code != 200:  # noqa: ASYNC110 - it is another process that recovers
            await asyncio.sleep(0.1)


async def test_i1_the_ledger_is_locked_by_another_program(tmp_path: Path) -> None:
    """Nothing is bought while it is; what was under way is delivered, and on file once it can be."""
    async with house(tmp_path) as it:
        it.upstream.play(SLOW)
        under_way = asyncio.ensure_future(it.generate())
        await it.upstream.counted(1)
        with closing(sqlite3.connect(it.database, isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            refused = await asyncio.gather(*(it.generate() for _ in range(3)))
            assert [refusal(answer) for answer in refused] == [(503, "ledger_unavailable", "true")] * 3
            assert await it.ready() == 503
            assert (await under_way).status_code == 200
            holder.execute("ROLLBACK")
        assert (await it.generate()).status_code == 200
        assert it.upstream.count == 2


@needs_limits
async def test_i2_the_disk_is_full(tmp_path: Path) -> None:
    """No request is taken that cannot be written down; the log has no half lines in the middle."""
    async with house(tmp_path) as it:
        assert (await it.generate()).status_code == 200
        while (it.database.with_name("waybill.db-wal")).stat().st_size < 2 * ROOM:
            assert (await it.generate()).status_code == 200
        before = it.upstream.count
        it.upstream.play(SLOW)
        under_way = asyncio.ensure_future(it.generate())
        await it.upstream.counted(before + 1)
        with limited(it.server, resource.RLIMIT_FSIZE, ROOM):
            answers = [await it.generate() for _ in range(3)]
            assert [refusal(answer) for answer in answers] == [(503, "ledger_unavailable", "true")] * 3
            assert (await under_way).status_code == 200
            assert it.upstream.count == before + 1
        await until_served(it)
    assert it.rows().count(("delivered",)) == it.upstream.count


async def test_i14_nobody_reads_the_log(tmp_path: Path) -> None:
    """A pipe that nobody empties holds up no request and no end."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, SET_PIPE_SIZE, PIPE_BYTES)
    async with FakeUpstream(key="sk-A", default=PICTURE) as upstream, httpx2.AsyncClient(trust_env=False) as client:
        (tmp_path / "routes.yaml").write_text(routes_file({"A": upstream.url}), "utf-8")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway", "serve", "--port", "0"),
            cwd=tmp_path,
            env=environment(tmp_path),
            stdout=writing,
            stderr=subprocess.DEVNULL,
        )
        os.close(writing)
        url = json.loads(await asyncio.to_thread(line_of, reading))["url"]
        for _ in range(20):
            assert (await client.post(f"{url}/v1/images/generations", json=GENERATION)).status_code == 200
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 20) == 0
        os.close(reading)
    with closing(sqlite3.connect(tmp_path / "data" / "waybill.db")) as connection:
        assert connection.execute("SELECT count(*) FROM requests").fetchone() == (20,)


def line_of(file: int) -> bytes:
    """Read one line and no more."""
    line = b""
    while not line.endswith(b"\n"):
        line += os.read(file, 1)
    return line


@needs_limits
async def test_i15_no_descriptor_is_free(tmp_path: Path) -> None:
    """Who holds all of them gets refusals, buys nothing, and leaves nothing behind."""
    async with house(tmp_path) as it:
        assert (await it.generate()).status_code == 200
        open_before = len([*Path(f"/proc/{it.server.process.pid}/fd").iterdir()])
        with limited(it.server, resource.RLIMIT_NOFILE, open_before + 8):
            lines = [await asyncio.open_connection("127.0.0.1", it.server.port) for _ in range(40)]
            await asyncio.sleep(0.5)
            body = json.dumps(GENERATION).encode()
            head = f"POST /v1/images/generations HTTP/1.1\r\nhost: a\r\ncontent-length: {len(body)}\r\n"
            head += "content-type: application/json\r\n\r\n"
            for _, writer in lines:
                writer.write(head.encode() + body)
            heard = await asyncio.gather(*(status_of(reader) for reader, _ in lines[:6]))
            assert set(heard) <= {b"200", b"502", b"503"}
            for _, writer in lines:
                writer.close()
                with suppress(ConnectionError):
                    await writer.wait_closed()
        await until_served(it)
        async with asyncio.timeout(20):
            while (await it.client.get(f"{it.server.url}/readyz")).json()["config"]["state"] != "ok":  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.1)


async def status_of(reader: asyncio.StreamReader) -> bytes:
    return (await asyncio.wait_for(reader.readline(), 20)).split(b" ")[1]


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that moves the wall clock of whoever is started with it."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs a C compiler, and Linux")
    made = tmp_path_factory.mktemp("clock") / "clock.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", made, Path(__file__).with_name("clock.c")], check=True)
    return made


@pytest.mark.parametrize("seconds", [HOUR, -HOUR, 25 * HOUR, -30 * DAY])
async def test_l7_the_wall_clock_jumps(tmp_path: Path, clock: Path, seconds: int) -> None:
    """No wait is longer or shorter for it, and a flight in the air is still found: by its key, and by its words."""
    offset = tmp_path / "offset"
    offset.write_text("0", "utf-8")
    async with house(tmp_path, LD_PRELOAD=str(clock), WALL_CLOCK_OFFSET=str(offset)) as it:
        for prompt, headers in (("by its words", {}), ("by its key", {"idempotency_key": "once"})):
            before = it.upstream.count
            it.upstream.play(SLOW)
            left = asyncio.ensure_future(it.generate(prompt, **headers))
            await it.upstream.counted(before + 1)
            left.cancel()
            await asyncio.sleep(0.2)
            offset.write_text(str(seconds), "utf-8")
            began = asyncio.get_running_loop().time()
            assert (await it.generate(prompt, **headers)).status_code == 200
            assert asyncio.get_running_loop().time() - began < SLOW_S + 2
            assert it.upstream.count == before + 1
            assert (await it.generate()).status_code == 200
            offset.write_text("0", "utf-8")
        assert await it.ready() == 200
        assert len(it.rows()) >= it.upstream.count
