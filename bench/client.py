"""The data plane's HTTP client beside others, alone: no gateway around it, a canned upstream in another process.

    python -m bench.client                    a table, medians of three interleaved rounds
    python -m bench.client --rounds 1 --json  one round, as JSON

Each client does the same in a process of its own: a POST, its answer read piece by piece and thrown away. Figures are
of processor time, so they hold beside other work; ``waiting`` is resident memory per exchange whose head has not come.
aiohttp is measured where it is installed.
"""

import argparse
import asyncio
import importlib
import json
import os
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, Final

import httpx2
import uvloop

from bench.canned import SIZES, Line
from bench.upstream import answer
from gateway.bodies.spool import Held
from gateway.core.table import Api, Channel, ChannelKind
from gateway.core.types import BodyMap, Cause, Directives, Facts, RequestId, Surface, Wire
from gateway.ports import Broken, Call, Job
from gateway.upstream.client import Upstream
from tests.fakes.tls import make_certificate

HOLD_S: Final = 4.0
PIECE: Final = 256 * 1024
SMALL_BODY: Final = b'{"model":"gpt-image-2","prompt":"%s"}' % (b"a lighthouse " * 75)
UPLOAD: Final = bytes(16_000_000)
SCENES: Final = (
    "small 1",
    "small 32",
    "tls small 1",
    "tls small 32",
    "3 MB",
    "20 MB",
    "tls 3 MB",
    "16 MB up",
    "waiting",
)
UNITS: Final = {"small": "µs", "MB": "MB/CPU s", "waiting": "KB"}

Post = Callable[[str, bytes], Awaitable[int]]
"""Sends a body to an address, reads the answer and gives its length."""


# The clients.


@asynccontextmanager
async def own(trust: str | None) -> AsyncIterator[Post]:
    client = Upstream(ssl_context=ssl.create_default_context(cafile=trust) if trust else None)
    await client.start()

    async def post(url: str, body: bytes) -> int:
        got = await client.send(_call(url, body))
        assert not isinstance(got, Broken), got
        total = 0
        async for piece in got.chunks():
            total += len(piece)
        await got.close()
        return total

    yield post
    await client.close()


def _call(url: str, body: bytes) -> Call:
    base, _, path = url.rpartition("/")
    return Call(
        channel=_channel(base),
        wire=Wire(path=f"/{path}", headers=_HEADERS, splices=()),
        body=Held(body),
        job=_JOB,
        sent_model="gpt-image-2",
        connect_s=3.0,
        idle_s=120.0,
        give_up_at=asyncio.get_running_loop().time() + 120.0,
        overdue=Cause.PATIENCE,
    )


@cache
def _channel(base_url: str) -> Channel:
    return Channel(
        name="A", owner="a", kind=ChannelKind.DIRECT, api=Api.OPENAI, base_url=base_url, host="", rows={}, api_key=None
    )


_HEADERS: Final = (
    ("content-type", "application/json"),
    ("accept", "application/json"),
    ("accept-encoding", "identity"),
    ("authorization", "Bearer sk-canned"),
)
_JOB: Final = Job(
    request_id=RequestId("req_0"),
    time=datetime.now(UTC),
    started=0.0,
    facts=Facts(surface=Surface.GENERATIONS, asked_model="gpt-image-2"),
    directives=Directives(),
    body=Held(b""),
    body_map=BodyMap(content_type="application/json", length=0, model=None, insert_at=0),
    prompt="",
)


@asynccontextmanager
async def with_httpx2(trust: str | None) -> AsyncIterator[Post]:
    verify = ssl.create_default_context(cafile=trust) if trust else False
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx2.AsyncClient(verify=verify, timeout=120, trust_env=False, limits=limits) as client:

        async def post(url: str, body: bytes) -> int:
            async with client.stream("POST", url, content=_pieces(body), headers=[*_HEADERS, _length(body)]) as got:
                return sum([len(piece) async for piece in got.aiter_raw()])

        yield post


@asynccontextmanager
async def with_aiohttp(trust: str | None) -> AsyncIterator[Post]:
    library: Any = importlib.import_module("aiohttp")
    secure = ssl.create_default_context(cafile=trust) if trust else True
    connector = library.TCPConnector(limit=0, ssl=secure)
    clock = library.ClientTimeout(total=120)
    async with library.ClientSession(connector=connector, timeout=clock, auto_decompress=False) as session:

        async def post(url: str, body: bytes) -> int:
            given = body if len(body) < PIECE else _pieces(body)
            async with session.post(url, data=given, headers=[*_HEADERS, _length(body)]) as got:
                return sum([len(piece) async for piece in got.content.iter_any()])

        yield post


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(body), PIECE):
        yield body[at : at + PIECE]


def _length(body: bytes) -> tuple[str, str]:
    return "content-length", str(len(body))


CLIENTS: Final = {"own": own, "aiohttp": with_aiohttp, "httpx2": with_httpx2}


# What they do.


async def measure(client: str, scene: str, plain: str, secure: str, trust: str) -> float:
    is_tls = scene.startswith("tls")
    url = secure if is_tls else plain
    async with CLIENTS[client](trust if is_tls else None) as post:
        if scene == "waiting":
            return await _waiting(post, f"{url}/slow/a")
        if "small" in scene:
            at_once = int(scene.rpartition(" ")[2])
            act = partial(post, f"{url}/small/a", SMALL_BODY)
            await _many(act, at_once, 200)
            return await _cpu_s(act, at_once, 3000) / 3000 * 1e6
        if scene == "16 MB up":
            act = partial(post, f"{url}/small/a", UPLOAD)
            await _many(act, 4, 4)
            return 24 * 16 / await _cpu_s(act, 4, 24)
        size = int(scene.split()[-2])
        act = partial(post, f"{url}/img{size}/a", SMALL_BODY)
        got = await act()
        times = 480 // size
        return times * got / 1e6 / await _cpu_s(act, 4, times)


async def _cpu_s(act: Callable[[], Awaitable[int]], at_once: int, times: int) -> float:
    before = time.process_time()
    await _many(act, at_once, times)
    return time.process_time() - before


async def _many(act: Callable[[], Awaitable[int]], at_once: int, times: int) -> None:
    left = iter(range(times))

    async def work() -> None:
        for _ in left:
            await act()

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(work())


async def _waiting(post: Post, url: str) -> float:
    await post(url.replace("slow", "small"), SMALL_BODY)
    before = _rss()

    async def work() -> None:
        await post(url, SMALL_BODY)

    async with asyncio.TaskGroup() as group:
        for _ in range(1000):
            group.create_task(work())
            await asyncio.sleep(0)
        await asyncio.sleep(HOLD_S * 0.7)
        grown = _rss() - before
    return grown / 1000 / 1000


def _rss() -> int:
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


# The upstream.


async def serve(certificate: str, key: str) -> None:
    answers = cache(lambda kind: answer(SIZES[kind]))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    loop = asyncio.get_running_loop()
    ports = []
    for tls in (None, context):
        made = partial(Line, answers, [], HOLD_S, lambda: "")
        server = await loop.create_server(made, "127.0.0.1", 0, backlog=8192, ssl=tls)
        ports.append(server.sockets[0].getsockname()[1])
    print(*ports, flush=True)
    await asyncio.Event().wait()


@contextmanager
def upstream() -> Iterator[tuple[str, str, str]]:
    with tempfile.TemporaryDirectory() as directory:
        made = make_certificate(Path(directory))
        command = [sys.executable, "-m", "bench.client", "--serve", str(made.certificate), str(made.key)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                plain, secure = process.stdout.readline().split()
                yield f"http://127.0.0.1:{plain}", f"https://localhost:{secure}", str(made.certificate)
            finally:
                process.kill()


def compare(rounds: int, scenes: list[str], clients: list[str]) -> dict[str, dict[str, float]]:
    figures: dict[str, dict[str, list[float]]] = {scene: {name: [] for name in clients} for scene in scenes}
    with upstream() as where:
        for _ in range(rounds):
            for scene in scenes:
                for name in clients:
                    command = [sys.executable, "-m", "bench.client", "--measure", name, scene, *where]
                    done = subprocess.run(command, check=True, capture_output=True, text=True)
                    figures[scene][name].append(float(done.stdout))
    return {scene: {name: round(median(all_), 1) for name, all_ in by.items()} for scene, by in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scenes", default=",".join(SCENES))
    parser.add_argument("--clients", default=",".join(name for name in CLIENTS if name != "aiohttp" or find_spec(name)))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--measure", nargs=5, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        uvloop.run(serve(*given.serve))
        return
    if given.measure:
        print(uvloop.run(measure(*given.measure)))
        return
    clients = given.clients.split(",")
    figures = compare(given.rounds, given.scenes.split(","), clients)
    if given.json:
        print(json.dumps(figures))
        return
    print(f"| {'scene':14} | {'unit':8} |" + "".join(f" {name:>8} |" for name in clients))
    print("|---|---|" + "---:|" * len(clients))
    for scene, by in figures.items():
        unit = next(word for part, word in UNITS.items() if part in scene)
        print(f"| {scene:14} | {unit:8} |" + "".join(f" {by[name]:8.1f} |" for name in clients))


if __name__ == "__main__":
    main()
