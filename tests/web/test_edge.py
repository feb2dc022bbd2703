import asyncio
from collections.abc import AsyncIterator, MutableMapping
from typing import Any

import pytest

from gateway.exchange import Presence
from gateway.ports import Job
from gateway.relay import Result
from gateway.web.edge import MAX_HEADERS, check_head
from gateway.web.errors import BadHead
from tests.web.house import House, ask, attempt_of, deliver, get, post, record_of, serving, until

HOST = (b"host", b"gateway.test")


@pytest.mark.parametrize(
    "host",
    [
        b"localhost",
        b"localhost:8484",
        b"127.0.0.1:1",
        b"[::1]",
        b"[::1]:8484",
        b"[::ffff:127.0.0.1]",
        b"a_b.c-d",
        b"xn--p1ai.",
    ],
)
def test_good_hosts_pass(host: bytes) -> None:
    check_head([(b"host", host)])


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [HOST, HOST],
        [(b"host", b"")],
        [(b"host", b"a/b?c")],
        [(b"host", b"a b")],
        [(b"host", b"user@host")],
        [(b"host", b"a,b")],
        [(b"host", b"a:b")],
        [(b"host", b"a:123456")],
        [(b"host", b"::1")],
        [(b"host", b"[::1")],
        [(b"host", b"[g]")],
        [(b"host", b"<script>")],
        [(b"host", b"a\\b")],
        [(b"host", "größe.test".encode())],
        [(b"host", b"a" * 256)],
        [HOST, (b"content-length", b"1"), (b"transfer-encoding", b"chunked")],
        [HOST, (b"content-length", b"1"), (b"content-length", b"1")],
        [HOST, (b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"chunked")],
        [HOST, (b"transfer-encoding", b"gzip, chunked")],
        [HOST, *[(b"x", b"y")] * MAX_HEADERS],
        [HOST, (b"x", b"y" * 32 * 1024)],
    ],
)
def test_a_doubtful_head_is_refused(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(BadHead):
        check_head(headers)


def test_a_full_head_passes() -> None:
    check_head([HOST, *[(b"x", b"y" * 300)] * (MAX_HEADERS - 1)])


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
async def port(house: House) -> AsyncIterator[int]:
    async with serving(house.app()) as number:
        yield number


async def test_a_refused_host_is_not_repeated(house: House, port: int) -> None:
    reply = await ask(port, b"GET /v1/models HTTP/1.1\r\nHost: evil/<x>\r\n\r\n")
    assert (reply.status, reply.error["code"], reply.error["param"]) == (400, "invalid_value", "headers")
    assert b"evil" not in reply.body
    assert reply["x-request-id"] == "req_" + "1".rjust(32, "0")


@pytest.mark.parametrize(
    "request_bytes",
    [
        get("/v1/models"),
        get("/v1/models/nobody"),
        get("/v1/flights/fl_0"),
        get("/v1/nothing"),
        get("/v1/images/edits"),
        get("/v1/images/edits", method="OPTIONS"),
        post("/v1/chat/completions"),
        b"POST /v1/responses HTTP/1.1\r\nHost: a/b\r\n\r\n",
    ],
)
async def test_every_answer_of_the_api_says_how_many_attempts_were_started(port: int, request_bytes: bytes) -> None:
    reply = await ask(port, request_bytes)
    assert reply["x-route-attempts"] == "0"
    assert str(reply["server-timing"]).startswith("gateway;dur=")


async def test_what_is_not_of_the_api_says_nothing_of_attempts(port: int) -> None:
    for path in ("/healthz", "/nothing", "/assets/x", "/api/requests"):
        assert (await ask(port, get(path)))["x-route-attempts"] is None


async def test_over_the_limit_is_answered_at_once_and_health_goes_on(house: House, port: int) -> None:
    house.max_in_flight = 1
    release = asyncio.Event()

    async def wait(job: Job, presence: Presence) -> Result:
        await release.wait()
        return await deliver(job, presence)

    house.line.serve = wait
    async with serving(house.app()) as narrow, asyncio.TaskGroup() as group:
        held = group.create_task(ask(narrow, post("/v1/images/generations")))
        await until(lambda: house.line.jobs)
        shed = await ask(narrow, post("/v1/images/generations"))
        assert (shed.status, shed.error["code"]) == (503, "gateway_overloaded")
        assert (shed["retry-after"], shed["x-should-retry"], shed["connection"]) == ("1", "true", "close")
        assert (await ask(narrow, get("/v1/models"))).status == 503
        assert (await ask(narrow, get("/healthz"))).status == 200
        assert (await ask(narrow, get("/readyz"))).status == 200
        release.set()
        assert (await held).status == 200
        assert (await ask(narrow, post("/v1/images/generations"))).status == 200
        assert (await ask(narrow, get("/nothing"))).status == 404
    assert [(record.endpoint, record.result.code) for record in house.books.notes] == [
        ("images/generations", "gateway_overloaded"),
        ("models", "gateway_overloaded"),
    ]
    assert house.books.rows == []


async def test_a_bug_is_a_500_that_tells_nothing_and_a_log_line_that_does(house: House, port: int) -> None:
    async def break_down(_job: Job, _presence: Presence) -> Result:
        raise KeyError("sk-secret in the message")

    house.line.serve = break_down
    reply = await ask(port, post("/v1/images/generations"))
    assert (reply.status, reply.error["code"], reply.error["type"]) == (500, "internal_error", "server_error")
    assert reply["x-should-retry"] == "false"
    (bug,) = house.log.lines
    (finished,) = house.books.rows
    assert (bug["event"], bug["error"], bug["request_id"]) == ("gateway.bug", "KeyError", reply["x-request-id"])
    assert isinstance(bug["at"], list)
    assert bug["at"][0].startswith("web/test_edge.py:")
    assert "secret" not in repr(bug)
    assert (finished.result.status, finished.result.code) == (500, "internal_error")
    assert house.desk.spooled[0].closed == 1


class Breaking:
    length = 10
    closed = False

    async def chunks(self) -> AsyncIterator[bytes]:
        yield b"12345"
        raise OSError("disk")

    def close(self) -> None:
        self.closed = True


async def test_a_bug_in_the_middle_of_an_answer_ends_the_connection(house: House, port: int) -> None:
    body = Breaking()

    async def half(job: Job, _presence: Presence) -> Result:
        return Result(status=200, record=record_of(job.request_id, attempts=(attempt_of(),)), body=body)

    house.line.serve = half
    with pytest.raises(asyncio.IncompleteReadError):
        await ask(port, post("/v1/images/generations"))
    assert body.closed
    assert [line["event"] for line in house.log.lines] == ["gateway.bug"]


async def test_a_websocket_scope_is_closed(house: House) -> None:
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    await house.app()({"type": "websocket", "path": "/", "headers": []}, receive, send)
    assert sent == [{"type": "websocket.close", "code": 1000}]


async def test_each_request_of_a_connection_has_its_own_id(port: int) -> None:
    first, second = await ask(port, get("/healthz")), await ask(port, get("/healthz"))
    assert first["x-request-id"] != second["x-request-id"]


@pytest.mark.parametrize(
    ("path", "endpoint", "shown"),
    [
        ("/v1/images/generation", "unknown", "/v1/images/generation"),
        ("/v1/nothing?key=secret", "unknown", "/v1/nothing"),
        ("/v1/a%0d%0ab%C3%A9%22", "unknown", "/v1/a%0D%0Ab%C3%A9%22"),
        ("/v1/" + "x.y/" * 100, "unknown", ("/v1/" + "x.y/" * 100)[:200]),
        ("/v1/sk-0123456789abcdef", "unknown", "/v1/***"),
        ("/v1/flights", "unknown", "/v1/flights"),
        ("/v1/flights/fl_0", "flights", None),
        ("/v1/models/nobody", "models", None),
    ],
)
async def test_the_record_of_a_wrong_address_holds_it(
    house: House, port: int, path: str, endpoint: str, shown: str | None
) -> None:
    assert (await ask(port, get(path))).status == 404
    (row,) = house.books.rows
    assert (row.endpoint, row.path) == (endpoint, shown)
    assert row.as_json().get("path") == shown
