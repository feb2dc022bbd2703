"""What a picture's address may do to us, over real sockets: where nothing may be called, nothing is."""

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest
from msgspec.structs import replace

from gateway.bodies.contents import Fetched, Unfetched, Wanted
from gateway.bodies.spool import Spool
from gateway.core.types import JsonObject, RequestId
from gateway.core.weburl import Origin, origin_of
from gateway.fetch import MOST_REDIRECTS, Bounds, Fetch
from tests.fakes import script
from tests.fakes.answers import png
from tests.fakes.script import picture, redirect
from tests.fakes.tls import Certificate
from tests.fakes.upstream import FakeUpstream

PNG: Final = png(40, 30)
MANY: Final = 200_000


@dataclass(slots=True)
class Log:
    """Keeps what was logged."""

    events: list[JsonObject] = field(default_factory=list)

    def emit(self, event: JsonObject) -> None:
        self.events.append(event)


class Now:
    """A clock that stands."""

    def monotonic(self) -> float:
        return 0.0

    def now(self) -> datetime:
        return datetime(2026, 11, 21, tzinfo=UTC)


@dataclass(slots=True)
class Resolver:
    """Answers what it is told to, one answer after the other; the last one stays."""

    answers: list[Sequence[str]]
    asked: list[tuple[str, int]] = field(default_factory=list)

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if not answer:
            raise OSError("no such name")
        return answer


@pytest.fixture
async def spool(tmp_path: Path) -> AsyncIterator[Spool]:
    spool = Spool(tmp_path / "spool")
    memory, disk = spool.memory_left, spool.disk_left
    yield spool
    assert (spool.memory_left, spool.disk_left) == (memory, disk), "something of a picture is left"
    spool.close()


@pytest.fixture
def fetcher(spool: Spool, _nothing_leaks: None) -> Fetch:
    bounds = Bounds(most_bytes=MANY, whole_s=1.0, connect_s=0.5, idle_s=0.4)
    return Fetch(spool=spool, events=Log(), clock=Now(), bounds=bounds)


@pytest.fixture
async def server(_nothing_leaks: None) -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as server:
        yield server
        assert server.problems == []


async def get(fetcher: Fetch, url: str, own: FakeUpstream | Origin | None = None, within_s: float = 10.0) -> str:
    """Fetch and give the hash of what came, else the reason why nothing did."""
    if isinstance(own, FakeUpstream):
        own = origin_of(own.url)
    loop = asyncio.get_running_loop()
    wanted = Wanted(url=url, own=own, give_up_at=loop.time() + within_s, request_id=RequestId("req_1"))
    got = await fetcher.fetch(wanted)
    if isinstance(got, Unfetched):
        return got.reason
    try:
        assert got.image.bytes == got.body.length
        data = b"".join([piece async for piece in got.body.read()])
        assert hashlib.sha256(data).hexdigest() == got.image.sha256
        return got.image.sha256
    finally:
        got.body.close()


@contextmanager
def another_listener(port: int) -> Iterator[socket.socket]:
    """Listen on a second address of this machine."""
    try:
        listener = socket.create_server(("127.0.0.2", port))
    except OSError:
        pytest.skip("this machine has one loopback address, or the port is taken")
    with listener:
        listener.setblocking(False)
        yield listener


SHA: Final = hashlib.sha256(PNG).hexdigest()


# --- what may be had


async def test_a_picture_of_the_channels_own_server(fetcher: Fetch, server: FakeUpstream) -> None:
    assert await get(fetcher, server.put("/a.png", picture(PNG)), server) == SHA
    assert fetcher.events == Log()


@pytest.mark.parametrize("kind", ["image/png", "IMAGE/PNG; charset=x", "image/jpeg", "application/octet-stream", ""])
async def test_a_picture_is_known_by_its_bytes(fetcher: Fetch, server: FakeUpstream, kind: str) -> None:
    assert await get(fetcher, server.put("/a.png", picture(PNG, kind)), server) == SHA


async def test_an_svg_is_a_picture(fetcher: Fetch, server: FakeUpstream) -> None:
    drawn = b'<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"><rect width="8" height="8"/></svg>'
    url = server.put("/a.svg", picture(drawn, "image/svg+xml"))
    assert await get(fetcher, url, server) == hashlib.sha256(drawn).hexdigest()


async def test_a_picture_in_pieces(fetcher: Fetch, server: FakeUpstream) -> None:
    url = server.put("/a.png", script.reply(200, PNG, headers={"content-type": "image/png"}, chunked=True, slice=9))
    assert await get(fetcher, url, server) == SHA


async def test_nothing_of_ours_is_told(fetcher: Fetch, server: FakeUpstream) -> None:
    hop = server.put("/hop", script.reply(302, b"", headers={"location": "/a.png?b=%2F", "set-cookie": "a=b; Path=/"}))
    server.put("/a.png", picture(PNG))
    assert await get(fetcher, hop, server) == SHA
    first, second = server.fetched
    assert (second.path, second.query) == ("/a.png", "b=%2F")
    for seen in (first, second):
        assert seen.method == "GET"
        names = {name.lower() for name, _ in seen.headers}
        assert names == {"host", "user-agent", "accept", "accept-encoding", "connection"}
        assert seen.header("accept-encoding") == "identity"


async def test_no_proxy_is_taken_from_the_environment(
    fetcher: Fetch, server: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with FakeUpstream() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        assert await get(fetcher, server.put("/a.png", picture(PNG)), server) == SHA
        assert proxy.connections == 0


async def test_tls_is_verified_by_the_name(fetcher: Fetch, certificate: Certificate) -> None:
    async with FakeUpstream(tls=certificate.server_context()) as server:
        url = server.put("/a.png", picture(PNG))
        assert url.startswith("https://localhost:")
        assert await get(fetcher, url, server) == "tls"
        trusting = replace(fetcher, ssl_context=certificate.client_context())
        assert await get(trusting, url, server) == SHA
        elsewhere = replace(trusting, resolve=Resolver([["127.0.0.1"]]))
        other = Origin(scheme="https", host="pictures.example", port=server.port)
        assert await get(elsewhere, url.replace("localhost", "pictures.example"), other) == "tls"


# --- where nothing may be called

HOSTS: Final = (
    *("127.0.0.1", "127.0.0.2", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0x7f.1", "0177.0.0.1"),
    *("017700000001", "0", "0.0.0.0", "127.0.0.1.", "127.000.000.001", "%31%32%37.0.0.1", "127%2e0.0.1"),
    *("localhost", "LOCALHOST", "localhost.", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]"),
    *("[::127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::1]", "[2001::1]"),
    *("[fe80::1]", "[fe80::1%25lo]", "[::1%25lo]", "[fc00::1]", "[ff02::1]", "[2a00::5efe:7f00:1]"),
    *("\uff11\uff12\uff17.0.0.1", "127\u30020\u30020\u30021", "\u2460\u2461\u2466.0.0.1"),
    *("user@127.0.0.1", "user:pw@127.0.0.1", "example.com@127.0.0.1", "127.0.0.1#@example.com:80"),
    *("example.com\\@127.0.0.1", "127.0.0.1\\@example.com", "127.0.0.1 ", "127.0.0.1\t", "\r127.0.0.1"),
)


@pytest.fixture
async def forbidden(_nothing_leaks: None) -> AsyncIterator[FakeUpstream]:
    """A server inside: it may be named, and must see nothing."""
    async with FakeUpstream() as inside:
        inside.put("/", picture(PNG))
        inside.put("/a.png", picture(PNG))
        yield inside
        assert (inside.connections, inside.count) == (0, 0)


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_an_address_inside_is_not_called(fetcher: Fetch, forbidden: FakeUpstream, scheme: str, host: str) -> None:
    fetcher.resolve = Resolver([["127.0.0.1"]])
    for url in (f"{scheme}://{host}:{forbidden.port}/a.png", f"{scheme}://{host}/a.png"):
        assert await get(fetcher, url) in {"bad_host", "bad_port", "bad_characters", "not_public"}


@pytest.mark.parametrize(
    "address",
    [
        *("10.0.0.1", "100.64.0.1", "169.254.169.254", "168.63.129.16", "172.16.0.1", "192.168.0.1", "198.18.0.1"),
        *("192.0.0.192", "0.0.0.0", "255.255.255.255", "224.0.0.1", "::1", "fe80::1", "fd00:ec2::254", "ff02::1"),
    ],
)
async def test_a_name_that_means_an_address_inside_is_not_called(fetcher: Fetch, address: str) -> None:
    resolver = fetcher.resolve = Resolver([[address]])
    assert await get(fetcher, "http://pictures.example/a.png") == "not_public"
    assert await get(fetcher, f"http://[{address}]/" if ":" in address else f"http://{address}/") == "not_public"
    assert resolver.asked == [("pictures.example", 80)]


@pytest.mark.parametrize("order", [("127.0.0.1", "93.184.216.34"), ("93.184.216.34", "127.0.0.1")])
async def test_one_address_inside_among_others_is_enough(
    fetcher: Fetch, forbidden: FakeUpstream, order: tuple[str, str]
) -> None:
    fetcher.resolve = Resolver([order])
    assert await get(fetcher, "http://pictures.example:8080/a.png") == "not_public"


async def test_a_name_is_looked_up_once_and_what_it_means_later_is_not_called(
    fetcher: Fetch, server: FakeUpstream
) -> None:
    """DNS rebinding: the first answer is a public address, the second one inside."""
    with another_listener(server.port) as inside:
        resolver = fetcher.resolve = Resolver([["127.0.0.1"], ["127.0.0.2"]])
        fetcher.is_public = lambda address: address == "127.0.0.1"
        own = Origin(scheme="http", host="pictures.example", port=server.port)
        server.put("/a.png", picture(PNG))
        assert await get(fetcher, f"http://pictures.example:{server.port}/a.png", own) == SHA
        assert resolver.asked == [("pictures.example", server.port)]
        with pytest.raises(BlockingIOError):
            inside.accept()


async def test_a_redirect_is_looked_up_and_judged_anew(fetcher: Fetch, server: FakeUpstream) -> None:
    """Rebinding between two hops: the same name, and by now an address inside."""
    with another_listener(8080) as inside:
        fetcher.resolve = Resolver([["127.0.0.1"], ["127.0.0.2"]])
        fetcher.is_public = lambda address: address == "127.0.0.1"
        own = Origin(scheme="http", host="pictures.example", port=server.port)
        server.put("/a", redirect("http://pictures.example:8080/a.png"))
        assert await get(fetcher, f"http://pictures.example:{server.port}/a", own) == "not_public"
        with pytest.raises(BlockingIOError):
            inside.accept()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "127.1", "0x7f.1", "2130706433"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_inside_is_not_followed(
    fetcher: Fetch, server: FakeUpstream, forbidden: FakeUpstream, status: int, host: str
) -> None:
    url = server.put("/a", redirect(f"http://{host}:{forbidden.port}/a.png", status))
    assert await get(fetcher, url, server) in {"bad_host", "bad_port"}


@pytest.mark.parametrize(
    "location",
    [
        *(
            "file:///etc/passwd",
            "ftp://127.0.0.1/a.png",
            "gopher://127.0.0.1:70/x",
            "data:image/png;base64,iVBORw0KGgo=",
        ),
        *(
            "http://user@127.0.0.1/",
            "//127.0.0.1/a.png",
            "https://127.0.0.1/a.png",
            "http:\\\\127.0.0.1\\a.png",
        ),
    ],
)
async def test_a_redirect_out_of_http_is_not_followed(fetcher: Fetch, server: FakeUpstream, location: str) -> None:
    url = server.put("/a", redirect(location))
    reason = await get(fetcher, url, server)
    assert reason in {"bad_scheme", "bad_host", "bad_characters", "not_public"}


async def test_the_channels_own_server_is_not_reached_by_a_detour(fetcher: Fetch, server: FakeUpstream) -> None:
    """Only the upstream itself may point at its own server; somebody else's redirect may not."""
    back = server.put("/a.png", picture(PNG))
    visits: list[bytes] = []

    async def send_back(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visits.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(script.head(302, {"location": back, "content-length": "0"}))
        writer.close()
        await writer.wait_closed()

    with another_listener(8080) as listener:
        async with await asyncio.start_server(send_back, sock=listener):
            fetcher.resolve, fetcher.is_public = Resolver([["127.0.0.2"]]), lambda address: address == "127.0.0.2"
            assert await get(fetcher, server.put("/a", redirect("http://cdn.example:8080/x")), server) == "bad_port"
    assert len(visits) == 1
    assert [seen.path for seen in server.fetched] == ["/a"]


async def test_a_redirect_within_the_own_server_is_followed(fetcher: Fetch, server: FakeUpstream) -> None:
    server.put("/a.png", picture(PNG))
    assert await get(fetcher, server.put("/a", redirect("a.png")), server) == SHA


async def test_redirects_have_an_end(fetcher: Fetch, server: FakeUpstream) -> None:
    url = server.put("/a", redirect("/a"))
    assert await get(fetcher, url, server) == "too_many_redirects"
    assert len(server.fetched) == MOST_REDIRECTS + 1


@pytest.mark.parametrize("answer", [[], ["not an address"], ["127.0.0.1\n"]])
async def test_a_name_that_means_nothing(fetcher: Fetch, answer: Sequence[str]) -> None:
    fetcher.resolve = Resolver([answer])
    assert await get(fetcher, "http://pictures.example/") in {"unresolved", "not_public"}


async def test_the_system_does_not_know_a_name(fetcher: Fetch) -> None:
    assert await get(fetcher, "http://no-such-name.invalid/") == "unresolved"


# --- what may come

BAD: Final = {
    "status_404": script.reply(404, PNG, headers={"content-type": "image/png"}),
    "status_206": script.reply(206, PNG, headers={"content-type": "image/png"}),
    "status_304": script.Script(name="304", steps=(script.Send(data=script.head(304, {})),)),
    "not_a_picture html": script.html(),
    "not_a_picture json": script.reply(200, b"{}"),
    "not_a_picture by its bytes": picture(b"<!doctype html><script>alert(1)</script>"),
    "not_a_picture text": picture(b"x" * 5000, "application/octet-stream"),
    "not_a_picture nothing": picture(b""),
    "compressed": script.reply(200, PNG, headers={"content-type": "image/png", "content-encoding": "gzip"}),
    "compressed bomb": script.reply(200, b"\0" * 999, headers={"content-type": "image/png", "content-encoding": "br"}),
    "too_large by its length": picture(PNG + b"\0" * MANY),
    "too_large in chunks": script.reply(
        200, PNG + b"\0" * MANY, headers={"content-type": "image/png"}, chunked=True, slice=50_000
    ),
    "too_large without end": script.Script(
        name="endless",
        steps=(
            script.Send(data=script.head(200, {"content-type": "image/png", "connection": "close"}) + PNG),
            script.Send(data=b"\0" * 65536, times=10_000),
        ),
    ),
    "too_slow, silent": script.hang(),
    "too_slow, stalled": script.Script(
        name="stalled",
        steps=(
            script.Send(data=script.head(200, {"content-type": "image/png", "content-length": "999"}) + PNG[:50]),
            script.Wait(seconds=script.FOREVER_S),
        ),
    ),
    "too_slow, a head that trickles": script.trickle_head(),
    "too_slow, a body that trickles": script.Script(
        name="trickle",
        steps=(
            script.Send(data=script.head(200, {"content-type": "image/png", "content-length": "99999"})),
            script.Send(data=b"\x89PNG\r\n\x1a\n" + b"\0" * 99999, slice=1, pause_s=0.05),
        ),
    ),
    "broken, interim answers": script.one_xx_flood(),
    "broken, huge header": script.huge_header(),
    "broken, many headers": script.wide_head(headers=70, size=7000),
    "broken, no HTTP": script.bad_status_line(),
    "broken, cut": script.drop_before_status(),
    "broken, short": script.Script(
        name="short",
        steps=(script.Send(data=script.head(200, {"content-type": "image/png", "content-length": "999"}) + PNG),),
        ending=script.Ending.CLOSE,
    ),
}


@pytest.mark.parametrize("case", BAD)
async def test_what_is_not_taken(fetcher: Fetch, server: FakeUpstream, case: str) -> None:
    url = server.put("/a.png", BAD[case])
    reason = case.partition(",")[0].partition(" ")[0]
    assert await get(fetcher, url, server) == reason


async def test_a_server_that_is_not_there(fetcher: Fetch, server: FakeUpstream) -> None:
    url = server.put("/a.png", picture(PNG))
    await server.refuse()
    assert await get(fetcher, url, server) == "broken"


async def test_time_is_the_requests_too(fetcher: Fetch, server: FakeUpstream) -> None:
    url = server.put("/a.png", script.hang())
    assert await get(fetcher, url, server, within_s=0.1) == "too_slow"


async def test_no_room(server: FakeUpstream, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", memory_total=0, disk_cap=100)
    fetcher = Fetch(spool=spool, events=Log(), clock=Now())
    assert await get(fetcher, server.put("/a.png", picture(png(50, 50, noise=True))), server) == "no_room"
    spool.close()


async def test_a_process_that_ends_does_not_wait(fetcher: Fetch, server: FakeUpstream) -> None:
    url = server.put("/a.png", script.hang())
    asyncio.get_running_loop().call_later(0.1, fetcher.cut)
    assert await get(fetcher, url, server) == "interrupted"
    assert await get(fetcher, url, server) == "interrupted"
    assert len(server.fetched) == 1


async def test_a_picture_that_was_not_had_is_logged_without_its_address(fetcher: Fetch) -> None:
    assert await get(fetcher, "http://127.0.0.1/secret?token=x") == "not_public"
    assert isinstance(fetcher.events, Log)
    [event] = fetcher.events.events
    told = {name: value for name, value in event.items() if name != "time"}
    assert told == {"event": "picture.not_fetched", "request_id": "req_1", "reason": "not_public"}


async def test_whoever_gets_a_picture_closes_it(fetcher: Fetch, server: FakeUpstream) -> None:
    big = png(200, 200, noise=True)
    loop = asyncio.get_running_loop()
    wanted = Wanted(
        url=server.put("/a.png", picture(big)),
        own=origin_of(server.url),
        give_up_at=loop.time() + 5,
        request_id=RequestId("req_1"),
    )
    got = await fetcher.fetch(wanted)
    assert isinstance(got, Fetched)
    assert (got.image.width, got.image.height, got.image.format) == (200, 200, "png")
    got.body.close()
