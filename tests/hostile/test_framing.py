"""Raw bytes against the server: one clean answer or a close, never two answers, never a job from doubtful bytes."""

import contextlib
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass

import orjson
import pytest
from starlette.types import Receive, Scope, Send

from gateway.web.receipt import Receipt
from tests.web.house import House, serving_apart

RECEIPT = Receipt(head_s=0.4, idle_s=0.4, idle_bytes=100, stall_s=0.4, linger_s=0.2)
ANSWER = re.compile(rb"HTTP/1\.1 (\d{3}) ")
QUIET_S = 0.06
HOST = b"Host: gateway.test\r\n"
POST = b"POST /v1/images/generations HTTP/1.1\r\n"
GET = b"GET /v1/models HTTP/1.1\r\n"
LENGTH = b"Content-Length: 2\r\n"
CODING = b"Transfer-Encoding: chunked\r\n"
CHUNKED = POST + HOST + CODING + b"\r\n"
UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n"
SERVED, REFUSED = 200, 400


@pytest.fixture(scope="module")
def house() -> House:
    return House()


@pytest.fixture(scope="module")
def port(house: House) -> Iterator[int]:
    with serving_apart(house.app(), RECEIPT) as number:
        yield number


@dataclass(frozen=True)
class Heard:
    """All that came back, and whether the server closed."""

    data: bytes
    closed: bool

    @property
    def statuses(self) -> list[int]:
        return [int(status) for status in ANSWER.findall(self.data)]


def listen(client: socket.socket, quiet_s: float = QUIET_S, total_s: float = 5.0) -> Heard:
    """Read until the server closes or, once something came, is quiet."""
    data = b""
    deadline = time.monotonic() + total_s
    while time.monotonic() < deadline:
        client.settimeout(quiet_s if data else deadline - time.monotonic())
        try:
            piece = client.recv(65536)
        except TimeoutError:
            return Heard(data, closed=False)
        except ConnectionError:
            return Heard(data, closed=True)
        if not piece:
            return Heard(data, closed=True)
        data += piece
    return Heard(data, closed=False)


def talk(port: int, *pieces: bytes, pause_s: float = 0.0) -> Heard:
    with socket.create_connection(("127.0.0.1", port)) as client:
        for piece in pieces:
            try:
                client.sendall(piece)
            except ConnectionError:
                break
            time.sleep(pause_s)
        return listen(client)


def sized(length: bytes, body: bytes = b"{}") -> bytes:
    return POST + HOST + b"Content-Length: " + length + b"\r\n\r\n" + body


def with_header(line: bytes) -> bytes:
    return GET + HOST + line + b"\r\n\r\n"


def chunks(raw: bytes) -> bytes:
    return CHUNKED + raw


# name, bytes, statuses that may come (None: a close without an answer)
CASES: list[tuple[str, bytes, set[int | None]]] = [
    ("plain get", GET + HOST + b"\r\n", {SERVED}),
    ("plain post", sized(b"2"), {SERVED}),
    ("plain chunked", chunks(b"2\r\n{}\r\n0\r\n\r\n"), {SERVED}),
    ("empty lines before", b"\r\n\r\n" + GET + HOST + b"\r\n", {SERVED}),
    ("http/1.0 with host", b"GET /v1/models HTTP/1.0\r\n" + HOST + b"\r\n", {SERVED}),
    ("leading zeros in length", sized(b"0002"), {SERVED, REFUSED}),
    ("upper case chunk size", chunks(b"A\r\n0123456789\r\n0\r\n\r\n"), {SERVED}),
    ("chunk extension", chunks(b"2;a=b\r\n{}\r\n0\r\n\r\n"), {SERVED}),
    ("trailers", chunks(b"2\r\n{}\r\n0\r\nX-T: 1\r\nHost: evil\r\n\r\n"), {SERVED}),
    ("two lengths, equal", POST + HOST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", {REFUSED}),
    ("two lengths, unequal", POST + HOST + b"Content-Length: 2\r\nContent-Length: 5\r\n\r\n{}", {REFUSED}),
    ("length list", sized(b"2, 2"), {REFUSED}),
    ("length with plus", sized(b"+2"), {REFUSED}),
    ("length with minus", sized(b"-2"), {REFUSED}),
    ("length in hex", sized(b"0x2"), {REFUSED}),
    ("length with blank inside", sized(b"1 2"), {REFUSED}),
    ("length empty", sized(b""), {REFUSED}),
    ("length underscore", sized(b"1_0"), {REFUSED}),
    ("length over 64 bits", sized(b"99999999999999999999"), {REFUSED}),
    (
        "length then coding",
        POST + HOST + LENGTH + CODING + b"\r\n0\r\n\r\n",
        {REFUSED},
    ),
    (
        "coding then length",
        POST + HOST + CODING + LENGTH + b"\r\n0\r\n\r\n",
        {REFUSED},
    ),
    ("coding xchunked", POST + HOST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", {REFUSED}),
    ("coding chunked twice", POST + HOST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", {REFUSED}),
    ("coding in two headers", CHUNKED[:-2] + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {REFUSED}),
    ("coding identity", POST + HOST + b"Transfer-Encoding: identity\r\n\r\n{}", {REFUSED}),
    ("coding gzip, chunked", POST + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", {REFUSED}),
    ("coding with tab", POST + HOST + b"Transfer-Encoding:\tchunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", {SERVED, REFUSED}),
    ("coding with vertical tab", POST + HOST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", {REFUSED}),
    ("coding name with blank", POST + HOST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", {REFUSED}),
    ("coding on http/1.0", POST.replace(b"1.1", b"1.0") + CHUNKED[len(POST) :] + b"0\r\n\r\n", {SERVED, REFUSED}),
    ("chunk size 0x", chunks(b"0x2\r\n{}\r\n0\r\n\r\n"), {REFUSED}),
    ("chunk size signed", chunks(b"+2\r\n{}\r\n0\r\n\r\n"), {REFUSED}),
    ("chunk size negative", chunks(b"-2\r\n{}\r\n0\r\n\r\n"), {REFUSED}),
    ("chunk size empty", chunks(b"\r\n{}\r\n0\r\n\r\n"), {REFUSED}),
    ("chunk size huge", chunks(b"fffffffffffffffff\r\n{}\r\n0\r\n\r\n"), {REFUSED}),
    ("chunk size with blank", chunks(b"2 \r\n{}\r\n0\r\n\r\n"), {REFUSED}),
    ("chunk size then lf", chunks(b"2\n{}\r\n0\r\n\r\n"), {REFUSED}),
    ("chunk data then lf", chunks(b"2\r\n{}\n0\r\n\r\n"), {REFUSED}),
    ("chunk data too long", chunks(b"2\r\n{}{}\r\n0\r\n\r\n"), {REFUSED}),
    ("lf in chunk extension", chunks(b"2;a\nb\r\n{}\r\n0\r\n\r\n"), {REFUSED}),
    ("cr in chunk extension", chunks(b"2;a\rb\r\n{}\r\n0\r\n\r\n"), {REFUSED}),
    ("no host", GET + b"\r\n", {REFUSED}),
    ("no host on http/1.0", b"GET /v1/models HTTP/1.0\r\n\r\n", {REFUSED}),
    ("two hosts", GET + HOST + HOST + b"\r\n", {REFUSED}),
    ("two hosts in two cases", GET + HOST + b"hOST: other.test\r\n\r\n", {REFUSED}),
    ("host with path", GET + b"Host: a/b?c\r\n\r\n", {REFUSED}),
    ("host with user", GET + b"Host: a@b\r\n\r\n", {REFUSED}),
    ("host list", GET + b"Host: a, b\r\n\r\n", {REFUSED}),
    ("host empty", GET + b"Host:\r\n\r\n", {REFUSED}),
    ("host in absolute form only", b"GET http://gateway.test/v1/models HTTP/1.1\r\n\r\n", {REFUSED}),
    ("host and absolute form", b"GET http://other.test/v1/models HTTP/1.1\r\n" + HOST + b"\r\n", {SERVED}),
    ("blank before host", GET + b" " + HOST + b"\r\n", {REFUSED}),
    ("folded header", with_header(b"X-A: 1\r\n 2"), {REFUSED}),
    ("folded host", GET + b"Host: gateway\r\n .test\r\n\r\n", {REFUSED}),
    ("bare lf", b"GET /v1/models HTTP/1.1\nHost: gateway.test\n\n", {REFUSED}),
    ("bare lf after a header", GET + b"Host: gateway.test\nX-A: 1\r\n\r\n", {REFUSED}),
    ("bare cr in a value", with_header(b"X-A: 1\r2"), {REFUSED}),
    ("nul in a value", with_header(b"X-A: 1\x002"), {REFUSED}),
    ("nul in a name", with_header(b"X\x00A: 1"), {REFUSED}),
    ("blank before colon", with_header(b"X-A : 1"), {REFUSED}),
    ("no colon", with_header(b"X-A"), {REFUSED}),
    ("no name", with_header(b": 1"), {REFUSED}),
    ("name in utf-8", with_header("X-Ä: 1".encode()), {REFUSED}),
    ("version 2.0", b"GET /v1/models HTTP/2.0\r\n" + HOST + b"\r\n", {REFUSED}),
    ("version 1.2", b"GET /v1/models HTTP/1.2\r\n" + HOST + b"\r\n", {REFUSED}),
    ("no version", b"GET /v1/models\r\n" + HOST + b"\r\n", {REFUSED, None}),
    ("http/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {REFUSED}),
    ("unknown method", b"GETS /v1/models HTTP/1.1\r\n" + HOST + b"\r\n", {REFUSED}),
    ("method in lower case", b"get /v1/models HTTP/1.1\r\n" + HOST + b"\r\n", {REFUSED}),
    ("blank in target", b"GET /v1/models /x HTTP/1.1\r\n" + HOST + b"\r\n", {REFUSED}),
    ("nul in target", b"GET /v1/mod\x00els HTTP/1.1\r\n" + HOST + b"\r\n", {REFUSED}),
    ("bytes over 127 in target", b"GET /v1/\xff HTTP/1.1\r\n" + HOST + b"\r\n", {REFUSED, 404}),
    ("target without slash", b"GET v1/models HTTP/1.1\r\n" + HOST + b"\r\n", {REFUSED, 404}),
    ("asterisk target", b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", {REFUSED, 404}),
    ("connect", b"CONNECT other.test:443 HTTP/1.1\r\n" + HOST + b"\r\n", {REFUSED, 404}),
    ("tls hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(300), {REFUSED}),
    ("noise", bytes(range(256)) * 4, {REFUSED}),
    ("a request behind one", GET + HOST + b"\r\n" + GET + HOST + b"\r\n", {SERVED}),
    ("noise behind a request", sized(b"2") + b"\x00\x01noise\r\n\r\n", {SERVED}),
    ("a request in a body too long", sized(b"2", b"{}" + GET + HOST + b"\r\n"), {SERVED}),
    ("upgrade to h2c", GET + HOST + UPGRADE, {SERVED}),
    (
        "noise behind an upgrade",
        GET + HOST + UPGRADE + GET + HOST + b"\r\n",
        {SERVED},
    ),
    ("99 headers", GET + HOST + b"".join(b"X-%d: 1\r\n" % n for n in range(99)) + b"\r\n", {SERVED}),
    ("101 headers", GET + HOST + b"".join(b"X-%d: 1\r\n" % n for n in range(100)) + b"\r\n", {REFUSED}),
    ("40 KB of headers", GET + HOST + b"X: " + b"y" * 40_000 + b"\r\n\r\n", {REFUSED}),
    ("100,000 headers", GET + HOST + b"X: 1\r\n" * 100_000 + b"\r\n", {REFUSED}),
    ("a 4 MB header", GET + HOST + b"X: " + b"y" * 4_000_000 + b"\r\n\r\n", {REFUSED}),
    ("a 4 MB target", b"GET /" + b"y" * 4_000_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", {REFUSED}),
    ("a 4 MB method", b"G" * 4_000_000, {REFUSED}),
    ("1 MB of trailers", chunks(b"2\r\n{}\r\n0\r\n" + b"X-T: 1\r\n" * 125_000 + b"\r\n"), {REFUSED}),
]


@pytest.mark.parametrize(("data", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_one_answer_or_a_close(house: House, port: int, data: bytes, expected: set[int | None]) -> None:
    jobs = len(house.line.jobs)
    heard = talk(port, data)
    assert len(heard.statuses) <= 1, heard.data
    status = heard.statuses[0] if heard.statuses else None
    assert status in expected, heard.data[:300]
    if status is None:
        assert heard.closed
    else:
        check_answer(heard, status)
    if status != SERVED:
        assert len(house.line.jobs) == jobs


def check_answer(heard: Heard, status: int) -> None:
    """An answer is whole, has an id, and a refusal has the API's envelope."""
    head, _, body = heard.data.partition(b"\r\n\r\n")
    fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])
    assert fields[b"x-request-id"].startswith(b"req_")
    assert int(fields[b"content-length"]) == len(body)
    if status >= 400:
        assert set(orjson.loads(body)["error"]) == {"message", "type", "param", "code"}
        assert fields[b"x-should-retry"] == b"false"


@pytest.mark.parametrize("name", ["a request behind one", "noise behind a request", "noise behind an upgrade"])
def test_what_comes_before_the_answer_is_not_looked_at(port: int, name: str) -> None:
    assert talk(port, next(data for case, data, _ in CASES if case == name)).closed


@pytest.mark.parametrize("at", [1, 20, 45, 70, 90, 100])
def test_a_request_may_come_in_two_pieces(port: int, at: int) -> None:
    whole = sized(b"2")
    assert talk(port, whole[:at], whole[at:], pause_s=0.02).statuses == [200]


def test_headers_one_byte_at_a_time_are_cut(port: int) -> None:
    began = time.monotonic()
    heard = talk(port, *(bytes([byte]) for byte in GET + HOST * 40), pause_s=0.02)
    assert heard.closed
    assert heard.statuses in ([408], [])
    assert time.monotonic() - began < 3


def test_headers_that_stop_get_an_answer(port: int) -> None:
    heard = talk(port, GET + HOST)
    assert (heard.statuses, heard.closed) == ([408], True)
    check_answer(heard, 408)


def test_empty_lines_do_not_keep_a_connection(port: int) -> None:
    heard = talk(port, *[b"\r\n"] * 40, pause_s=0.02)
    assert heard.closed
    assert heard.statuses in ([408], [])


def test_a_silent_connection_is_closed_without_a_word(port: int) -> None:
    heard = talk(port, b"")
    assert (heard.data, heard.closed) == (b"", True)


def settled_as(house: House, heard: Heard) -> str | None:
    """Give the code under which the answered request was settled; the server may still be at it."""
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        for refused in house.line.refusals:
            if refused.request_id.encode() in heard.data:
                return refused.refusal.code
        time.sleep(0.01)
    return None


def test_a_body_that_stops_is_cut(house: House, port: int) -> None:
    heard = talk(port, sized(b"1000", b"{"))
    assert (heard.statuses, heard.closed) == ([408], True)
    assert settled_as(house, heard) == "client_gone"


def test_a_body_that_trickles_is_cut(port: int) -> None:
    heard = talk(port, sized(b"1000", b""), *[b"x"] * 60, pause_s=0.02)
    assert heard.statuses in ([408], [])
    assert heard.closed


def test_a_body_of_nothing_but_chunk_extension_is_cut(port: int) -> None:
    heard = talk(port, CHUNKED + b"2;", *[b"x" * 1000] * 60, pause_s=0.02)
    assert heard.statuses in ([408], [])
    assert heard.closed


@pytest.fixture(scope="module")
def hasty() -> Iterator[int]:
    """A server whose application answers before it reads."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for step in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{step}.complete"})
            return
        await send({"type": "http.response.start", "status": SERVED, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"{}"})

    with serving_apart(app, RECEIPT) as number:
        yield number


@pytest.mark.parametrize(
    "head", [b"Content-Length: 400000\r\n\r\n", CODING + b"\r\n61a80\r\n"], ids=["length", "chunked"]
)
def test_an_answer_before_the_end_of_its_request_is_not_thrown_away(hasty: int, head: bytes) -> None:
    """A client that reads once it has sent everything can send everything, and finds its answer and then the end."""
    with socket.create_connection(("127.0.0.1", hasty)) as client:
        client.sendall(POST + HOST + head)
        for _ in range(5):
            time.sleep(0.02)
            client.sendall(bytes(80_000))
        heard = listen(client)
    assert heard.statuses == [SERVED]
    assert heard.data.endswith(b"\r\n\r\n{}")
    assert heard.closed


def test_a_request_whose_end_never_comes_does_not_keep_its_connection(hasty: int) -> None:
    with socket.create_connection(("127.0.0.1", hasty)) as client:
        client.sendall(sized(b"9000000"))
        assert listen(client).statuses == [SERVED]
        time.sleep(RECEIPT.linger_s * 1.5)
        client.settimeout(1)
        with contextlib.suppress(ConnectionError):  # the first piece tells that nobody is there
            client.sendall(bytes(1000))
            time.sleep(0.05)
        with pytest.raises(ConnectionError):
            client.sendall(bytes(1000))


def test_a_slow_body_that_keeps_coming_is_taken(port: int) -> None:
    assert talk(port, sized(b"6000", b""), *[b"x" * 100] * 60, pause_s=0.015).statuses == [200]


def test_a_bad_chunk_in_the_middle_of_a_body_is_one_refusal(house: House, port: int) -> None:
    heard = talk(port, CHUNKED + b"2\r\n{}\r\n", b"zz\r\n", pause_s=0.05)
    assert (heard.statuses, heard.closed) == ([400], True)
    assert settled_as(house, heard) == "client_gone"


def test_a_bad_chunk_behind_an_expectation_is_one_refusal(house: House, port: int) -> None:
    """The word to go on must not follow the answer, on a connection where no more may be written."""
    expecting = CHUNKED[:-2] + b"Expect: 100-continue\r\n\r\n"
    heard = talk(port, expecting + b"zz\r\n")
    assert (heard.statuses, heard.closed) == ([400], True)
    assert settled_as(house, heard) == "client_gone"
    assert house.log.lines == []


def test_a_connection_serves_many_requests_and_then_waits(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as client:
        for _ in range(20):
            client.sendall(sized(b"2"))
            assert listen(client, 0.02).statuses == [200]
        time.sleep(0.6)  # longer than a head may take: an idle connection is not a slow one
        client.sendall(GET + HOST + b"\r\n")
        assert listen(client).statuses == [200]


@pytest.mark.parametrize("cuts", [(1,), (2_000,), (1, 2_000, 2_999), (2_999,)])
def test_a_connection_goes_on_after_a_body_that_came_in_pieces(house: House, port: int, cuts: tuple[int, ...]) -> None:
    body = b"{" + b" " * 2_998 + b"}"
    head = sized(b"3000", b"")
    pieces = [body[start:end] for start, end in zip((0, *cuts), (*cuts, 3_000), strict=True)]
    jobs = len(house.line.jobs)
    with socket.create_connection(("127.0.0.1", port)) as client:
        for first in (head, head + pieces[0]):
            client.sendall(first)
            for piece in pieces if first == head else pieces[1:]:
                time.sleep(0.02)
                client.sendall(piece)
            assert listen(client).statuses == [200]
        client.sendall(chunks(b"2\r\n{}\r\n0\r\n\r\n"))
        assert listen(client).statuses == [200]
    assert len(house.line.jobs) == jobs + 3


@pytest.mark.parametrize("more", [GET + HOST + b"\r\n", b"noise", b"\x00", sized(b"2")])
def test_what_comes_with_the_last_piece_of_a_body_is_not_looked_at(house: House, port: int, more: bytes) -> None:
    jobs = len(house.line.jobs)
    heard = talk(port, sized(b"4", b"{"), b"  ", b"}" + more, pause_s=0.02)
    assert heard.closed
    assert len(heard.statuses) <= 1
    assert len(house.line.jobs) <= jobs + 1


def test_a_second_request_may_be_slow_only_so_long(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(sized(b"2"))
        assert listen(client).statuses == [200]
        client.sendall(GET)
        heard = listen(client)
        assert (heard.statuses, heard.closed) == ([408], True)
