import asyncio
import hashlib
from collections.abc import AsyncIterator

import pytest

from gateway.core.types import Refusal, Surface
from gateway.exchange import Presence
from gateway.ports import Job
from gateway.relay import Result
from gateway.web.errors import ours
from tests.web.house import House, Kept, ask, attempt_of, get, post, read_reply, record_of, serving, until

PATH = "/v1/images/generations"


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
async def port(house: House) -> AsyncIterator[int]:
    async with serving(house.app()) as number:
        yield number


@pytest.mark.parametrize("surface", list(Surface))
async def test_a_delivery_with_its_stamps(house: House, port: int, surface: Surface) -> None:
    reply = await ask(port, post(f"/v1/{surface.value}?a=b", b'{"prompt":"x"}', "X-Twice: 1", "X-Twice: 2"))
    assert (reply.status, reply.json) == (200, {"data": [], "endpoint": surface.value})
    assert reply["x-route-owner"] == "openai"
    assert reply["x-route-attempts"] == "1"
    assert reply["x-should-retry"] is None
    assert reply["connection"] is None
    incoming = house.desk.seen[0]
    assert (incoming.surface, incoming.query, incoming.request_id) == (surface, "a=b", reply["x-request-id"])
    assert incoming.headers["content-type"] == "application/json"
    assert incoming.headers["x-twice"] == "1, 2"
    assert house.desk.bodies == [b'{"prompt":"x"}']
    assert house.desk.spooled[0].closed == 1
    assert house.log.lines == []


async def test_an_answer_in_pieces_arrives_byte_for_byte(house: House, port: int) -> None:
    kept = Kept(*(bytes([n]) * 262_144 for n in range(20)))

    async def big(job: Job, _presence: Presence) -> Result:
        return Result(
            status=200,
            record=record_of(job.request_id, attempts=(attempt_of(),)),
            body=kept,
            content_type="application/json; charset=utf-8\r\nx: y",
            upstream_headers=(("openai-processing-ms", "12"), ("set-cookie", "a")),
        )

    house.line.serve = big
    reply = await ask(port, post(PATH))
    assert hashlib.sha256(reply.body).digest() == hashlib.sha256(b"".join(kept.pieces)).digest()
    assert reply["content-type"] == "application/json; charset=utf-8x: y"
    assert reply["openai-processing-ms"] == "12"
    assert reply["set-cookie"] is None
    assert kept.closed == 1


async def test_two_requests_on_one_connection(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(2):
        writer.write(post(PATH))
        assert (await read_reply(reader)).status == 200
    writer.close()


async def test_an_empty_answer_is_an_answer(house: House, port: int) -> None:
    async def empty(job: Job, _presence: Presence) -> Result:
        return Result(status=200, record=record_of(job.request_id), body=Kept())

    house.line.serve = empty
    assert (await ask(port, post(PATH))).body == b""


async def test_an_error_tells_the_attempts_and_never_to_retry(house: House, port: int) -> None:
    async def fail(job: Job, _presence: Presence) -> Result:
        record = record_of(job.request_id, status=502, attempts=(attempt_of(),))
        return Result(status=502, record=record, error=ours(502, "upstream_error", "m"), may_retry=True)

    house.line.serve = fail
    reply = await ask(port, post(PATH))
    assert (reply.status, reply.error["code"]) == (502, "upstream_error")
    assert len(reply.error["attempts"]) == 1  # type: ignore[arg-type]
    assert (reply["x-should-retry"], reply["retry-after"]) == ("false", None)


async def test_nothing_started_may_be_tried_again(house: House, port: int) -> None:
    async def none(job: Job, _presence: Presence) -> Result:
        error = ours(503, "no_healthy_target", "m")
        return Result(status=503, record=record_of(job.request_id, status=503), error=error, may_retry=True)

    house.line.serve = none
    reply = await ask(port, post(PATH))
    assert (reply["x-should-retry"], reply["retry-after"], reply["x-route-attempts"]) == ("true", "1", "0")
    assert "attempts" not in reply.error


async def test_a_kept_error_says_not_to_retry(house: House, port: int) -> None:
    async def theirs(job: Job, _presence: Presence) -> Result:
        record = record_of(job.request_id, status=400, attempts=(attempt_of(),))
        return Result(status=400, record=record, body=Kept(b"{}"))

    house.line.serve = theirs
    reply = await ask(port, post(PATH))
    assert (reply.status, reply.body, reply["x-should-retry"]) == (400, b"{}", "false")


async def test_a_result_without_answer_or_error_is_an_error(house: House, port: int) -> None:
    async def nothing(job: Job, _presence: Presence) -> Result:
        return Result(status=499, record=record_of(job.request_id, status=499))

    house.line.serve = nothing
    reply = await ask(port, post(PATH))
    assert (reply.status, reply.error["code"]) == (502, "upstream_unknown_outcome")


async def test_a_refusal_is_settled_and_answered(house: House, port: int) -> None:
    house.desk.verdict = Refusal(status=400, code="invalid_value", message="n must be 1 to 10.", param="n")
    reply = await ask(port, post(PATH))
    assert reply.error == {
        "message": "n must be 1 to 10.",
        "type": "invalid_request_error",
        "param": "n",
        "code": "invalid_value",
    }
    assert (reply["x-route-attempts"], reply["x-should-retry"], reply["connection"]) == ("0", "false", None)
    refused = house.line.refusals[0]
    assert (refused.endpoint, refused.request_id) == ("images/generations", reply["x-request-id"])
    assert house.log.lines == []


@pytest.mark.parametrize("size", [3_000_000, 20_000_000])
async def test_a_client_that_still_sends_gets_its_413(house: House, port: int, size: int) -> None:
    """The client writes all of its body before it reads, as HTTP clients do."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(get(PATH, "Content-Type: application/json", f"Content-Length: {size}", method="POST"))
    for _ in range(size // 100_000):
        writer.write(bytes(100_000))
        await writer.drain()
    writer.write(bytes(size % 100_000))
    reply = await read_reply(reader)
    assert (reply.status, reply.error["code"], reply["connection"]) == (413, "request_too_large", "close")
    assert await reader.read() == b""
    writer.close()
    assert len(house.line.refusals) == 1


async def test_a_client_that_announces_a_body_and_waits_is_answered_and_closed(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(get("/nothing", "Content-Length: 100", method="POST"))
    reply = await read_reply(reader)
    assert (reply.status, reply["connection"]) == (404, "close")
    assert await reader.read() == b""
    writer.close()


async def test_expect_100_is_answered_before_the_body(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(get(PATH, "Content-Length: 2", "Expect: 100-continue", method="POST"))
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"{}")
    assert (await read_reply(reader)).status == 200
    writer.close()


async def test_a_client_that_leaves_while_sending_is_settled(house: House, port: int) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(get(PATH, "Content-Length: 100", method="POST") + b"{")
    await until(lambda: house.desk.seen)
    writer.close()
    await until(lambda: house.line.refusals)
    assert (house.line.refusals[0].refusal.status, house.line.refusals[0].refusal.code) == (499, "client_gone")
    assert house.line.jobs == []


async def test_the_relay_learns_that_the_client_left_and_goes_on(house: House, port: int) -> None:
    finished = asyncio.Event()
    kept = Kept(b"late")

    async def patient(job: Job, presence: Presence) -> Result:
        left = asyncio.Event()
        presence.watch(left.set)
        await left.wait()
        await asyncio.sleep(0.05)
        finished.set()
        return Result(status=200, record=record_of(job.request_id), body=kept)

    house.line.serve = patient
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(post(PATH))
    await until(lambda: house.line.jobs)
    writer.close()
    async with asyncio.timeout(5):
        await finished.wait()
    await until(lambda: kept.closed)
    assert kept.given == 0
    assert house.desk.spooled[0].closed == 1


async def test_writing_stops_when_the_client_leaves(house: House, port: int) -> None:
    kept = Kept(*([bytes(262_144)] * 400))

    async def big(job: Job, _presence: Presence) -> Result:
        return Result(status=200, record=record_of(job.request_id), body=kept)

    house.line.serve = big
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(post(PATH))
    await until(lambda: kept.given)
    writer.transport.abort()
    await until(lambda: kept.closed)
    assert kept.given < 400
