"""What every HTTP client of the data plane must say about every way an exchange can break.

Real sockets, two event loops. A case names the fault, the phase and cause that must come of it, and how many requests
the upstream accepted: that count is what may have to be paid. Numbers U1 to U47 are those of the fault list in the
design notes; U5 (no free slot) and the faults that only a parser sees (U24 to U29) are not the client's.
"""

import asyncio
from dataclasses import dataclass, field

import pytest

from gateway.core.types import Cause, Phase
from gateway.ports import Broken, Sender
from tests.fakes import script as fake
from tests.fakes.answers import image_answer
from tests.fakes.script import Script, reply
from tests.fakes.upstream import FakeUpstream, closed_port, full_backlog
from tests.faults.calls import SMALL, BytesBody, Limits, Outcome, SlowBody, call, observe

UNSENT, SENT, ANSWERED, DONE = Phase.UNSENT, Phase.SENT, Phase.ANSWERED, Phase.DONE
IMPATIENT = Limits(idle_s=5.0, give_up_s=0.4)
RESTLESS = Limits(idle_s=0.3, give_up_s=5.0)
STALLING_BYTES = 16_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    name: str
    script: Script
    phase: Phase
    cause: Cause | None
    limits: Limits = field(default_factory=Limits)


BROKEN_BEFORE_THE_STATUS = (
    Case(name="U6 closed before the status", script=fake.drop_before_status(), phase=SENT, cause=Cause.DROPPED),
    Case(name="U6 closed inside the head", script=fake.drop_in_head(), phase=SENT, cause=Cause.DROPPED),
    Case(name="U7 reset before the status", script=fake.reset_before_status(), phase=SENT, cause=Cause.RESET),
    Case(name="U10 no head in time", script=fake.hang(), phase=SENT, cause=Cause.PATIENCE, limits=IMPATIENT),
    Case(name="U10 head trickles", script=fake.trickle_head(), phase=SENT, cause=Cause.PATIENCE, limits=IMPATIENT),
    Case(name="U18 bad status line", script=fake.bad_status_line(), phase=SENT, cause=Cause.BAD_FRAMING),
    Case(name="U19 300 KB header", script=fake.huge_header(), phase=SENT, cause=Cause.BAD_FRAMING),
    Case(name="U19 120 KB of headers", script=fake.wide_head(), phase=SENT, cause=Cause.BAD_FRAMING),
    Case(name="U19 1000 headers", script=fake.wide_head(1000, 10), phase=SENT, cause=Cause.BAD_FRAMING),
    Case(name="U20 1xx flood", script=fake.one_xx_flood(), phase=SENT, cause=Cause.BAD_FRAMING),
    Case(name="101 unasked", script=fake.switching_protocols(), phase=SENT, cause=Cause.BAD_FRAMING),
)

BROKEN_AFTER_THE_STATUS = (
    Case(name="U11 body stalls", script=fake.stall(), phase=ANSWERED, cause=Cause.IDLE, limits=RESTLESS),
    Case(name="U11 patience first", script=fake.stall(), phase=ANSWERED, cause=Cause.PATIENCE, limits=IMPATIENT),
    Case(name="U12 trickle", script=fake.trickle(), phase=ANSWERED, cause=Cause.PATIENCE, limits=IMPATIENT),
    Case(name="U13 short length", script=fake.short_length(), phase=ANSWERED, cause=Cause.TRUNCATED),
    Case(name="U13 truncated", script=fake.truncate(5, image_answer()), phase=ANSWERED, cause=Cause.TRUNCATED),
    Case(name="U14 reset in the body", script=fake.reset_after_status(), phase=ANSWERED, cause=Cause.RESET),
    Case(name="U14 reset, no length", script=fake.until_close(reset=True), phase=ANSWERED, cause=Cause.RESET),
    Case(name="U15 truncated chunk", script=fake.truncated_chunk(), phase=ANSWERED, cause=Cause.TRUNCATED),
    Case(name="U16 no last chunk", script=fake.no_last_chunk(), phase=ANSWERED, cause=Cause.TRUNCATED),
    Case(name="U17 bad chunk", script=fake.bad_chunk(), phase=ANSWERED, cause=Cause.BAD_FRAMING),
    Case(name="U21 gzip unasked", script=fake.gzip(), phase=ANSWERED, cause=Cause.BAD_ENCODING),
    Case(name="U22 gzip bomb", script=fake.gzip(bytes(64_000_000)), phase=ANSWERED, cause=Cause.BAD_ENCODING),
    Case(name="over the cap", script=reply(200, bytes(5_000_000)), phase=ANSWERED, cause=Cause.TOO_LARGE),
)

WHOLE = (
    Case(name="plain", script=reply(200, image_answer()), phase=DONE, cause=None),
    Case(name="U30 429", script=reply(429, b"{}", headers={"retry-after": "12"}), phase=DONE, cause=None),
    Case(name="U37 400", script=reply(400, b'{"error":{}}'), phase=DONE, cause=None),
    Case(name="U39 503", script=reply(503, b""), phase=DONE, cause=None),
    Case(name="U23 HTML", script=fake.html(), phase=DONE, cause=None),
    Case(name="204", script=reply(204, b""), phase=DONE, cause=None),
    Case(name="chunked", script=reply(200, image_answer(), chunked=True), phase=DONE, cause=None),
    Case(name="chunked, torn", script=reply(200, b"x" * 700, chunked=True, slice=1), phase=DONE, cause=None),
    Case(name="torn", script=reply(200, b"x" * 700, slice=1), phase=DONE, cause=None),
    Case(name="until close", script=fake.until_close(200, image_answer()), phase=DONE, cause=None),
    Case(name="after early hints", script=fake.early_hints(reply()), phase=DONE, cause=None),
    Case(name="slow", script=reply(200, image_answer(), delay_s=0.3), phase=DONE, cause=None, limits=RESTLESS),
    Case(
        name="U40 redirect is not followed",
        script=reply(302, b"", headers={"location": "http://169.254.169.254/latest"}),
        phase=DONE,
        cause=None,
    ),
)


@pytest.mark.parametrize(
    "case", [*BROKEN_BEFORE_THE_STATUS, *BROKEN_AFTER_THE_STATUS, *WHOLE], ids=lambda case: str(case.name)
)
async def test_every_fault_has_its_phase_its_cause_and_its_count(case: Case, sender: Sender) -> None:
    async with FakeUpstream(case.script) as upstream:
        seen = await observe(sender, call(upstream.url, limits=case.limits))
        assert seen.words == (case.phase, case.cause)
        assert (upstream.count, upstream.problems) == (1, [])
        assert seen.seconds < 3.0
        if case.cause not in (None, Cause.BAD_ENCODING):
            after = await next_on(sender, upstream)
            assert after.words == (DONE, None)
            assert upstream.connections == 2, "a broken connection was used again"


async def next_on(sender: Sender, upstream: FakeUpstream) -> Outcome:
    upstream.play(reply(200, b'{"next":true}'))
    return await observe(sender, call(upstream.url))


# Nothing left us: the next target may be tried, whatever the request costs.


async def test_u1_refused(sender: Sender) -> None:
    seen = await observe(sender, call(f"http://127.0.0.1:{closed_port()}/v1"))
    assert seen.words == (UNSENT, Cause.CONNECT_REFUSED)


async def test_u1_refused_after_it_had_served(sender: Sender) -> None:
    async with FakeUpstream(fake.close_after(reply())) as upstream:
        assert (await observe(sender, call(upstream.url))).words == (DONE, None)
        await upstream.refuse()
        await asyncio.sleep(0.05)
        assert (await observe(sender, call(upstream.url))).words == (UNSENT, Cause.CONNECT_REFUSED)
        assert upstream.count == 1


async def test_u2_the_backlog_is_full(sender: Sender) -> None:
    with full_backlog() as port:
        seen = await observe(sender, call(f"http://127.0.0.1:{port}/v1", limits=Limits(connect_s=0.3)))
    assert seen.words == (UNSENT, Cause.CONNECT_TIMEOUT)
    assert seen.seconds < 1.0


async def test_the_deadline_may_pass_while_connecting(sender: Sender) -> None:
    limits = Limits(connect_s=3.0, give_up_s=0.2, overdue=Cause.DEADLINE)
    with full_backlog() as port:
        seen = await observe(sender, call(f"http://127.0.0.1:{port}/v1", limits=limits))
    assert seen.words == (UNSENT, Cause.DEADLINE)


async def test_a_call_that_is_already_overdue_is_not_sent(sender: Sender) -> None:
    async with FakeUpstream() as upstream:
        seen = await observe(sender, call(upstream.url, limits=Limits(give_up_s=-1.0, overdue=Cause.DEADLINE)))
        assert seen.words == (UNSENT, Cause.DEADLINE)
        assert (upstream.connections, upstream.count) == (0, 0)


@pytest.mark.parametrize("host", ["no-such-host.invalid", f"{'a' * 64}.invalid", "a..invalid"])
async def test_u3_the_name_does_not_resolve(host: str, sender: Sender) -> None:
    seen = await observe(sender, call(f"http://{host}/v1", limits=Limits(connect_s=20.0, give_up_s=30.0)))
    assert seen.words == (UNSENT, Cause.DNS)


async def test_a_port_that_cannot_be_is_not_connected(sender: Sender) -> None:
    seen = await observe(sender, call("http://127.1:9/v1"))
    assert seen.words == (UNSENT, Cause.CONNECT_FAILED)


# The clock that was reported is the one that ran out.


@pytest.mark.parametrize("overdue", [Cause.PATIENCE, Cause.DEADLINE])
async def test_an_overdue_call_says_which_clock_ran_out(overdue: Cause, sender: Sender) -> None:
    limits = Limits(give_up_s=0.2, overdue=overdue)
    async with FakeUpstream(fake.hang(), fake.stall()) as upstream:
        assert (await observe(sender, call(upstream.url, limits=limits))).words == (SENT, overdue)
        assert (await observe(sender, call(upstream.url, limits=limits))).words == (ANSWERED, overdue)
        assert upstream.count == 2


async def test_waiting_for_the_head_is_not_idling(sender: Sender) -> None:
    async with FakeUpstream(reply(delay_s=0.6)) as upstream:
        seen = await observe(sender, call(upstream.url, limits=Limits(idle_s=0.2)))
        assert seen.words == (DONE, None)


# The upload.


async def test_u9_the_peer_does_not_read_the_upload(sender: Sender) -> None:
    async with FakeUpstream(fake.not_reading(), receive_buffer=16_384) as upstream:
        seen = await observe(sender, call(upstream.url, bytes(STALLING_BYTES), limits=RESTLESS))
        assert seen.words == (SENT, Cause.UPLOAD_STALLED)
        assert upstream.count == 1


async def test_the_deadline_may_pass_in_the_upload(sender: Sender) -> None:
    async with FakeUpstream(fake.not_reading(), receive_buffer=16_384) as upstream:
        seen = await observe(sender, call(upstream.url, bytes(STALLING_BYTES), limits=IMPATIENT))
        assert seen.words == (SENT, Cause.PATIENCE)


@pytest.mark.parametrize("status", [413, 429])
async def test_an_answer_that_comes_before_the_upload_ends_is_delivered(status: int, sender: Sender) -> None:
    script = fake.early_reply_without_reading(status, b'{"error":{"code":"early"}}')
    async with FakeUpstream(script, receive_buffer=16_384) as upstream:
        seen = await observe(sender, call(upstream.url, bytes(STALLING_BYTES)))
        assert (seen.words, seen.status, seen.body) == ((DONE, None), status, b'{"error":{"code":"early"}}')
        assert (await next_on(sender, upstream)).words == (DONE, None)
        assert upstream.connections == 2, "the upload was abandoned, so its connection is of no use"


# A paid POST is sent once.


async def test_u8_a_stale_connection_is_not_a_reason_to_send_again(sender: Sender) -> None:
    async with FakeUpstream(reply(), fake.drop_before_status(), default=reply()) as upstream:
        body = BytesBody(b'{"n":1}')
        assert (await observe(sender, call(upstream.url))).words == (DONE, None)
        assert (await observe(sender, call(upstream.url, body))).words == (SENT, Cause.DROPPED)
        assert (upstream.count, upstream.connections, body.reads) == (2, 1, 1)


async def test_u8_a_stale_connection_that_is_reset_is_not_a_reason_either(sender: Sender) -> None:
    async with FakeUpstream(reply(), fake.reset_before_status(), default=reply()) as upstream:
        assert (await observe(sender, call(upstream.url))).words == (DONE, None)
        assert (await observe(sender, call(upstream.url))).words == (SENT, Cause.RESET)
        assert (upstream.count, upstream.connections) == (2, 1)


async def test_a_connection_the_peer_closed_is_not_used(sender: Sender) -> None:
    async with FakeUpstream(fake.close_after(reply(), 0.05), default=reply()) as upstream:
        assert (await observe(sender, call(upstream.url))).words == (DONE, None)
        await asyncio.sleep(0.15)
        assert (await observe(sender, call(upstream.url))).words == (DONE, None)
        assert (upstream.count, upstream.connections) == (2, 2)


async def test_a_kept_connection_that_goes_before_the_first_byte_has_sent_nothing(sender: Sender) -> None:
    async with FakeUpstream(fake.close_after(reply(), 0.1), default=reply()) as upstream:
        assert (await observe(sender, call(upstream.url))).words == (DONE, None)
        assert (await observe(sender, call(upstream.url, SlowBody(SMALL, 0.3)))).words == (UNSENT, Cause.CONNECT_FAILED)
        assert upstream.count == 1


async def test_a_body_that_does_not_come_in_time_has_sent_nothing(sender: Sender) -> None:
    async with FakeUpstream(default=reply()) as upstream:
        seen = await observe(sender, call(upstream.url, SlowBody(SMALL, 1.0), limits=IMPATIENT))
        assert (seen.words, upstream.count) == ((UNSENT, Cause.PATIENCE), 0)


@pytest.mark.parametrize("size", [0, 1, 100_000])
async def test_a_body_of_any_size_counts_as_sent(size: int, sender: Sender) -> None:
    async with FakeUpstream(fake.drop_before_status()) as upstream:
        assert (await observe(sender, call(upstream.url, bytes(size)))).words == (SENT, Cause.DROPPED)
        assert upstream.count == 1


async def test_a_good_connection_is_used_again(sender: Sender) -> None:
    async with FakeUpstream(default=reply(200, image_answer())) as upstream:
        for _ in range(3):
            assert (await observe(sender, call(upstream.url))).words == (DONE, None)
        assert (upstream.count, upstream.connections) == (3, 1)


async def test_an_answer_that_is_not_read_costs_its_connection(sender: Sender) -> None:
    async with FakeUpstream(reply(200, bytes(3_000_000)), default=reply()) as upstream:
        exchange = await sender.send(call(upstream.url))
        assert not isinstance(exchange, Broken)
        await exchange.close()
        assert (await observe(sender, call(upstream.url))).words == (DONE, None)
        assert upstream.connections == 2


# Bytes that belong to nothing.

STRAY = reply(200, b'{"whose":"somebody else\'s"}').steps[0]


@pytest.mark.parametrize("pause_s", [0.0, 0.05])
@pytest.mark.parametrize("extra", [b"!", b"GARBAGE\r\n\r\n", getattr(STRAY, "data", b"")])
async def test_u47_extra_bytes_end_the_connection_and_never_answer_anybody(
    extra: bytes, pause_s: float, sender: Sender
) -> None:
    async with FakeUpstream(fake.extra_bytes(extra, b'{"mine":1}', pause_s=pause_s)) as upstream:
        first = await observe(sender, call(upstream.url))
        assert (first.words, first.body) == ((DONE, None), b'{"mine":1}')
        await asyncio.sleep(0.1)
        second = await next_on(sender, upstream)
        assert (second.words, second.body) == ((DONE, None), b'{"next":true}')
        assert (upstream.count, upstream.connections) == (2, 2)
