"""A request that is over leaves nothing for the collector: its parts go when it ends, and no pause is due later."""

import asyncio
import gc
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.answers import image_answer
from tests.fakes.events import event, picture_event
from tests.fakes.gateway import running_gateway
from tests.fakes.script import Script, reply, stream
from tests.fakes.upstream import FakeUpstream

ROUTES = """\
version: 1
server: {{stream_hold: 0s}}
channels:
  A:
    {{owner: a.example, kind: direct, api: openai, base_url: "{url}", api_key: "{key}",
      rows: {{m: {{serves: [images/generations]}}}}}}
routes: {{m: {{targets: [A]}}}}
"""
TIMES = 20


@pytest.fixture
def _nothing_is_thrown_away() -> Iterator[None]:
    """What the collector finds is kept in ``gc.garbage``."""
    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)
    yield
    gc.set_debug(0)
    gc.garbage.clear()
    gc.collect()


async def ask(port: int, body: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST /v1/images/generations HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {len(body)}\r\n"
    writer.write(f"{head}content-type: application/json\r\n\r\n".encode() + body)
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 200"), answer[:500]
    writer.close()


WHOLE = reply(200, image_answer())
STREAM = stream(event(picture_event("partial_image", 0)), event(picture_event("completed")))


@pytest.mark.parametrize(("script", "more"), [(WHOLE, {}), (STREAM, {"stream": True})], ids=["whole", "stream"])
@pytest.mark.usefixtures("_nothing_is_thrown_away")
async def test_a_request_leaves_no_cycle(script: Script, more: dict[str, bool], tmp_path: Path) -> None:
    body = json.dumps({"model": "m", "prompt": "a lighthouse", **more}).encode()
    async with FakeUpstream(default=script) as upstream:
        routes = ROUTES.format(url=upstream.url, key=upstream.key)
        async with running_gateway(routes, tmp_path) as running:
            port = int(running.url.rpartition(":")[2])
            await ask(port, body)  # what is made once
            gc.collect()
            gc.garbage.clear()
            for _ in range(TIMES):
                await ask(port, body)
            await asyncio.sleep(0.05)
            gc.collect()
            left = Counter(f"{type(one).__module__}.{type(one).__qualname__}" for one in gc.garbage)
    ours = {name: count for name, count in left.items() if name.startswith("gateway.") and count >= TIMES // 2}
    assert ours == {}
