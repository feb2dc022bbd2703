"""What a client gets is what the upstream sent, by hash: through sockets, the parser, the spool, and out again.

Each body is served whole, torn into single bytes, in odd slices, and as chunks of any size; over JSON and as a stream.
"""

import asyncio
import base64
import hashlib
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fakes.answers import USAGE, png
from tests.fakes.events import picture_event, response_events
from tests.fakes.gateway import running_gateway
from tests.fakes.script import Script, reply, stream
from tests.fakes.upstream import FakeUpstream

ROUTES = """\
version: 1
server: {{stream_hold: 0s}}
channels:
  A:
    {{owner: a.example, kind: direct, api: openai, base_url: "{url}", api_key: "{key}",
      rows: {{m: {{serves: [images/generations, responses], contract: open}}}}}}
routes: {{m: {{targets: [A]}}}}
"""
SMALL = [png(8, 8), png(64, 48, alpha=True, noise=True)]
LARGE = png(700, 500, noise=True)  # a megabyte: lies in the spool, goes out in many pieces
LONG = "9" * 1_500
FEW = 12_000  # bytes of a body that is torn into single ones


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def images(*pictures: bytes, indent: int | None = None, **more: object) -> str:
    return json.dumps({"created": 1, "data": [{"b64_json": b64(one)} for one in pictures], **more}, indent=indent)


FIRST = b64(SMALL[0])
JSON = {
    "compact": images(*SMALL, usage=USAGE).replace(": ", ":").replace(", ", ","),
    "pretty": images(*SMALL, indent=4, usage=USAGE),
    "tabs, CRLF and room at both ends": " \r\n\t" + images(*SMALL, indent=1).replace("\n", "\r\n\t") + "\r\n  ",
    "large": images(LARGE),
    "large and small": images(SMALL[0], LARGE, SMALL[1]),
    "pictures last": json.dumps({"usage": USAGE, "zeta": 1, "data": [{"zz": 0, "b64_json": FIRST}], "alpha": 2}),
    "unknown fields, deep": images(
        SMALL[0], unknown={"a": [{"b": [[], {}, None, True, "x" * 500]}] * 12}, data2=[{"b64_json": "not one"}]
    ),
    "numbers of any length": (
        f'{{"i":{LONG},"n":-{LONG},"f":0.{LONG},"e":1{LONG}E+{LONG},"z":-0,"one":1.0,"t":1e-400,"data":[{{"b64_json":"{FIRST}"}}]}}'
    ),
    "escapes": (
        '{"d\\u0061ta":1,"s":"\\u00e9\\ud83d\\ude00\\/\\b\\f\\n\\r\\t\\"\\\\ \\u0000\\u2028","k\\n":"\\u007f",'
        f'"data":[{{"revised_prompt":"\\u00fc ü \\ud800","b64_json":"{FIRST}"}}]}}'
    ),
    "escaped slashes in a picture": images(SMALL[1]).replace("/", "\\/"),
    "a picture's letters as escapes": images(SMALL[0]).replace("iVBOR", "\\u0069VB\\u004fR"),
    "all of Unicode as it is": images(SMALL[0], said="ü é 漢字 😀 \u2028\u2029\ufeff\u200b").encode().decode(),
    "raw Unicode": json.dumps({"data": [{"b64_json": FIRST, "revised_prompt": "漢字 😀 \u2028"}]}, ensure_ascii=False),
    "line ends in a picture": images(SMALL[1]).replace("iVBOR", "iVBOR\\n\\r\\n"),
    "a picture without its padding": images(SMALL[0]).replace("=", ""),
    "a picture and an address": json.dumps({"data": [{"url": "https://x.example/a?b=\u00fc", "b64_json": FIRST}]}),
    "data URLs": json.dumps({"data": [{"url": f"data:image/png;base64,{FIRST}"}]}),
    "a field twice": f'{{"created":1,"created":2,"data":[{{"b64_json":"{FIRST}","x":1,"x":2}}]}}',
    "ten": images(*[png(8, 8)] * 10),
}
WAYS = {
    "whole": (False, 0),
    "bytes": (False, 1),
    "slices": (False, 1_021),
    "chunks": (True, 65_535),
    "drops": (True, 7),
}

A_PREVIEW = json.dumps(picture_event("partial_image", 0, data=SMALL[1]))
THE_END = json.dumps(picture_event("completed", data=SMALL[0]))


def block(data: str, end: str = "\n", kind: str = "image_generation.completed") -> str:
    return f"event: {kind}{end}data: {data}{end}{end}"


def told(preview: str, last: str, end: str = "\n") -> str:
    return block(preview, end, "image_generation.partial_image") + block(last, end)


EVENTS = {
    "as OpenAI sends them": told(A_PREVIEW, THE_END),
    "CRLF": told(A_PREVIEW, THE_END, "\r\n"),
    "CR": told(A_PREVIEW, THE_END, "\r"),
    "no space, no name": f"data:{A_PREVIEW}\n\ndata:{THE_END}\n\n",
    "an id, a retry, an unknown field": f"id: 7\nretry: 10\nodd: x\n{told(A_PREVIEW, THE_END)}",
    "data over lines": told(A_PREVIEW.replace(", ", ",\ndata: "), THE_END.replace(", ", ",\ndata: ")),
    "odd order and long numbers": told(
        A_PREVIEW, f'{{"x":{LONG},"y":1.0{LONG}e+400,"b64_json":"{FIRST}","type":"image_generation.completed"}}'
    ),
    "escapes": told(
        A_PREVIEW.replace("/", "\\/"),
        THE_END[:-1] + ',"s":"\\u00e9\\ud83d\\ude00\\/\\n\\"\\\\ ü 漢字","k\\n":"\\u007f"}',
    ),
    "unknown events between": block('{"type":"x.y","b64_json":"' + FIRST + '","n":' + LONG + "}", kind="x.y")
    + told(A_PREVIEW, THE_END),
    "large": told(A_PREVIEW, json.dumps(picture_event("completed", data=LARGE))),
    "a picture that is none": told(A_PREVIEW.replace(b64(SMALL[1]), "@@@@" * 2_000), THE_END),
}


@dataclass(slots=True, kw_only=True)
class House:
    upstream: FakeUpstream
    port: int

    async def ask(self, script: Script, path: str = "images/generations", **more: object) -> bytes:
        """Have one request served, and give the answer's body."""
        self.upstream.play(script)
        body = json.dumps({"model": "m", "prompt": "a lighthouse", "input": "hello", **more}).encode()
        head = f"POST /v1/{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        whole = await asyncio.wait_for(reader.read(), 20)
        writer.close()
        top, _, rest = whole.partition(b"\r\n\r\n")
        assert top.startswith(b"HTTP/1.1 200"), whole[:600]
        return unchunked(rest) if b"transfer-encoding: chunked" in top.lower() else rest


def unchunked(data: bytes) -> bytes:
    pieces: list[bytes] = []
    at = 0
    while True:
        line = data.index(b"\r\n", at)
        size = int(data[at:line], 16)
        if not size:
            return b"".join(pieces)
        pieces.append(data[line + 2 : line + 2 + size])
        at = line + size + 4


def digest(data: bytes) -> str:
    return f"{len(data)} bytes, {hashlib.sha256(data).hexdigest()}"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with FakeUpstream() as upstream:
        routes = ROUTES.format(url=upstream.url, key=upstream.key)
        async with running_gateway(routes, tmp_path) as running:
            yield House(upstream=upstream, port=int(running.url.rpartition(":")[2]))


@pytest.mark.parametrize("name", JSON)
async def test_an_answer_is_what_the_upstream_sent(name: str, house: House) -> None:
    body = JSON[name].encode("utf-8", "surrogatepass")
    for way, (chunked, size) in WAYS.items():
        if size in (1, 7) and len(body) > FEW:
            continue
        got = await house.ask(reply(200, body, chunked=chunked, slice=size))
        assert (way, digest(got)) == (way, digest(body))


@pytest.mark.parametrize("name", EVENTS)
async def test_events_are_what_the_upstream_sent(name: str, house: House) -> None:
    body = EVENTS[name].encode()
    for size in (0, 1, 1_021):
        if size == 1 and len(body) > FEW:
            continue
        # An event is over at its blank line: its last LF, come by itself, is not waited for, and the end becomes LF LF.
        sent = body.replace(b"\r\n\r\n", b"\n\n") if size == 1 else body
        got = await house.ask(stream(body, slice=size), stream=True, partial_images=1)
        assert (size, digest(got)) == (size, digest(sent))


async def test_a_turn_is_what_the_upstream_sent(house: House) -> None:
    events = response_events()
    whole = json.dumps(events[-1]["response"], indent=2).encode()
    assert digest(await house.ask(reply(200, whole), "responses")) == digest(whole)
    text = "".join(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in events)
    streamed = re.sub(r"(\"created_at\": \d+)", rf'\1, "odd": {LONG}', text).encode()
    assert digest(await house.ask(stream(streamed), "responses", stream=True)) == digest(streamed)
