"""Big and hostile bodies against the real server process: its memory stays flat, and nobody else waits for it.

The client runs on threads of the test, the upstream in a process of its own; the loop of the test only asks
``/healthz`` and reads the server's resident memory, so what it measures is the server.
"""

import asyncio
import hashlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fakes.server import REPOSITORY, ServerProcess, server_process, waited_s
from tests.web.house import Reply, ask, get, until

FILES, FILE_BYTES = 16, 50_000_000
PIECE = 250_000
BOUNDARY = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
GROWTH = 100_000_000
DELAY_S = 0.05
PROBE_EVERY_S = 0.01
PATTERN = hashlib.shake_256(b"a picture that does not compress").digest(2 * PIECE)


def routes_file(url: str) -> str:
    return yaml.safe_dump(
        {
            "version": 1,
            "server": {"body": {"json": "4MB"}},
            "channels": {
                "A": {
                    "owner": "owner-A",
                    "kind": "direct",
                    "base_url": url,
                    "api_key": "sk-A",
                    "rows": {"pic": {"model": "pic-A", "serves": ["images/generations", "images/edits"]}},
                }
            },
            "routes": {"pic": {"targets": ["A"]}},
        }
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    server: ServerProcess
    upstream_port: int

    async def seen(self) -> dict[str, Any]:
        """What the upstream counted."""
        return dict((await ask(self.upstream_port, get("/__seen"))).json)


@asynccontextmanager
async def upstream_process(directory: Path) -> AsyncIterator[int]:
    script = directory / "script.json"
    script.write_text(json.dumps({"key": "sk-A", "default": {"do": "reply", "image": {"n": 1}}}), "utf-8")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.fakes.upstream", "--script", str(script)),
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        yield int(json.loads(await process.stdout.readline())["port"])
    finally:
        process.kill()
        await process.wait()


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with (
        upstream_process(tmp_path) as port,
        server_process(routes_file(f"http://127.0.0.1:{port}/v1"), tmp_path / "house") as server,
    ):
        await ask(server.port, request("/v1/images/edits", {"x-warm": "up"}, 2) + b"{}")
        yield House(server=server, upstream_port=port)


def request(path: str, headers: dict[str, str], length: int | None) -> bytes:
    framing = {"transfer-encoding": "chunked"} if length is None else {"content-length": str(length)}
    lines = [f"POST {path} HTTP/1.1", "host: gateway.test", "connection: close"]
    lines += [f"{name}: {value}" for name, value in {"content-type": "application/json", **headers, **framing}.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def part(name: str, filename: str = "") -> bytes:
    file = f'; filename="{filename}"\r\nContent-Type: image/png' if filename else ""
    return f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode()


def pictures(model: str) -> Iterator[bytes]:
    """Give the form piece by piece: a model, a prompt, and files that differ from each other."""
    yield part("model") + model.encode() + b"\r\n" + part("prompt") + b"at night\r\n"
    for number in range(FILES):
        yield part("image[]", f"{number}.png") + b"\x89PNG\r\n\x1a\n%08d" % number
        for at in range(FILE_BYTES // PIECE):
            start = (number * 7919 + at * 104_729) % PIECE
            yield PATTERN[start : start + PIECE]
        yield b"\r\n"
    yield f"--{BOUNDARY}--\r\n".encode()


def upload(port: int, head: bytes, body: Iterator[bytes]) -> bytes:
    """Send a body and give the whole answer; one that comes early ends the sending. Blocks: for a thread."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(head)
        with suppress(ConnectionError):
            for piece in body:
                client.sendall(piece)
        said = b""
        with suppress(ConnectionError):
            while piece := client.recv(65_536):
                said += piece
        return said


def reply_of(said: bytes) -> Reply:
    head, _, body = said.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    return Reply(status=int(first.split(" ")[1]), headers=headers, body=body)


@dataclass
class Watch:
    """What was seen of the server while something happened to it."""

    delays_s: list[float] = field(default_factory=list)
    before: int = 0
    peak: int = 0

    @property
    def grown(self) -> int:
        return self.peak - self.before

    @property
    def p99_s(self) -> float:
        return sorted(self.delays_s)[len(self.delays_s) * 99 // 100]


@asynccontextmanager
async def watching(server: ServerProcess) -> AsyncIterator[Watch]:
    """Ask ``/healthz`` and look at the memory every 10 ms."""
    watch = Watch(before=server.rss_bytes())
    done = asyncio.Event()

    async def look() -> None:
        while not done.is_set():
            waited = server.waited_s() + waited_s(os.getpid())
            started = time.perf_counter()
            answer = await ask(server.port, get("/healthz", "Connection: close"))
            took_s = time.perf_counter() - started
            # What other programs took of the processors is not the server's delay.
            watch.delays_s.append(took_s - (server.waited_s() + waited_s(os.getpid()) - waited))
            assert answer.status == 200
            watch.peak = max(watch.peak, server.rss_bytes())
            await asyncio.sleep(PROBE_EVERY_S)

    async with asyncio.TaskGroup() as group:
        group.create_task(look())
        try:
            yield watch
        finally:
            done.set()


async def test_eight_hundred_megabytes_of_pictures_pass_through(house: House) -> None:
    sent, expected = list(map(len, pictures("pic"))), hashlib.sha256()
    head = request("/v1/images/edits", {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}, sum(sent))

    def bring() -> bytes:
        return upload(house.server.port, head, pictures("pic"))

    async with watching(house.server) as watch:
        answer = reply_of(await asyncio.to_thread(bring))
    assert answer.status == 200, answer.body[:500]
    for piece in pictures("pic-A"):
        expected.update(piece)
    seen = await house.seen()
    assert seen["problems"] == []
    [arrived] = seen["requests"]
    assert (arrived["length"], arrived["sha256"]) == (sum(sent) + 2, expected.hexdigest())
    assert watch.grown < GROWTH
    assert watch.p99_s < DELAY_S
    await until(lambda: not any((house.server.directory / "data" / "spool").iterdir()))


def deep() -> Iterator[bytes]:
    yield b'{"model": "pic", "prompt": "p", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"


def parts() -> Iterator[bytes]:
    for _ in range(10_000):
        yield part("prompt") + b"p\r\n"
    yield f"--{BOUNDARY}--\r\n".encode()


def chunks(total: int) -> Iterator[bytes]:
    yield b'f\r\n{"prompt": "p",\r\n'
    for _ in range(total // PIECE):
        yield b"%x\r\n" % PIECE + b" " * PIECE + b"\r\n"


FORM = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
HOSTILE: dict[str, tuple[bytes, list[bytes], int, str]] = {
    "a form over its cap": (request("/v1/images/edits", FORM, 900_000_000), [], 413, "request_too_large"),
    "JSON over its cap": (request("/v1/images/generations", {}, 5_000_000), [], 413, "request_too_large"),
    "chunks without end": (
        request("/v1/images/generations", {}, None), list(chunks(40_000_000)), 413, "request_too_large",
    ),
    "depth 100,000": (
        request("/v1/images/generations", {}, sum(map(len, deep()))), list(deep()), 400, "invalid_json",
    ),
    "10,000 parts": (
        request("/v1/images/edits", FORM, sum(map(len, parts()))), list(parts()), 400, "invalid_value",
    ),
}  # fmt: skip


async def test_hostile_bodies_leave_memory_and_the_loop_alone(house: House) -> None:
    for name, (head, body, status, code) in HOSTILE.items():

        def bring(head: bytes = head, body: list[bytes] = body) -> bytes:
            return upload(house.server.port, head, iter(body))

        async with watching(house.server) as watch:
            answers = [reply_of(said) for said in await asyncio.gather(*(asyncio.to_thread(bring) for _ in range(8)))]
        assert {(answer.status, answer.error["code"]) for answer in answers} == {(status, code)}, name
        assert watch.grown < GROWTH / 2, name
        assert watch.p99_s < DELAY_S, name
    assert (await house.seen())["count"] == 0
