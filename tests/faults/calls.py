"""Calls for tests of a ``ports.Sender``, and what came of them in two words: phase and cause."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from gateway.core.table import Api, Channel, ChannelKind, Secret
from gateway.core.types import BodyMap, Cause, Directives, Facts, JsonObject, Phase, RequestId, Surface, Wire
from gateway.ports import Broken, Call, ExchangeBroken, Job, Replayable, Sender

KEY = "sk-upstream"
SMALL = json.dumps({"model": "gpt-image-2", "prompt": "a lighthouse"}).encode()
_PIECE = 256 * 1024


class BytesBody:
    """A body in memory; counts how often it was read."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.reads = 0

    @property
    def length(self) -> int:
        return len(self._data)

    async def read(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        self.reads += 1
        stop = len(self._data) if end is None else end
        for at in range(start, stop, _PIECE):
            yield self._data[at : min(at + _PIECE, stop)]

    def close(self) -> None:
        pass


class EndlessBody(BytesBody):
    """``length`` bytes made on the way, never held; ``tail`` are its last ones."""

    def __init__(self, length: int, head: bytes, tail: bytes) -> None:
        super().__init__(b"")
        self._length = length
        self._head = head
        self._tail = tail

    @property
    def length(self) -> int:
        return self._length

    async def read(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        yield self._head
        left = self._length - len(self._head) - len(self._tail)
        filler = b"\xa5" * _PIECE
        while left:
            piece = filler[: min(left, _PIECE)]
            yield piece
            left -= len(piece)
        yield self._tail


class LyingBody(BytesBody):
    """Says it is longer than it is, by ``by`` bytes (or shorter)."""

    def __init__(self, data: bytes, by: int) -> None:
        super().__init__(data)
        self._by = by

    @property
    def length(self) -> int:
        return len(self._data) + self._by


class SlowBody(BytesBody):
    """Takes ``delay_s`` to give its first byte."""

    def __init__(self, data: bytes, delay_s: float) -> None:
        super().__init__(data)
        self._delay_s = delay_s

    async def read(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        await asyncio.sleep(self._delay_s)
        yield self._data[start:end]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The three clocks of a call, in seconds from now."""

    connect_s: float = 3.0
    idle_s: float = 2.0
    give_up_s: float = 10.0
    overdue: Cause = Cause.PATIENCE


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a call: broken before its head, cut in its body, or whole (``cause`` absent)."""

    phase: Phase
    cause: Cause | None = None
    status: int | None = None
    headers: Mapping[str, str] | None = None
    body: bytes = b""
    seconds: float = 0.0

    @property
    def words(self) -> tuple[Phase, Cause | None]:
        return self.phase, self.cause


def channel(base_url: str) -> Channel:
    host = base_url.split("/")[2]
    return Channel(
        name="A",
        owner="a.example",
        kind=ChannelKind.DIRECT,
        api=Api.OPENAI,
        base_url=base_url,
        host=host,
        rows={},
        api_key=Secret(KEY),
    )


def call(
    base_url: str,
    body: Replayable | bytes = SMALL,
    *,
    limits: Limits | None = None,
    path: str = "/images/generations",
    headers: tuple[tuple[str, str], ...] = (),
    content_type: str = "application/json",
) -> Call:
    clocks = limits or Limits()
    given = BytesBody(body) if isinstance(body, bytes) else body
    body_map = BodyMap(content_type=content_type, length=given.length, model=None, insert_at=1)
    job = Job(
        request_id=RequestId("req_00000000000000000000000000000000"),
        time=datetime.now(UTC),
        started=0.0,
        facts=Facts(surface=Surface.GENERATIONS, asked_model="gpt-image-2"),
        directives=Directives(),
        body=given,
        body_map=body_map,
        prompt="a lighthouse",
    )
    wire = Wire(
        path=path, headers=(("authorization", f"Bearer {KEY}"), ("content-type", content_type), *headers), splices=()
    )
    return Call(
        channel=channel(base_url),
        wire=wire,
        body=given,
        job=job,
        sent_model="gpt-image-2",
        connect_s=clocks.connect_s,
        idle_s=clocks.idle_s,
        give_up_at=asyncio.get_running_loop().time() + clocks.give_up_s,
        overdue=clocks.overdue,
    )


async def observe(sender: Sender, made: Call) -> Outcome:
    """Send a call, read its answer to the end, close it."""
    clock = asyncio.get_running_loop().time
    started = clock()
    exchange = await sender.send(made)
    if isinstance(exchange, Broken):
        return Outcome(phase=exchange.phase, cause=exchange.cause, seconds=clock() - started)
    pieces: list[bytes] = []
    cause = None
    try:
        async for piece in exchange.chunks():
            assert 0 < len(piece) <= 2 * _PIECE
            pieces.append(piece)
    except ExchangeBroken as broken:
        cause = broken.cause
    finally:
        await exchange.close()
        await exchange.close()  # closing twice is closing once
    return Outcome(
        phase=Phase.DONE if cause is None else Phase.ANSWERED,
        cause=cause,
        status=exchange.status,
        headers=exchange.headers,
        body=b"".join(pieces),
        seconds=clock() - started,
    )


def multipart(boundary: str, model: str, picture_name: str) -> tuple[bytes, bytes]:
    """Give what stands before and after the bytes of the one picture of an edit."""
    head = (
        f'--{boundary}\r\ncontent-disposition: form-data; name="model"\r\n\r\n{model}\r\n'
        f'--{boundary}\r\ncontent-disposition: form-data; name="image"; filename="{picture_name}"\r\n'
        "content-type: image/png\r\n\r\n"
    )
    return head.encode(), f"\r\n--{boundary}--\r\n".encode()


def document(outcome: Outcome) -> JsonObject:
    parsed: JsonObject = json.loads(outcome.body)
    return parsed
