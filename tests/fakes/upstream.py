"""An upstream on a real loopback socket: scripted, counting, and strict about what it is sent.

``count`` is the truth about money: a request counts once its body came whole, or, when the script answers without
reading the body, once its head came. ``requests`` keeps what arrived, ``problems`` everything that should not have.

In a test::

    async with FakeUpstream(reply(503), default=reply(200, image_answer())) as upstream:
        ...  # upstream.url is the base_url of a channel; upstream.key its key
        assert (upstream.count, upstream.problems) == (1, [])

As a process: ``python -m tests.fakes.upstream --script FILE`` prints ``{"url": ..., "port": ...}`` and answers
``GET /__seen`` with its counts. ``FILE`` is ``{"key": K, "scripts": [ENTRY...], "default": ENTRY}``; an entry is
``{"do": "hang"}`` (any constructor of ``script.py`` without arguments) or ``{"do": "reply", "status": 200, "body": {},
"image": {"n": 1, "width": 64, "height": 64}, "delay_s": 0, "chunked": false, "slice": 0}``.
"""

import argparse
import asyncio
import json
import socket
import ssl
import struct
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Self

from gateway.core.types import JsonObject
from tests.fakes import script as scripts
from tests.fakes.answers import image_answer
from tests.fakes.script import Ending, Reads, Script, Send, Step, reply
from tests.fakes.seen import BodyCheck, SeenRequest, head_problems, read_head

_READ_LIMIT = 256 * 1024
_UNSCRIPTED = reply(500, {"error": {"message": "nothing was scripted for this request"}})


class _Reader(asyncio.StreamReader):
    """A stream reader that also tells when the peer has gone, whatever is still unread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(limit=_READ_LIMIT, loop=loop)
        self.gone = asyncio.Event()

    def feed_eof(self) -> None:
        super().feed_eof()
        self.gone.set()

    def set_exception(self, exc: Exception) -> None:
        super().set_exception(exc)
        self.gone.set()


class FakeUpstream:
    """One upstream. Scripts are played in order, one per request; then ``choose`` (it sees the whole request) or
    ``default``; a request for which nothing is scripted gets a 500 and is a problem."""

    def __init__(
        self,
        *queue: Script,
        default: Script | None = None,
        choose: Callable[[SeenRequest], Script] | None = None,
        key: str | None = "sk-upstream",
        tls: ssl.SSLContext | None = None,
        receive_buffer: int = 0,
    ) -> None:
        self.key = key
        self.count = 0
        self.connections = 0
        self.requests: list[SeenRequest] = []
        self.problems: list[str] = []
        self.heads: list[SeenRequest] = []  # of all requests, also of those that never came whole
        self.arrived = 0  # bytes of the body that came last, or is coming
        self.files: dict[str, Script] = {}  # what is served under a path, to anybody: that is no purchase
        self.fetched: list[SeenRequest] = []
        self._queue = deque(queue)
        self._default = default
        self._choose = choose
        self._tls = tls
        self._receive_buffer = receive_buffer
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        self._counted = asyncio.Condition()
        self.port = 0

    @property
    def url(self) -> str:
        """The ``base_url`` of a channel that leads here."""
        host = "localhost" if self._tls else "127.0.0.1"
        return f"http{'s' if self._tls else ''}://{host}:{self.port}/v1"

    def put(self, path: str, script: Script) -> str:
        """Serve something under a path; gives its address."""
        self.files[path] = script
        return self.url.removesuffix("/v1") + path

    @property
    def open_connections(self) -> int:
        """How many connections stand right now."""
        return len(self._tasks)

    def play(self, *queue: Script) -> None:
        """Script the next requests."""
        self._queue.extend(queue)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self, port: int = 0) -> None:
        """Listen on ``port``, or on a free one."""
        loop = asyncio.get_running_loop()
        listener = socket.create_server(("127.0.0.1", port), backlog=1024)
        if self._receive_buffer:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
        self.port = listener.getsockname()[1]
        self._server = await loop.create_server(
            lambda: asyncio.StreamReaderProtocol(_Reader(loop), self._serve, loop), sock=listener, ssl=self._tls
        )

    async def counted(self, count: int) -> None:
        """Wait until ``count`` requests were accepted."""
        async with self._counted:
            await self._counted.wait_for(lambda: self.count >= count)

    async def refuse(self) -> None:
        """Stop listening: from now on connections are refused. Standing ones stay."""
        if self._server is not None:
            self._server.close()

    async def close(self) -> None:
        """Stop listening and drop every connection."""
        self._closing = True
        await self.refuse()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await asyncio.sleep(0)  # transports close in the next turn of the loop

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        assert isinstance(reader, _Reader)
        self._tasks.add(task)
        self.connections += 1
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the client left in the middle: some scripts make it do so
        except asyncio.CancelledError:
            if not self._closing:
                raise
        finally:
            self._tasks.discard(task)
            writer.close()
            with suppress(ConnectionError, asyncio.CancelledError, ssl.SSLError):
                await asyncio.wait_for(writer.wait_closed(), 1.0)

    async def _exchange(self, reader: _Reader, writer: asyncio.StreamWriter) -> bool:
        seen = read_head(await reader.readuntil(b"\r\n\r\n"))
        if seen.path == "/__seen":
            writer.write(_send_all(reply(200, self._report())))
            await writer.drain()
            return True
        if seen.path in self.files:
            self.fetched.append(seen)
            return await self._play(self.files[seen.path], reader, writer)
        self.problems += head_problems(seen, key=self.key, host=self.url.split("/")[2])
        self.heads.append(seen)
        script = self._queue.popleft() if self._queue else None
        if script is None or script.reads is Reads.ALL:
            seen = await self._read_body(seen, reader)
        if script is None:
            script = self._unqueued(seen)
        self.requests.append(replace(seen, script=script.name))
        async with self._counted:
            self.count += 1
            self._counted.notify_all()
        return await self._play(script, reader, writer)

    def _unqueued(self, seen: SeenRequest) -> Script:
        if self._choose is not None:
            return self._choose(seen)
        if self._default is None:
            self.problems.append("a request came for which nothing was scripted")
            return _UNSCRIPTED
        return self._default

    async def _read_body(self, seen: SeenRequest, reader: _Reader) -> SeenRequest:
        if (seen.header("content-length") or "0") == "0" and seen.path.startswith("/v1/responses/"):
            return replace(seen, whole=True)
        check = BodyCheck(seen.header("content-type") or "")
        left = int(seen.header("content-length") or "0")
        self.arrived = 0
        while left:
            piece = await reader.read(min(left, _READ_LIMIT))
            if not piece:
                raise asyncio.IncompleteReadError(b"", left)
            check.feed(piece)
            self.arrived += len(piece)
            left -= len(piece)
        body, sha256, parts = check.finish()
        self.problems += check.problems
        return replace(seen, body=body, sha256=sha256, parts=parts, length=check.length, whole=True)

    async def _play(self, script: Script, reader: _Reader, writer: asyncio.StreamWriter) -> bool:
        for step in script.steps:
            await _take(step, reader, writer)
        if script.ending is Ending.RESET:
            _reset(writer)
        return script.ending is Ending.KEEP and not reader.gone.is_set()

    def _report(self) -> JsonObject:
        requests: list[JsonObject] = [
            {"method": r.method, "path": r.path, "query": r.query, "length": r.length, "sha256": r.sha256}
            for r in self.requests
        ]
        return {"count": self.count, "connections": self.connections, "problems": self.problems, "requests": requests}


async def _take(step: Step, reader: _Reader, writer: asyncio.StreamWriter) -> None:
    if not isinstance(step, Send):
        with suppress(TimeoutError):
            await asyncio.wait_for(reader.gone.wait(), step.seconds)
        return
    size = step.slice or max(len(step.data), 1)
    for _ in range(step.times):
        for start in range(0, len(step.data), size):
            writer.write(step.data[start : start + size])
            await writer.drain()
            if step.pause_s or step.slice:
                await asyncio.sleep(step.pause_s)


def _reset(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _send_all(script: Script) -> bytes:
    return b"".join(step.data for step in script.steps if isinstance(step, Send))


def closed_port() -> int:
    """Give a port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


@contextmanager
def full_backlog() -> Iterator[int]:
    """Give a port that neither accepts nor refuses: its backlog is full."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    waiting = [socket.socket() for _ in range(4)]
    for one in waiting:
        one.setblocking(False)
        one.connect_ex(listener.getsockname())
    try:
        yield listener.getsockname()[1]
    finally:
        for one in (*waiting, listener):
            one.close()


_PLAIN: Mapping[str, Callable[[], Script]] = MappingProxyType(
    {
        made.__name__: made
        for made in (
            *(scripts.drop_before_status, scripts.reset_before_status, scripts.reset_after_status, scripts.hang),
            *(scripts.short_length, scripts.truncated_chunk, scripts.no_last_chunk, scripts.bad_chunk, scripts.stall),
            *(scripts.bad_status_line, scripts.trickle, scripts.huge_header, scripts.one_xx_flood, scripts.gzip),
            *(scripts.html, scripts.not_reading, scripts.early_reply_without_reading, scripts.drop_in_head),
        )
    }
)


def script_of(entry: dict[str, object]) -> Script:
    """Read one entry of a script file (module docstring). Raises ``KeyError`` for an unknown ``do``."""
    if entry["do"] != "reply":
        return _PLAIN[str(entry["do"])]()
    image = entry.get("image")
    body = entry.get("body", {})
    picture = {key: int(value) for key, value in image.items()} if isinstance(image, dict) else None
    return reply(
        int(str(entry.get("status", 200))),
        image_answer(**picture) if picture is not None else json.dumps(body).encode(),
        delay_s=float(str(entry.get("delay_s", 0))),
        chunked=bool(entry.get("chunked", False)),
        slice=int(str(entry.get("slice", 0))),
    )


async def _run(upstream: FakeUpstream, port: int) -> None:
    await upstream.start(port)
    try:
        sys.stdout.write(json.dumps({"url": upstream.url, "port": upstream.port}) + "\n")
        sys.stdout.flush()
        await asyncio.Event().wait()
    finally:
        await upstream.close()


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--script", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    plan = json.loads(options.script.read_text())
    default = script_of(plan["default"]) if "default" in plan else None
    queue = [script_of(entry) for entry in plan.get("scripts", [])]
    upstream = FakeUpstream(*queue, default=default, key=plan.get("key", "sk-upstream"))
    with suppress(KeyboardInterrupt):
        asyncio.run(_run(upstream, options.port))


if __name__ == "__main__":
    main()
