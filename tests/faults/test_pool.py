"""Connections that are kept: which one is used again, which never is, and what is left of each exchange."""

import asyncio
import hashlib
import resource
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import pytest

from gateway.core.types import Cause, Phase
from gateway.ports import Broken, Exchange, Sender
from gateway.upstream.client import Upstream
from gateway.upstream.connection import Connection
from gateway.upstream.dialing import Names, Unreachable, address_of, connect, open_socket
from gateway.upstream.pool import Pool, Site
from gateway.upstream.requesting import SMALL, head_of
from tests.fakes import script as fake
from tests.fakes.script import Script, Send, Wait, reply
from tests.fakes.tls import Certificate
from tests.fakes.upstream import FakeUpstream, closed_port, full_backlog
from tests.faults.calls import EndlessBody, Limits, SlowBody, call, observe

WHOLE: Final = (Phase.DONE, None)
PATIENT: Final = Limits(give_up_s=60.0, idle_s=20.0)
MB: Final = 1_000_000


@pytest.fixture
async def pool(_nothing_leaks: None) -> AsyncIterator[Pool]:
    pool = Pool(None)
    yield pool
    pool.close()


async def asked(pool: Pool, upstream: FakeUpstream) -> Connection:
    """Make one small exchange on whatever connection the pool gives."""
    site = pool.site(upstream.url)
    connection = pool.take(site) or await pool.open(site)
    assert connection.begin(_get(upstream))
    while connection.phase is Phase.SENT and connection.cause is None:
        await connection.wait()
    return connection


def _get(upstream: FakeUpstream) -> bytes:
    return head_of("GET", "/__seen", f"127.0.0.1:{upstream.port}", (), None)


# Which connection.


async def test_the_last_one_kept_is_the_first_one_used(pool: Pool) -> None:
    async with FakeUpstream() as upstream:
        made = [await asked(pool, upstream) for _ in range(3)]
        for connection in made:
            pool.give_back(connection)
        site = pool.site(upstream.url)
        assert [pool.take(site) for _ in range(4)] == [*reversed(made), None]


async def test_base_urls_of_one_origin_share_connections_and_others_do_not(pool: Pool) -> None:
    first, same = pool.site("http://A.example/v1"), pool.site("http://a.example:80/other")
    secure, elsewhere = pool.site("https://a.example/v1"), pool.site("http://a.example:81/v1")
    assert first.idle is same.idle
    assert len({id(one.idle) for one in (first, secure, elsewhere)}) == 3


@pytest.mark.parametrize(
    ("url", "authority", "prefix"),
    [
        ("https://api.example/v1", "api.example", "/v1"),
        ("https://api.example:443", "api.example", ""),
        ("http://api.example:443/a/b", "api.example:443", "/a/b"),
        ("http://[::1]:8080/v1", "[::1]:8080", "/v1"),
        ("http://[::1]/v1", "[::1]", "/v1"),
    ],
)
def test_what_a_base_url_says(url: str, authority: str, prefix: str) -> None:
    assert (Site(url).authority, Site(url).prefix) == (authority, prefix)


@pytest.mark.usefixtures("_nothing_leaks")
async def test_a_connection_is_not_used_after_it_was_idle_for_long() -> None:
    pool = Pool(None, keep_s=0.1)
    async with FakeUpstream() as upstream:
        pool.give_back(await asked(pool, upstream))
        await asyncio.sleep(0.3)
        assert upstream.open_connections == 0, "it is closed without anybody asking for it"
        assert pool.take(pool.site(upstream.url)) is None


@pytest.mark.usefixtures("_nothing_leaks")
async def test_what_is_too_old_is_not_taken_even_before_it_is_swept() -> None:
    pool = Pool(None, keep_s=0.02)
    async with FakeUpstream() as upstream:
        pool.give_back(await asked(pool, upstream))
        time.sleep(0.1)  # noqa: ASYNC251 - the loop stands still, and with it whatever sweeps
        assert pool.take(pool.site(upstream.url)) is None
        pool.close()


async def test_a_peer_that_hangs_up_is_forgotten_at_once(pool: Pool) -> None:
    async with FakeUpstream() as upstream:
        connection = await asked(pool, upstream)
        pool.give_back(connection)
        await upstream.close()
        await asyncio.sleep(0.05)
        assert (connection.is_lost, pool.take(pool.site(upstream.url))) == (True, None)
        assert not connection.begin(b"GET")
        assert connection.phase is Phase.UNSENT


async def test_a_connection_whose_answer_is_not_whole_is_not_kept(pool: Pool) -> None:
    async with FakeUpstream(default=fake.stall()) as upstream:
        site = pool.site(upstream.url)
        connection = await pool.open(site)
        connection.begin(head_of("POST", "/v1/responses", site.authority, (), 0))
        while connection.phase is not Phase.ANSWERED:
            await connection.wait()
        pool.give_back(connection)
        assert pool.take(site) is None


async def test_bytes_that_come_before_anything_is_asked_end_the_connection(pool: Pool) -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        connection = await pool.open(pool.site(f"http://127.0.0.1:{port}"))
        await asyncio.sleep(0.05)
        assert not connection.begin(b"POST")


async def test_one_alarm_serves_waits_of_different_lengths(pool: Pool) -> None:
    loop = asyncio.get_running_loop()
    async with FakeUpstream(default=fake.hang()) as upstream:
        connection = await pool.open(pool.site(upstream.url))
        connection.begin(head_of("POST", "/v1/responses", f"127.0.0.1:{upstream.port}", (), 0))
        for wait_s in (0.05, 0.02, 0.2):
            started = loop.time()
            assert not await connection.wait(started + wait_s)
            assert wait_s - 0.01 < loop.time() - started < wait_s + 0.15


# Where a name leads.


async def test_the_address_that_answers_is_taken() -> None:
    loop = asyncio.get_running_loop()
    async with FakeUpstream() as upstream:
        refused, good = ("127.0.0.1", closed_port()), ("127.0.0.1", upstream.port)
        for places in ([refused, good], [good, refused], [refused, refused, good]):
            made = await connect(lambda: Connection(loop), places, None, "localhost")
            assert made.is_usable
            made.abort()


@pytest.mark.usefixtures("_nothing_leaks")
async def test_an_address_that_says_nothing_holds_up_the_next_one_for_a_moment_only() -> None:
    loop = asyncio.get_running_loop()
    async with FakeUpstream() as upstream:
        with full_backlog() as silent:
            started = loop.time()
            places = [("127.0.0.1", silent), ("127.0.0.1", upstream.port)]
            made = await connect(lambda: Connection(loop), places, None, "localhost")
            assert 0.2 < loop.time() - started < 1.0
            made.abort()


@pytest.mark.usefixtures("_nothing_leaks")
async def test_when_no_address_answers_the_first_ones_reason_is_told() -> None:
    loop = asyncio.get_running_loop()
    places = [("127.0.0.1", closed_port()), ("127.0.0.1", closed_port())]
    with pytest.raises(Unreachable) as refused:
        await connect(lambda: Connection(loop), places, None, "localhost")
    assert refused.value.cause is Cause.CONNECT_REFUSED


@pytest.mark.usefixtures("_nothing_leaks")
async def test_a_race_that_is_called_off_leaves_nothing() -> None:
    with full_backlog() as silent:
        places = [("127.0.0.1", silent), ("127.0.0.1", silent)]
        loop = asyncio.get_running_loop()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.4):
                await connect(lambda: Connection(loop), places, None, "localhost")


async def test_a_name_is_looked_up_once_for_all_who_ask_at_the_same_time() -> None:
    asked_for: list[str] = []

    async def look_up(host: str, port: int) -> list[tuple[str, int]]:
        asked_for.append(host)
        await asyncio.sleep(0.02)
        return [(host, port)]

    names = Names(look_up)
    async with asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(names.addresses("a.example", 80))
    await names.addresses("a.example", 80)
    await names.addresses("a.example", 81)
    assert asked_for == ["a.example", "a.example"]


async def test_names_that_are_remembered_are_bounded() -> None:
    async def look_up(host: str, port: int) -> list[tuple[str, int]]:
        return [(host, port)]

    names = Names(look_up)
    for number in range(2000):
        await names.addresses(f"a{number}.example", 80)
    assert len(names._known) <= 512


@pytest.mark.parametrize("host", ["127.1", "0x7f.0.0.1", "2130706433", "0177.0.0.1"])
async def test_addresses_in_other_notations_are_not_called(host: str) -> None:
    with pytest.raises(Unreachable) as refused:
        await Names().addresses(host, 80)
    assert refused.value.cause is Cause.CONNECT_FAILED


async def test_addresses_are_not_looked_up() -> None:
    assert await Names().addresses("::1", 80) == [("::1", 80, 0, 0)]
    assert await Names().addresses("10.0.0.1", 80) == [("10.0.0.1", 80)]
    assert address_of("fe80::1", 80, 3) == ("fe80::1", 80, 0, 3)


def test_sockets_are_probed_while_silent() -> None:
    with open_socket(socket.AF_INET) as opened:
        assert opened.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) != 0
        assert opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


# What a head may say.


@pytest.mark.parametrize("path", ["", "v1", "/a b", "/a\r\nx: 1", "/a#b", "/\u00e9", "/a\x7f", "/a\0"])
def test_a_path_of_more_than_one_word_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        head_of("POST", path, "a.example", (), 0)


@pytest.mark.parametrize(
    "header", [("", "1"), ("a b", "1"), ("a:", "1"), ("a\r\nb", "1"), ("a", "1\r\nb: 2"), ("a", "\x7f")]
)
def test_a_header_of_more_than_one_line_is_refused(header: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="header"):
        head_of("POST", "/", "a.example", (header,), 0)


def test_a_header_that_is_not_latin_1_is_refused() -> None:
    with pytest.raises(ValueError, match="latin-1"):
        head_of("POST", "/", "a.example", (("a", "\u4e00"),), 0)


def test_what_is_given_goes_before_what_is_added() -> None:
    head = head_of("POST", "/", "a.example", (("Accept", "x"), ("User-Agent", "y"), ("x-odd", "caf\xe9\t")), 7)
    assert head == (
        b"POST / HTTP/1.1\r\nhost: a.example\r\nAccept: x\r\nUser-Agent: y\r\nx-odd: caf\xe9\t\r\n"
        b"accept-encoding: identity\r\ncontent-length: 7\r\n\r\n"
    )


# Leaving, in every phase.


async def _leave(sender: Sender, upstream: FakeUpstream, ready: Callable[[], Awaitable[object]], body: object) -> None:
    made = call(upstream.url, body if isinstance(body, (bytes, SlowBody, EndlessBody)) else b"{}", limits=PATIENT)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(observe(sender, made))
        await ready()
        await asyncio.sleep(0.05)
        running.cancel()
    assert running.cancelled()
    await asyncio.sleep(0.05)


async def test_leaving_while_connecting_leaves_nothing(sender: Sender) -> None:
    async with FakeUpstream() as upstream:
        with full_backlog() as port:
            upstream.port, good = port, upstream.port
            await _leave(sender, upstream, lambda: asyncio.sleep(0.1), b"{}")
            upstream.port = good
        assert upstream.connections == 0


async def test_leaving_before_the_first_byte_sends_nothing(sender: Sender) -> None:
    async with FakeUpstream() as upstream:
        await _leave(sender, upstream, lambda: asyncio.sleep(0.1), SlowBody(b"{}", 5.0))
        assert (upstream.count, upstream.open_connections) == (0, 0)


@pytest.mark.parametrize(
    "script", [fake.hang(), fake.trickle_head(), fake.stall(), fake.trickle()], ids=lambda script: str(script.name)
)
async def test_leaving_later_drops_the_connection(script: Script, sender: Sender) -> None:
    async with FakeUpstream(script) as upstream:
        await _leave(sender, upstream, lambda: upstream.counted(1), b"{}")
        await asyncio.sleep(0.3)  # one who trickles finds out when it writes
        assert (upstream.count, upstream.open_connections) == (1, 0)


async def test_leaving_in_a_tls_handshake_leaves_nothing(trusting_sender: Sender) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server, FakeUpstream() as upstream:
        upstream.port, good = server.sockets[0].getsockname()[1], upstream.port
        made = call(upstream.url.replace("http:", "https:").replace("127.0.0.1", "localhost"), limits=PATIENT)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(observe(trusting_sender, made))
            await asyncio.sleep(0.15)
            running.cancel()
        upstream.port = good


async def test_leaving_in_an_upload_closes_what_was_read_from(sender: Sender) -> None:
    body = ClosingBody(50 * MB)
    async with FakeUpstream(fake.not_reading(), receive_buffer=16_384) as upstream:
        await _leave(sender, upstream, lambda: upstream.counted(1), body)
    assert body.is_closed


class ClosingBody(EndlessBody):
    """Notes that its reader was closed."""

    def __init__(self, length: int) -> None:
        super().__init__(length, b"(", b")")
        self.is_closed = False

    async def read(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        try:
            async for piece in super().read(start, end):
                yield piece
        finally:
            self.is_closed = True


# An answer that comes while the upload runs.


async def test_an_upload_goes_on_while_its_answer_comes(sender: Sender) -> None:
    """A peer may begin its answer before it has read the request, and end it afterwards."""
    got = hashlib.sha256()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(fake.head(200, {"transfer-encoding": "chunked"}) + b"1\r\n \r\n")
        left = 20 * MB
        while left:
            piece = await reader.read(MB)
            got.update(piece)
            left -= len(piece)
        writer.write(b"2\r\n{}\r\n0\r\n\r\n")
        await writer.drain()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0, limit=65_536) as server:
        port = server.sockets[0].getsockname()[1]
        body = EndlessBody(20 * MB, b"(", b")")
        seen = await observe(sender, call(f"http://127.0.0.1:{port}/v1", body, limits=PATIENT))
        assert (seen.words, seen.body) == (WHOLE, b" {}")
        assert got.hexdigest() == hashlib.sha256(b"".join([piece async for piece in body.read()])).hexdigest()


async def test_an_upload_that_was_refused_is_not_carried_on(sender: Sender) -> None:
    steps = (Send(data=fake.head(413, {"content-length": "4"}) + b"no"), Wait(seconds=0.1), Send(data=b"no"))
    body = ClosingBody(50 * MB)
    async with FakeUpstream(Script(name="refused", steps=steps, reads=fake.Reads.HEAD), default=reply()) as upstream:
        seen = await observe(sender, call(upstream.url, body, limits=PATIENT))
        assert (seen.words, seen.status, seen.body, body.is_closed) == (WHOLE, 413, b"nono", True)
        assert (await observe(sender, call(upstream.url))).words == WHOLE
        assert upstream.connections == 2


# Flow.


def _peak_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MB if sys.platform == "darwin" else peak / 1_000


@pytest.mark.parametrize("framing", ["content-length", "transfer-encoding", "until close"])
@pytest.mark.usefixtures("_nothing_leaks")
async def test_a_slow_reader_holds_the_peer_back(framing: str) -> None:
    """100 MB to a reader that sleeps: what waits in between is bounded."""
    size, piece = 100 * MB, b"x" * MB
    head = {"content-length": str(size)} if framing == "content-length" else {}
    head |= {"transfer-encoding": "chunked"} if framing == "transfer-encoding" else {}
    chunk = b"%x\r\n%s\r\n" % (MB, piece) if framing == "transfer-encoding" else piece
    end = b"0\r\n\r\n" if framing == "transfer-encoding" else b""
    steps = (Send(data=fake.head(200, head)), Send(data=chunk, times=100), Send(data=end))
    ending = fake.Ending.CLOSE if framing == "until close" else fake.Ending.KEEP
    client = Upstream()
    await client.start()
    before = _peak_mb()
    async with FakeUpstream(Script(name="long", steps=steps, ending=ending)) as upstream:
        exchange = await client.send(call(upstream.url, limits=PATIENT))
        assert not isinstance(exchange, Broken)
        await asyncio.sleep(0.2)  # nothing is read: the peer fills what it can
        assert await _slowly(exchange) == size
        await exchange.close()
    await client.close()
    assert _peak_mb() - before < 25


async def _slowly(exchange: Exchange) -> int:
    total = 0
    async for piece in exchange.chunks():
        total += len(piece)
        if total % 7 == 0:
            await asyncio.sleep(0.002)
    return total


async def test_a_slow_peer_holds_the_upload_back(sender: Sender) -> None:
    """50 MB to a peer that reads now and then: what is on its way in between is bounded."""
    left = [50 * MB]

    async def read_slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        while left[0]:
            left[0] -= len(await reader.read(MB))
            await asyncio.sleep(0.001)
        writer.write(fake.head(200, {"content-length": "2"}) + b"{}")
        await writer.drain()
        await reader.read()
        writer.close()

    before = _peak_mb()
    async with await asyncio.start_server(read_slowly, "127.0.0.1", 0, limit=65_536) as server:
        port = server.sockets[0].getsockname()[1]
        body = EndlessBody(50 * MB, b"(", b")")
        assert (await observe(sender, call(f"http://127.0.0.1:{port}/v1", body, limits=PATIENT))).words == WHOLE
    assert _peak_mb() - before < 25


async def test_a_peer_that_reads_fast_does_not_keep_others_from_their_turn(sender: Sender) -> None:
    """A thread reads as fast as it can: no write ever waits, and the loop must turn all the same."""
    turns = [0]

    async def turn() -> None:
        while True:
            turns[0] += 1
            await asyncio.sleep(0)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        reading = asyncio.create_task(asyncio.to_thread(_swallow, listener, 50 * MB))
        async with asyncio.TaskGroup() as group:
            turning = group.create_task(turn())
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
            assert (await observe(sender, call(url, bytes(50 * MB), limits=PATIENT))).words == WHOLE
            turning.cancel()
        await reading
    assert turns[0] > 30


def _swallow(listener: socket.socket, size: int) -> None:
    taken, _ = listener.accept()
    with taken:
        taken.settimeout(10)
        left, buffer = size, bytearray(MB)
        head = taken.recv(MB)
        left -= len(head) - head.index(b"\r\n\r\n") - 4
        while left:
            left -= taken.recv_into(buffer)
        taken.sendall(fake.head(200, {"content-length": "2", "connection": "close"}) + b"{}")


@pytest.mark.parametrize("size", [SMALL - 1, SMALL, SMALL + 1, 3 * MB])
async def test_large_answers_and_uploads_through_tls(
    size: int, trusting_sender: Sender, certificate: Certificate
) -> None:
    data = bytes(range(256)) * (size // 256) + b"!" * (size % 256)
    async with FakeUpstream(default=reply(200, data), tls=certificate.server_context()) as upstream:
        for _ in range(2):
            seen = await observe(trusting_sender, call(upstream.url, data, limits=PATIENT))
            assert (seen.words, seen.body == data) == (WHOLE, True)
        assert (upstream.connections, upstream.requests[0].sha256) == (1, hashlib.sha256(data).hexdigest())


async def test_a_thousand_exchanges_leave_nothing(sender: Sender) -> None:
    tasks = len(asyncio.all_tasks())
    async with FakeUpstream(default=reply()) as upstream:
        async with asyncio.TaskGroup() as group:
            for _ in range(20):
                group.create_task(_some(sender, upstream, 50))
        assert (upstream.count, upstream.connections <= 20) == (1000, True)
    await asyncio.sleep(0.05)
    assert len(asyncio.all_tasks()) == tasks
    assert isinstance(sender, Upstream)
    assert not sender._under_way
    assert sender._pool is not None
    assert not sender._pool._busy


async def _some(sender: Sender, upstream: FakeUpstream, times: int) -> None:
    for _ in range(times):
        assert (await observe(sender, call(upstream.url))).words == WHOLE
