"""Streams where the transcripts cannot follow: clients that leave, times, and what is in the ledger when."""

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.answers import png
from tests.fakes.events import event, picture_event, told
from tests.fakes.pair import DRAWING, GENERATION, TURN, Pair, leave, running_pair
from tests.fakes.script import Script, stream
from tests.test_relay import running_requests
from tests.web.house import until

STREAMED = {**GENERATION, "stream": True, "partial_images": 2}
FINAL = hashlib.sha256(png(64, 48, seed=9)).hexdigest()
BREATH = "pause 0.3"


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    async with running_pair(tmp_path) as pair:
        yield pair


async def leave_after_first(pair: Pair, path: str, body: dict[str, Any], script: Script) -> dict[str, Any]:
    """Leave as soon as the first event with content was written; gives the record."""
    pair.a.play(script)
    port = int(pair.gateway.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    data = json.dumps(body).encode()
    head = f"POST /v1/{path} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {len(data)}"
    writer.write(head.encode() + b"\r\n\r\n" + data)
    await reader.readuntil(b"\r\n\r\n")
    await reader.readuntil(b"data: ")
    await leave(writer)
    return await pair.only_record()


async def test_a_picture_is_awaited_when_its_client_left_in_the_middle(pair: Pair) -> None:
    script = told(f"partial, {BREATH}, partial, {BREATH}, completed")
    record = await leave_after_first(pair, "images/generations", STREAMED, script)
    result = record["result"]
    assert [image["sha256"] for image in result["images"]] == [FINAL]
    assert (result["partial_images_received"], result["partial_images_sent"]) == (2, 1)
    assert (result["status"], result["delivery"]) == (200, "none")
    assert record["usage"]["output_tokens"] == 1756
    assert record["attempts"][0]["outcome"] == "delivered"
    assert pair.asked == (1, 0)


async def test_a_turn_that_draws_is_awaited_too(pair: Pair) -> None:
    script = told(f"created, in_progress, output_item.added, {BREATH}, finished")
    record = await leave_after_first(pair, "responses", {**DRAWING, "stream": True}, script)
    assert record["attempts"][0]["outcome"] == "delivered"
    assert record["result"]["response_id"] == "resp_68f1c0ffee"
    assert record["usage"]["tool_usage"]["image_gen"]["output_tokens"] == 1756
    assert pair.asked == (1, 0)


async def test_a_plain_turn_is_given_up_with_its_client(pair: Pair) -> None:
    script = told("created, in_progress, output_item.added, pause 30.0, finished")
    began = time.monotonic()
    record = await leave_after_first(pair, "responses", {**TURN, "stream": True}, script)
    assert time.monotonic() - began < 5
    assert record["attempts"][0]["class"] == "client_gone"
    assert record["attempts"][0]["upstream_request_id"] == "up_1"
    assert record["result"]["response_id"] == "resp_68f1c0ffee"
    await until(lambda: pair.a.open_connections == 0)


async def test_a_picture_that_breaks_after_its_client_left(pair: Pair) -> None:
    record = await leave_after_first(pair, "images/generations", STREAMED, told(f"partial, {BREATH}, partial; cut"))
    attempt = record["attempts"][0]
    assert (attempt["class"], attempt["detail"], attempt["outcome"]) == ("cut", "truncated", "unknown")
    assert record["result"]["partial_images_received"] == 2
    assert pair.asked == (1, 0)


async def test_events_go_on_when_they_come(pair: Pair) -> None:
    pair.a.play(told(f"partial, {BREATH}, partial, {BREATH}, completed"))
    async with pair.client.stream("POST", f"{pair.gateway.url}/v1/images/generations", json=STREAMED) as answer:
        came = [time.monotonic() async for line in answer.aiter_lines() if line.startswith("event:")]
    assert len(came) == 3
    assert came[1] - came[0] > 0.2
    assert came[2] - came[1] > 0.2


async def test_a_flood_of_events_leaves_others_their_turn(pair: Pair) -> None:
    """An upstream that says nothing all the time, with comments that come in one piece."""
    longest_s = 0.0

    async def others() -> None:
        nonlocal longest_s
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            longest_s = max(longest_s, time.thread_time() - before)

    pair.a.play(stream(b":\n\n" * 60_000, event(picture_event("completed"))))
    beside = asyncio.ensure_future(others())
    answer = await pair.post("images/generations", STREAMED)
    beside.cancel()
    assert answer.text.count("image_generation.completed") == 2  # its name, and its type
    assert longest_s < 0.08


async def test_the_request_is_settled_before_its_last_byte_leaves(pair: Pair) -> None:
    pair.a.play(told("partial, completed"))
    seen = b""
    async with pair.client.stream("POST", f"{pair.gateway.url}/v1/images/generations", json=STREAMED) as answer:
        async for piece in answer.aiter_bytes():
            seen += piece
            if b"image_generation.completed" in seen:
                break
        [row] = pair.ledger()
    assert row.record is not None
    assert row.record["result"]["delivery"] == "stream"  # type: ignore[index,call-overload]


async def test_a_connection_that_carried_a_stream_is_kept(pair: Pair) -> None:
    for _ in range(3):
        pair.a.play(told("partial, completed"))
        answer = await pair.post("images/generations", STREAMED)
        assert answer.text.count("event:") == 2
    assert (pair.a.count, pair.a.connections) == (3, 1)


async def test_a_stream_that_does_not_end_costs_its_client_a_moment(pair: Pair) -> None:
    pair.a.play(told("partial, completed; open"))
    began = time.monotonic()
    answer = await pair.post("images/generations", STREAMED)
    assert answer.text.count("event:") == 2
    assert time.monotonic() - began < 2


async def test_sixteen_streams_do_not_meet(pair: Pair) -> None:
    pair.a.play(*(told(f"partial, {BREATH}, partial, completed") for _ in range(16)))
    answers = await asyncio.gather(*(pair.post("images/generations", STREAMED) for _ in range(16)))
    assert {answer.text.count("event:") for answer in answers} == {3}
    ids = {answer.headers["x-request-id"] for answer in answers}
    assert len(ids) == 16


async def test_a_spool_that_is_full_ends_the_stream_in_order(pair: Pair) -> None:
    pair.gateway.gateway.spool._memory_left = pair.gateway.gateway.spool._disk_left = 2_000
    pair.a.play(told("partial, completed 1MB"))
    answer = await pair.post("images/generations", STREAMED)
    assert answer.text.split("event: ")[-1].startswith("error\n")
    record = await pair.record_of(answer)
    assert (record["attempts"][0]["class"], record["attempts"][0]["detail"]) == ("cut", "spool_full")


async def test_a_process_that_ends_says_so_in_the_stream(pair: Pair) -> None:
    pair.a.play(told("created, in_progress, output_item.added; stall"))
    seen = b""
    async with pair.client.stream("POST", f"{pair.gateway.url}/v1/responses", json={**TURN, "stream": True}) as answer:
        async for piece in answer.aiter_bytes():
            seen += piece
            if b"output_item.added" in seen and b"event: error" not in seen:
                for task in running_requests():
                    task.cancel()
    last = json.loads(seen.decode().split("event: error\ndata: ")[1])
    assert last["error"]["message"].startswith("The gateway was stopped")
    assert last["sequence_number"] == 3
    record = await pair.record_of(answer)
    assert (record["result"]["status"], record["result"]["delivery"]) == (200, "none")
