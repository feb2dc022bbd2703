"""What the data plane's client puts on the wire, what it takes off it, and what it leaves behind."""

import asyncio
import hashlib
import resource
import sys

import pytest

from gateway import __version__
from gateway.core.types import Cause, Phase
from gateway.ports import Broken, Call, Sender
from gateway.upstream.client import Upstream
from tests.fakes import script as fake
from tests.fakes.answers import image_answer
from tests.fakes.script import reply
from tests.fakes.tls import Certificate
from tests.fakes.upstream import FakeUpstream
from tests.faults.calls import EndlessBody, Limits, LyingBody, call, document, multipart, observe

WHOLE = (Phase.DONE, None)


# The request.


async def test_the_request_is_what_the_codec_said_and_nothing_more(sender: Sender) -> None:
    extra = (("accept", "application/json"), ("openai-beta", "x=1"), ("x-client-request-id", "c-1"))
    async with FakeUpstream(default=reply()) as upstream:
        await observe(sender, call(upstream.url, b'{"n": 1}', path="/responses?include=a%2Fb&x=%7E", headers=extra))
        seen = upstream.requests[0]
        assert (seen.path, seen.query, seen.body) == ("/v1/responses", "include=a%2Fb&x=%7E", b'{"n": 1}')
        assert dict(seen.headers) == {
            "host": f"127.0.0.1:{upstream.port}",
            "user-agent": f"waybill/{__version__}",
            "accept-encoding": "identity",
            "authorization": "Bearer sk-upstream",
            "content-type": "application/json",
            "content-length": "8",
            **dict(extra),
        }
        assert upstream.problems == []


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 262_144, 262_145, 3_000_000])
async def test_bodies_of_every_size_arrive_whole_with_their_length(size: int, sender: Sender) -> None:
    head, tail = multipart("b", "gpt-image-2", "a.png")
    body = head + b"\x00" * size + tail
    async with FakeUpstream(default=reply()) as upstream:
        made = call(upstream.url, body, path="/images/edits", content_type="multipart/form-data; boundary=b")
        assert (await observe(sender, made)).words == WHOLE
        seen = upstream.requests[0]
        assert (seen.length, seen.sha256) == (len(body), hashlib.sha256(body).hexdigest())
        assert [(part.name, part.length) for part in seen.parts] == [("model", 11), ("image", size)]
        assert upstream.problems == []


async def test_an_empty_body_is_a_request_too(sender: Sender) -> None:
    async with FakeUpstream(default=reply()) as upstream:
        assert (await observe(sender, call(upstream.url, b""))).words == WHOLE
        assert upstream.requests[0].header("content-length") == "0"


async def test_no_cookie_is_kept_and_no_proxy_taken_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, sender: Sender
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    answer = reply(headers={"set-cookie": "session=1; path=/"})
    async with FakeUpstream(default=answer) as upstream:
        for _ in range(2):
            assert (await observe(sender, call(upstream.url))).words == WHOLE
        assert upstream.problems == []
        assert upstream.requests[1].header("cookie") is None


@pytest.mark.parametrize("by", [10, -1, 100_000])
async def test_a_body_that_is_not_as_long_as_it_says_is_our_bug(by: int, sender: Sender) -> None:
    async with FakeUpstream(default=reply()) as upstream:
        with pytest.raises(RuntimeError, match="length"):
            await observe(sender, call(upstream.url, LyingBody(b"{}", by)))
        assert upstream.count == 0


@pytest.mark.parametrize("value", ["a\r\nx-evil: 1", "a\0b", "a\nb"])
async def test_a_header_that_cannot_be_written_is_not_sent(value: str, sender: Sender) -> None:
    async with FakeUpstream(default=reply()) as upstream:
        with pytest.raises(ValueError):  # noqa: PT011 - the client's own words, whatever they are
            await observe(sender, call(upstream.url, headers=(("x-client-request-id", value),)))
        assert upstream.count == 0


async def test_a_client_that_was_not_started_says_so() -> None:
    with pytest.raises(RuntimeError, match="not started"):
        await Upstream().send(call("http://127.0.0.1:9/v1"))


# The answer.


async def test_header_names_are_lower_case_and_the_last_of_two_counts(sender: Sender) -> None:
    lines = (b"HTTP/1.1 200 OK", b"X-Request-Id: a", b"X-Twice: 1", b"x-twice: 2", b"X-Odd: caf\xe9")
    wire = b"\r\n".join((*lines, b"Content-Length: 2", b"", b"{}"))
    async with FakeUpstream(fake.Script(name="raw", steps=(fake.Send(data=wire),))) as upstream:
        headers = (await observe(sender, call(upstream.url))).headers or {}
        assert headers == {"x-request-id": "a", "x-twice": "2", "x-odd": "caf\xe9", "content-length": "2"}


@pytest.mark.parametrize("slice_bytes", [1, 7, 1460, 0])
async def test_the_body_is_the_same_however_it_was_torn(slice_bytes: int, sender: Sender) -> None:
    body = image_answer(2, 24, 24, noise=1)
    async with FakeUpstream(reply(200, body, slice=slice_bytes)) as upstream:
        seen = await observe(sender, call(upstream.url))
        assert seen.words == WHOLE
        assert seen.body == body
        assert list(document(seen)) == list(document(seen))


async def test_an_answer_over_the_cap_ends_the_exchange_not_the_process(sender: Sender) -> None:
    endless = fake.Send(data=b"x" * 65_536, times=10_000)
    head = fake.head(200, {"content-type": "application/json", "connection": "close"})
    script = fake.Script(name="endless", steps=(fake.Send(data=head), endless), ending=fake.Ending.CLOSE)
    async with FakeUpstream(script) as upstream:
        seen = await observe(sender, call(upstream.url))
        assert seen.words == (Phase.ANSWERED, Cause.TOO_LARGE)
        assert len(seen.body) <= 4_000_000


@pytest.mark.parametrize("encoding", ["identity", "Identity", ""])
async def test_identity_is_no_encoding(encoding: str, sender: Sender) -> None:
    async with FakeUpstream(reply(headers={"content-encoding": encoding})) as upstream:
        assert (await observe(sender, call(upstream.url))).words == WHOLE


async def test_u47_garbage_in_the_answers_own_packet_never_answers_anybody(sender: Sender) -> None:
    wire = fake.head(200, {"content-length": "2"}) + b"{}GARBAGE"
    async with FakeUpstream(fake.Script(name="raw", steps=(fake.Send(data=wire),)), default=reply()) as upstream:
        first = await observe(sender, call(upstream.url))
        assert first.words in (WHOLE, (Phase.SENT, Cause.BAD_FRAMING))
        assert (await observe(sender, call(upstream.url))).words == WHOLE
        assert (upstream.count, upstream.connections) == (2, 2)


async def test_an_idle_connection_that_speaks_is_hung_up(sender: Sender) -> None:
    timeout = fake.head(408, {"content-length": "0", "connection": "close"})
    async with FakeUpstream(fake.extra_bytes(timeout, b'{"mine":1}', pause_s=0.05), default=reply()) as upstream:
        assert (await observe(sender, call(upstream.url))).body == b'{"mine":1}'
        await asyncio.sleep(0.15)
        assert upstream.open_connections == 0
        assert (await observe(sender, call(upstream.url))).status == 200


# Leaving.


@pytest.mark.parametrize("script", [fake.hang(), fake.stall(), fake.not_reading()], ids=lambda script: str(script.name))
async def test_cancellation_passes_through_and_drops_the_connection(script: fake.Script, sender: Sender) -> None:
    body = bytes(16_000_000) if script.reads is fake.Reads.HEAD else b"{}"
    async with FakeUpstream(script, receive_buffer=16_384 if len(body) > 2 else 0) as upstream:
        async with asyncio.TaskGroup() as group:
            running = group.create_task(observe(sender, call(upstream.url, body)))
            await upstream.counted(1)
            await asyncio.sleep(0.05)
            running.cancel()
        assert running.cancelled()
        if script.reads is fake.Reads.ALL:
            await asyncio.sleep(0.05)
            assert upstream.open_connections == 0
        assert upstream.count == 1


async def test_closing_the_client_ends_what_is_running() -> None:
    client = Upstream()
    await client.start()
    async with FakeUpstream(default=fake.hang()) as upstream, asyncio.TaskGroup() as group:
        running = [group.create_task(observe(client, call(upstream.url))) for _ in range(3)]
        await upstream.counted(3)
        await client.close()
        await client.close()
        assert [(await one).phase for one in running] == [Phase.SENT] * 3


async def test_many_at_once_share_nothing(sender: Sender) -> None:
    async with FakeUpstream(choose=lambda seen: reply(200, seen.body, delay_s=0.05)) as upstream:
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(observe(sender, call(upstream.url, b'{"n": %d}' % n))) for n in range(120)]
        assert [one.result().body for one in running] == [b'{"n": %d}' % n for n in range(120)]
        assert (upstream.count, upstream.connections, upstream.problems) == (120, 120, [])


# TLS.


async def test_tls_with_a_certificate_that_is_trusted(trusting_sender: Sender, certificate: Certificate) -> None:
    async with FakeUpstream(default=reply(200, image_answer()), tls=certificate.server_context()) as upstream:
        for _ in range(2):
            assert (await observe(trusting_sender, call(upstream.url, bytes(1000)))).words == WHOLE
        assert (upstream.count, upstream.connections) == (2, 1)


async def test_u4_a_certificate_nobody_signed(sender: Sender, certificate: Certificate) -> None:
    async with FakeUpstream(tls=certificate.server_context()) as upstream:
        assert (await observe(sender, call(upstream.url))).words == (Phase.UNSENT, Cause.TLS)
        assert upstream.count == 0


async def test_u4_a_certificate_for_another_name(trusting_sender: Sender, certificate: Certificate) -> None:
    async with FakeUpstream(tls=certificate.server_context()) as upstream:
        url = upstream.url.replace("localhost", "127.0.0.1")
        assert (await observe(trusting_sender, call(url))).words == (Phase.UNSENT, Cause.TLS)
        assert upstream.count == 0


async def test_u4_no_tls_at_all(sender: Sender) -> None:
    async with PlainListener(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        seen = await observe(sender, call(f"https://localhost:{port}/v1"))
        assert seen.words == (Phase.UNSENT, Cause.TLS)


async def test_u4_closed_in_the_handshake(sender: Sender) -> None:
    async with PlainListener(b"") as port:
        seen = await observe(sender, call(f"https://localhost:{port}/v1"))
        assert seen.words == (Phase.UNSENT, Cause.TLS)


async def test_u4_a_handshake_that_never_ends(sender: Sender) -> None:
    async with PlainListener(None) as port:
        seen = await observe(sender, call(f"https://localhost:{port}/v1", limits=Limits(connect_s=0.3)))
        assert seen.words == (Phase.UNSENT, Cause.CONNECT_TIMEOUT)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (fake.drop_before_status(), (Phase.SENT, Cause.DROPPED)),
        (fake.short_length(), (Phase.ANSWERED, Cause.TRUNCATED)),
        (fake.reset_before_status(), (Phase.SENT, Cause.RESET)),
        (fake.reset_after_status(), (Phase.ANSWERED, Cause.RESET)),
    ],
    ids=["dropped", "short", "reset", "reset in the body"],
)
async def test_faults_read_the_same_through_tls(
    script: fake.Script, words: tuple[Phase, Cause], trusting_sender: Sender, certificate: Certificate
) -> None:
    async with FakeUpstream(script, tls=certificate.server_context()) as upstream:
        assert (await observe(trusting_sender, call(upstream.url))).words == words
        assert upstream.count == 1


class PlainListener:
    """Takes connections that begin with anything at all; says ``greeting`` and closes, or (``None``) says nothing."""

    def __init__(self, greeting: bytes | None) -> None:
        self._greeting = greeting
        self._done = asyncio.Event()

    async def __aenter__(self) -> int:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def __aexit__(self, *_: object) -> None:
        self._done.set()
        self._server.close()
        await asyncio.sleep(0.05)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        if self._greeting is None:
            await self._done.wait()
        writer.write(self._greeting or b"")
        writer.close()


# Memory.


async def test_an_upload_of_800_mb_is_never_held(sender: Sender) -> None:
    head, tail = multipart("b", "gpt-image-2", "a.png")
    body = EndlessBody(800_000_000, head, tail)
    before = _peak_mb()
    async with FakeUpstream(default=reply()) as upstream:
        form, patient = "multipart/form-data; boundary=b", Limits(give_up_s=120.0)
        made = call(upstream.url, body, path="/images/edits", content_type=form, limits=patient)
        assert (await observe(sender, made)).words == WHOLE
        assert (upstream.requests[0].length, upstream.problems) == (800_000_000, [])
    assert _peak_mb() - before < 40


async def test_a_long_answer_is_never_held(sender: Sender) -> None:
    client = Upstream()
    await client.start()
    before = _peak_mb()
    piece = fake.Send(data=b"x" * 1_000_000, times=300)
    script = fake.Script(name="long", steps=(fake.Send(data=fake.head(200, {"content-length": "300000000"})), piece))
    async with FakeUpstream(script) as upstream:
        assert await _count(client, call(upstream.url, limits=Limits(give_up_s=120.0))) == 300_000_000
    await client.close()
    assert _peak_mb() - before < 40


async def _count(client: Sender, made: Call) -> int:
    exchange = await client.send(made)
    assert not isinstance(exchange, Broken)
    total = 0
    async for piece in exchange.chunks():
        total += len(piece)
        if total < 5_000_000:
            await asyncio.sleep(0.005)  # a slow reader holds the peer back, not the bytes
    await exchange.close()
    return total


def _peak_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1_000_000 if sys.platform == "darwin" else peak / 1_000
