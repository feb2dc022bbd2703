"""Measures streams: how long an event is under way in the gateway, and what an idle stream costs in memory.

``python -m bench.streams`` starts an upstream that writes the time into each event, and the program as users start it,
with ``stream_hold: 0s``. Times are from the upstream's write to the client's read, over the gateway and, to compare,
without it. The machine's clock is one for all processes.
"""

import argparse
import asyncio
import base64
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.process import ROOT, Watched, serving

EVENTS = 20
AT = re.compile(rb'"at": ?([0-9]+)')
PREVIEW = base64.b64encode(random.Random(1).randbytes(2_000)).decode()
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
ROUTES = """\
version: 1
server: {{stream_hold: 0s}}
channels:
  canned:
    owner: canned
    kind: direct
    api: openai
    base_url: http://127.0.0.1:{port}/v1
    api_key: sk-canned
    max_in_flight: 4000
    rows:
      ticks: {{serves: [images/generations]}}
      turn: {{serves: [responses]}}
      idle: {{serves: [images/generations]}}
routes:
  ticks: {{targets: [canned]}}
  turn: {{targets: [canned]}}
  idle: {{targets: [canned]}}
"""


def event(kind: str, number: int) -> bytes:
    fields = {"type": kind, "at": time.monotonic_ns(), "sequence_number": number}
    if kind.startswith("image"):
        fields["b64_json"] = PREVIEW
    else:
        fields["response"] = {"id": f"resp_{random.getrandbits(64):x}", "object": "response", "output": []}
    data = f"event: {kind}\ndata: {json.dumps(fields)}\n\n".encode()
    return b"%x\r\n" % len(data) + data + b"\r\n"


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request: ticks and turn talk, idle says one thing and waits."""
    head = await reader.readuntil(b"\r\n\r\n")
    body = await reader.readexactly(int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0]))
    model = json.loads(body)["model"]
    kinds = ["response.created", *["response.output_text.delta"] * EVENTS, "response.completed"]
    if model != "turn":
        kinds = [
            *["image_generation.partial_image"] * (EVENTS if model == "ticks" else 1),
            "image_generation.completed",
        ]
    await asyncio.sleep(random.uniform(0.02, 0.06))
    writer.write(HEAD)
    for number, kind in enumerate(kinds[:-1]):
        await asyncio.sleep(random.uniform(0.015, 0.035))
        writer.write(event(kind, number))
    if model == "idle":
        await reader.read()
    else:
        writer.write(event(kinds[-1], len(kinds) - 1) + b"0\r\n\r\n")
        await writer.drain()
    writer.close()


async def upstream() -> None:
    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=4096)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


def request(model: str) -> bytes:
    fields = {"model": model, "stream": True, "prompt": "a lighthouse", "input": "hello", "partial_images": 3}
    body = json.dumps(fields).encode()
    path = "responses" if model == "turn" else "images/generations"
    head = f"POST /v1/{path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


async def listen(port: int, model: str) -> list[float]:
    """Read one stream; gives the milliseconds each event was under way."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request(model))
    taken: list[float] = []
    while data := await reader.read(65_536):
        now = time.monotonic_ns()
        taken += [(now - int(at)) / 1e6 for at in AT.findall(data)]
        if b"\r\n0\r\n\r\n" in data or data == b"0\r\n\r\n":
            break
    writer.close()
    return taken


async def latency(port: int, model: str, streams: int, rounds: int) -> tuple[list[float], list[float]]:
    """Give the first events' times, and all others' but the last."""
    first: list[float] = []
    later: list[float] = []
    for _ in range(rounds):
        for taken in await asyncio.gather(*(listen(port, model) for _ in range(streams))):
            first.append(taken[0])
            later += taken[1:-1]
    return sorted(first), sorted(later)


def said(name: str, times: list[float]) -> None:
    at = [times[min(len(times) - 1, int(len(times) * share))] for share in (0.5, 0.95, 0.99)]
    print(f"{name:34} p50 {at[0]:6.2f} ms   p95 {at[1]:6.2f} ms   p99 {at[2]:6.2f} ms   of {len(times)}")


async def idle(gateway: Watched, count: int) -> None:
    """Open streams that go silent after their first event, and see what they cost."""
    await asyncio.gather(*(listen(gateway.port, "ticks") for _ in range(64)))
    before = gateway.rss_bytes()
    lines = []
    for start in range(0, count, 100):
        lines += await asyncio.gather(*(hushed(gateway.port) for _ in range(min(100, count - start))))
    await asyncio.sleep(2)
    used = (gateway.rss_bytes() - before) / count
    print(f"{count} idle streams: {used / 1024:.1f} KiB each ({before / 1e6:.0f} MB before)")
    for writer in lines:
        writer.close()


async def hushed(port: int) -> asyncio.StreamWriter:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request("idle"))
    await reader.readuntil(b'"at"')
    return writer


@contextmanager
def served(directory: Path) -> Iterator[tuple[Watched, Watched]]:
    """Run the upstream and the program."""
    command = [sys.executable, "-m", "bench.streams", "--upstream"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as canned:
        assert canned.stdout is not None
        port = int(canned.stdout.readline())
        (directory / "routes.yaml").write_text(ROUTES.format(port=port), "utf-8")
        with serving(directory) as gateway:
            try:
                yield Watched(canned.pid, port), gateway
            finally:
                canned.kill()


async def measure(streams: int, idle_streams: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as directory, served(Path(directory)) as (canned, gateway):
        for model in ("ticks", "turn"):
            for name, port in (("direct", canned.port), ("gateway", gateway.port)):
                first, later = await latency(port, model, streams, rounds)
                said(f"{model}, {name}: first event", first)
                said(f"{model}, {name}: later events", later)
        await idle(gateway, idle_streams)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--upstream", action="store_true")
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--idle", type=int, default=2_000)
    options = parser.parse_args()
    asyncio.run(upstream() if options.upstream else measure(options.streams, options.idle, options.rounds))


if __name__ == "__main__":
    main()
