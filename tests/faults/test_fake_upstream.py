"""The fake must be stricter than the things it judges."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.fakes.answers import (
    AZURE_ERRORS,
    NEW_API_ERRORS,
    OPENAI_ERRORS,
    failed_response,
    image_answer,
    png,
    responses_answer,
)
from tests.fakes.script import reply
from tests.fakes.upstream import FakeUpstream

GOOD = {
    "host": "{host}",
    "user-agent": "waybill/1",
    "accept-encoding": "identity",
    "authorization": "Bearer sk-upstream",
    "content-type": "application/json",
}


async def say(upstream: FakeUpstream, headers: dict[str, str], body: bytes, line: str = "POST /v1/responses") -> None:
    """Send one request, raw, and wait for the whole answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
    host = f"127.0.0.1:{upstream.port}"
    lines = [f"{line} HTTP/1.1", *(f"{k}: {v.format(host=host)}" for k, v in headers.items())]
    writer.write("\r\n".join([*lines, f"content-length: {len(body)}", "", ""]).encode() + body)
    await reader.readuntil(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()


async def test_a_good_request_is_no_problem() -> None:
    async with FakeUpstream(default=reply()) as upstream:
        await say(upstream, GOOD, b'{"model":"m"}')
        assert (upstream.count, upstream.problems) == (1, [])
        assert upstream.requests[0].json == {"model": "m"}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"authorization": "Bearer client-key"}, "header authorization is not the expected one"),
        ({"x-stainless-lang": "python"}, "header x-stainless-lang travelled"),
        ({"cookie": "a=b"}, "header cookie travelled"),
        ({"openai-organization": "org"}, "header openai-organization travelled"),
        ({"idempotency-key": "k"}, "header idempotency-key travelled"),
        ({"accept-encoding": "gzip"}, "header accept-encoding is not the expected one"),
        ({"host": "elsewhere"}, "header host is not the expected one"),
        ({"User-Agent": "aiohttp", "user-agent": "waybill/1"}, "header user-agent came 2 times"),
        ({"content-type": "text/plain"}, "content-type text/plain"),
    ],
)
async def test_what_must_not_travel_is_a_problem(change: dict[str, str], problem: str) -> None:
    async with FakeUpstream(default=reply()) as upstream:
        await say(upstream, {**GOOD, **change}, b"{}")
        assert problem in upstream.problems


@pytest.mark.parametrize(
    ("body", "content_type", "problem"),
    [
        (b"{", "application/json", "the body is not JSON"),
        (b"[]", "application/json", "the body is not a JSON object"),
        (b"--b\r\n", "multipart/form-data; boundary=b", "multipart without an end"),
        (b"junk", "multipart/form-data; boundary=b", "multipart"),
        (b"{}", "multipart/form-data", "multipart without a boundary"),
        (b"--b\r\ncontent-type: a/b\r\n\r\nx\r\n--b--\r\n", "multipart/form-data; boundary=b", "a part without a name"),
    ],
)
async def test_a_bad_body_is_a_problem(body: bytes, content_type: str, problem: str) -> None:
    async with FakeUpstream(default=reply()) as upstream:
        await say(upstream, {**GOOD, "content-type": content_type}, body)
        assert [one for one in upstream.problems if one.startswith(problem)]


async def test_an_unscripted_request_and_a_wrong_path_are_problems() -> None:
    async with FakeUpstream() as upstream:
        await say(upstream, GOOD, b"{}", "GET /v1/nowhere")
        assert upstream.problems == [
            "method GET",
            "path /v1/nowhere",
            "a request came for which nothing was scripted",
        ]


async def test_a_request_that_does_not_come_whole_does_not_count() -> None:
    async with FakeUpstream(default=reply()) as upstream:
        _, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
        writer.write(b"POST /v1/responses HTTP/1.1\r\ncontent-length: 100\r\n\r\n{")
        writer.close()
        await asyncio.sleep(0.1)
        assert (upstream.connections, upstream.count) == (1, 0)


def test_canned_bodies_are_what_they_claim() -> None:
    assert json.loads(image_answer(3, 8, 8))["size"] == "8x8"
    assert len({item["b64_json"] for item in json.loads(image_answer(3, 8, 8))["data"]}) == 3
    assert png(16, 8)[16:24] == (16).to_bytes(4, "big") + (8).to_bytes(4, "big")
    assert [item["type"] for item in json.loads(responses_answer())["output"]] == ["image_generation_call", "message"]
    assert json.loads(failed_response("rate_limit_exceeded"))["error"]["code"] == "rate_limit_exceeded"
    for error in (*OPENAI_ERRORS, *AZURE_ERRORS, *NEW_API_ERRORS):
        envelope = error.body["error"]
        assert isinstance(envelope, dict)
        assert set(envelope) == {"message", "type", "param", "code"}


def test_it_runs_as_a_process_and_tells_what_it_saw(tmp_path: Path) -> None:
    plan = {"scripts": [{"do": "drop_before_status"}], "default": {"do": "reply", "image": {"n": 1, "width": 8}}}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    command = [sys.executable, "-m", "tests.fakes.upstream", "--script", str(tmp_path / "plan.json")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        port = json.loads(process.stdout.readline())["port"]
        with urlopen(f"http://127.0.0.1:{port}/__seen") as answer:
            assert json.load(answer) == {"count": 0, "connections": 1, "problems": [], "requests": []}
        process.terminate()
