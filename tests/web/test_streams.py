"""The client's end of a stream: what goes out, when, and what becomes of it when nobody reads."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from starlette.types import Message

from gateway.exchange import Presence
from gateway.outlet import Said, StreamHead
from gateway.ports import Job
from gateway.relay import Result
from gateway.web.errors import ours
from gateway.web.receipt import Receipt
from gateway.web.streams import COMMENT, MOST_HELD, ClientStream, Pace
from tests.web.house import House, Kept, attempt_of, post, record_of, serving, until

PATH = "/v1/images/generations"
HEAD = StreamHead(record=record_of(attempts=(attempt_of(),)), upstream_headers=(("openai-version", "v"), ("x", "y")))
LOST = ours(502, "upstream_unknown_outcome", "It broke.")
LONG = 60.0


@dataclass
class Wire:
    """Keeps what was sent; may be slow."""

    sent: list[Message] = field(default_factory=list)
    slow_s: float = 0.0

    async def __call__(self, message: Message) -> None:
        if self.slow_s:
            await asyncio.sleep(self.slow_s)
        self.sent.append(message)

    @property
    def text(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    @property
    def is_over(self) -> bool:
        return bool(self.sent) and self.sent[-1].get("more_body") is False


@dataclass
class Stream:
    wire: Wire
    presence: Presence
    out: ClientStream


@asynccontextmanager
async def streaming(
    head_s: float = LONG, hold_s: float = LONG, silence_s: float = LONG, slow_s: float = 0.0
) -> AsyncIterator[Stream]:
    wire, presence = Wire(slow_s=slow_s), Presence()
    out = ClientStream(wire, presence, Pace(head_s=head_s, hold_s=hold_s, silence_s=silence_s))
    async with asyncio.TaskGroup() as group:
        pulse = group.create_task(out.pulse())
        yield Stream(wire, presence, out)
        pulse.cancel()


async def test_events_go_out_whole_and_in_order() -> None:
    async with streaming() as stream:
        stream.out.expect(lambda: HEAD)
        await stream.out.hold(Said(b"data: 1\n\n"))
        assert stream.wire.sent == []
        event = Kept(b"data: ", b"2", b"\n\n")
        assert await stream.out.send(event) is True
        await stream.out.hold(Said(b"data: 3\n\n"))
        assert stream.wire.text == b"data: 1\n\ndata: 2\n\ndata: 3\n\n"
        assert stream.wire.sent[-1]["more_body"] is True
        last = Kept(b"data: 4\n\n")
        await stream.out.finish(HEAD, [last])
    assert stream.wire.text.endswith(b"data: 3\n\ndata: 4\n\n")
    assert stream.wire.is_over
    assert (event.closed, last.closed) == (1, 1)
    head = stream.wire.sent[0]
    assert (head["type"], head["status"]) == ("http.response.start", 200)
    headers = dict(head["headers"])
    assert headers[b"content-type"] == b"text/event-stream; charset=utf-8"
    assert headers[b"x-route-owner"] == b"openai"
    assert headers[b"openai-version"] == b"v"
    assert b"x" not in headers
    assert [message["type"] for message in stream.wire.sent].count("http.response.start") == 1


async def test_the_head_goes_out_with_a_comment_when_the_client_has_waited_long_enough() -> None:
    async with streaming(head_s=0.05) as stream:
        stream.out.expect(lambda: HEAD)
        await until(lambda: stream.out.committed)
        await until(lambda: stream.wire.text == COMMENT)
        await stream.out.hold(Said(b"data: 1\n\n"))  # nothing is won by holding any more
        assert stream.wire.text == COMMENT + b"data: 1\n\n"


async def test_no_head_goes_out_between_two_attempts() -> None:
    async with streaming(head_s=0.03, hold_s=0.03) as stream:
        stream.out.expect(lambda: HEAD)
        event = Kept(b"data: 1\n\n")
        await stream.out.hold(event)
        assert stream.out.withdraw() == [event]
        await asyncio.sleep(0.1)
        assert (stream.wire.sent, stream.out.committed, event.closed) == ([], False, 0)
        stream.out.expect(lambda: HEAD)
        await until(lambda: stream.wire.text == COMMENT)


async def test_what_was_held_long_enough_goes_out_and_binds() -> None:
    async with streaming(hold_s=0.05) as stream:
        stream.out.expect(lambda: HEAD)
        await stream.out.hold(Said(b"data: 1\n\n"))
        await stream.out.hold(Said(b"data: 2\n\n"))
        await until(lambda: stream.out.committed)
        await until(lambda: stream.wire.text == b"data: 1\n\ndata: 2\n\n")
        assert stream.out.withdraw() == []


@pytest.mark.parametrize("hold_s", [0.0, LONG])
async def test_holding_may_be_off_and_is_never_for_many(hold_s: float) -> None:
    async with streaming(hold_s=hold_s) as stream:
        stream.out.expect(lambda: HEAD)
        for number in range(MOST_HELD + 1):
            assert stream.out.committed is (hold_s == 0 and number > 0)
            await stream.out.hold(Said(b"%d " % number))
        assert stream.out.committed
    assert stream.wire.text.split() == [b"%d" % number for number in range(MOST_HELD + 1)]


async def test_silence_is_filled_with_comments_and_never_inside_an_event() -> None:
    async with streaming(silence_s=0.05, slow_s=0.02) as stream:
        stream.out.expect(lambda: HEAD)
        await stream.out.send(Kept(*(b"x" for _ in range(10)), b"\n\n"))
        await until(lambda: stream.wire.text.count(COMMENT) == 2)
        await stream.out.finish(HEAD, [Kept(*(b"y" for _ in range(10)), b"\n\n")])
        await asyncio.sleep(0.1)
    assert stream.wire.text.startswith(b"x" * 10 + b"\n\n" + COMMENT * 2)
    assert stream.wire.text.endswith(b"y" * 10 + b"\n\n")
    assert stream.wire.is_over


async def test_there_is_no_comment_while_there_is_no_silence() -> None:
    async with streaming(silence_s=0.2) as stream:
        stream.out.expect(lambda: HEAD)
        for _ in range(8):
            await stream.out.send(Said(b"data: 1\n\n"))
            await asyncio.sleep(0.05)
        assert COMMENT not in stream.wire.text


@pytest.mark.parametrize("sequence", [None, 7])
async def test_an_error_ends_the_stream_in_the_form_that_sdks_know(sequence: int | None) -> None:
    async with streaming() as stream:
        await stream.out.fail(HEAD, LOST, sequence)
    assert stream.wire.is_over
    name, data, *rest = stream.wire.text.decode().split("\n")
    assert (name, rest) == ("event: error", ["", ""])
    said = json.loads(data.removeprefix("data: "))
    assert said["type"] == "error"
    assert (said["error"]["code"], said["error"]["message"]) == ("upstream_unknown_outcome", "It broke.")
    assert said["error"]["attempts"][0]["channel"] == "openai"
    assert said.get("sequence_number") == sequence


async def test_nobody_there_is_no_error() -> None:
    async with streaming() as stream:
        stream.out.expect(lambda: HEAD)
        held, sent, last = Kept(b"a"), Kept(b"b"), Kept(b"c")
        await stream.out.hold(held)
        stream.presence.leave()
        assert await stream.out.send(sent) is False
        await stream.out.finish(HEAD, [last])
        await stream.out.fail(HEAD, LOST, None)
    assert stream.wire.sent == []
    assert (held.closed, sent.closed, last.closed) == (1, 1, 1)


async def test_a_client_that_leaves_inside_an_event_has_not_got_it() -> None:
    async with streaming(slow_s=0.02) as stream:
        stream.out.expect(lambda: HEAD)
        event = Kept(*(b"x" for _ in range(10)))
        sending = asyncio.ensure_future(stream.out.send(event))
        await until(lambda: len(stream.wire.sent) > 3)
        stream.presence.leave()
        assert await sending is False
    assert event.closed == 1
    assert 0 < event.given < 10


# --- over a socket


async def stream_over(house: House, *, pieces: int) -> list[Kept]:
    """Make the relay send large events, one after the other, as fast as the client takes them."""
    events = [Kept(*(b"x" * 65_536 for _ in range(16))) for _ in range(pieces)]

    async def serve(job: Job, presence: Presence) -> Result:
        out = house.line.outlets[-1]
        out.expect(lambda: HEAD)
        for event in events:
            await out.send(event)
        if presence.gone:
            return Result(status=499, record=record_of(job.request_id, attempts=(attempt_of(),)), is_written=True)
        await out.fail(HEAD, LOST, None)
        return Result(status=200, record=record_of(job.request_id, attempts=(attempt_of(),)), is_written=True)

    house.desk.stream = True
    house.line.serve = serve
    return events


async def test_a_reader_that_takes_its_time_holds_the_stream_up_and_fills_no_memory() -> None:
    house = House()
    events = await stream_over(house, pieces=30)
    async with serving(house.app(), Receipt(stall_s=5)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=65_536)
        writer.write(post(PATH))
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.3)
        assert sum(event.given for event in events) < 30 * 16 / 2
        taken = 0
        while data := await reader.read(1 << 20):
            taken += len(data)
            if data.endswith(b"\r\n0\r\n\r\n"):
                break
        assert taken > 30 * 16 * 65_536
        writer.close()
    assert [event.closed for event in events] == [1] * 30


async def test_a_reader_that_takes_nothing_is_cut_and_the_work_goes_on() -> None:
    house = House()
    events = await stream_over(house, pieces=30)
    async with serving(house.app(), Receipt(stall_s=0.2)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=65_536)
        writer.write(post(PATH))
        await reader.readuntil(b"\r\n\r\n")
        await until(lambda: house.line.presences[-1].gone)
        await until(lambda: all(event.closed for event in events))
        assert sum(event.given for event in events) < 30 * 16
        writer.transport.abort()
