"""A call that is begun before its body is whole: its clocks, how it ends, and how ``send`` goes on with it."""

import asyncio
from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from gateway.core.types import Cause, Phase
from gateway.ports import Call
from gateway.upstream.client import Upstream
from gateway.upstream.leading import Leading
from tests.fakes.answers import image_answer
from tests.fakes.script import FOREVER_S, Reads, Script, Wait, reply
from tests.fakes.tls import Certificate
from tests.fakes.upstream import FakeUpstream, full_backlog
from tests.faults.calls import BytesBody, Limits, call, multipart, observe
from tests.web.house import until

HEAD, TAIL = multipart("b", "pic", "in.png")
BODY = HEAD + bytes(3_000_000) + TAIL
FORM = "multipart/form-data; boundary=b"
PIECE = 200_000


class Arriving:
    """A body that a test lets come."""

    def __init__(self, body: bytes = BODY) -> None:
        self._body = body
        self._waiting: list[bytes] = []
        self.given = self.reach = 0

    @property
    def length(self) -> int:
        return len(self._body)

    def take(self) -> Sequence[bytes]:
        taken, self._waiting = self._waiting, []
        self.given += sum(map(len, taken))
        return taken

    def come(self, size: int) -> None:
        at = self.given + sum(map(len, self._waiting))
        self._waiting.append(self._body[at : at + size])
        self.reach = at + size


class Ends:
    """Counts what is told once."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


def form_call(url: str, limits: Limits | None = None) -> Call:
    return call(url, BytesBody(BODY), limits=limits, path="/images/edits", content_type=FORM)


def with_lead(made: Call, lead: Leading) -> Call:
    return replace(made, lead=lead)


@pytest.fixture
def arriving() -> Arriving:
    return Arriving()


async def test_send_goes_on_where_it_stopped(sender: Upstream, arriving: Arriving) -> None:
    async with FakeUpstream(default=reply(200, image_answer())) as upstream:
        made, over = form_call(upstream.url), Ends()
        lead = sender.lead(made, arriving, over)
        for _ in range(5):
            arriving.come(PIECE)
            lead.more()
            await until(lambda: not arriving._waiting)
        await until(lambda: upstream.arrived == 5 * PIECE)
        assert (upstream.count, over.count) == (0, 0)
        outcome = await observe(sender, with_lead(made, lead))
        assert (outcome.words, outcome.status, lead.given) == ((Phase.DONE, None), 200, 5 * PIECE)
        assert (upstream.count, upstream.connections, over.count) == (1, 1, 1)
        assert upstream.requests[0].length == len(BODY)
        assert upstream.problems == []


async def test_send_goes_on_with_a_connection_that_is_only_being_made(sender: Upstream, arriving: Arriving) -> None:
    async with FakeUpstream(default=reply(200, image_answer())) as upstream:
        made = form_call(upstream.url)
        lead = sender.lead(made, arriving, Ends())
        outcome = await observe(sender, with_lead(made, lead))
        assert (outcome.status, lead.given) == (200, 0)
        assert (upstream.count, upstream.connections) == (1, 1)


async def test_send_goes_on_through_tls(
    trusting_sender: Upstream, certificate: Certificate, arriving: Arriving
) -> None:
    async with FakeUpstream(default=reply(200, image_answer()), tls=certificate.server_context()) as upstream:
        made = form_call(upstream.url)
        lead = trusting_sender.lead(made, arriving, Ends())
        for _ in range(5):
            arriving.come(PIECE)
            lead.more()
            await until(lambda: arriving.given % PIECE == 0 and arriving.given)
        outcome = await observe(trusting_sender, with_lead(made, lead))
        assert (outcome.status, upstream.count, upstream.connections) == (200, 1, 1)
        assert lead.given > 0
        assert upstream.requests[0].length == len(BODY)


@pytest.mark.parametrize("limits", [Limits(idle_s=0.15, give_up_s=5), Limits(idle_s=5, give_up_s=0.15)])
async def test_a_caller_that_is_too_slow_holds_no_connection(
    sender: Upstream, arriving: Arriving, limits: Limits
) -> None:
    async with FakeUpstream(default=reply(200, image_answer())) as upstream:
        over = Ends()
        lead = sender.lead(form_call(upstream.url, limits), arriving, over)
        arriving.come(PIECE)
        await until(lambda: over.count == 1)
        await until(lambda: upstream.open_connections == 0)
        outcome = await observe(sender, with_lead(form_call(upstream.url), lead))
        assert (outcome.status, lead.given) == (200, 0)
        assert (upstream.count, len(upstream.heads), over.count) == (1, 2, 1)


async def test_a_caller_is_silent_also_when_its_peer_has_answered(sender: Upstream) -> None:
    """What trickles is no more than silence, whoever it is that reads nothing any more."""
    script = Script(name="early", reads=Reads.HEAD, steps=(*reply(413).steps, Wait(seconds=FOREVER_S)))
    async with FakeUpstream(default=script) as upstream:
        arriving, over = Arriving(), Ends()
        lead = sender.lead(form_call(upstream.url, Limits(idle_s=0.3, give_up_s=5)), arriving, over)
        arriving.come(PIECE)
        for _ in range(20):
            await asyncio.sleep(0.05)
            arriving.come(100)
            lead.more()
        assert over.count == 1
        await until(lambda: upstream.open_connections == 0)


async def test_one_that_is_begun_when_the_process_ends_is_over_at_once(sender: Upstream, arriving: Arriving) -> None:
    async with FakeUpstream(default=reply(200, image_answer())) as upstream:
        before, over = Ends(), Ends()
        begun = sender.lead(form_call(upstream.url), arriving, before)
        await sender.cut()
        late = sender.lead(form_call(upstream.url), arriving, over)
        await until(lambda: (before.count, over.count) == (1, 1))
        for lead in (begun, late):
            outcome = await observe(sender, with_lead(form_call(upstream.url), lead))
            assert outcome.words == (Phase.UNSENT, Cause.INTERRUPTED)
        assert upstream.count == 0


async def test_a_connection_that_broke_is_not_gone_on_with(sender: Upstream, arriving: Arriving) -> None:
    async with FakeUpstream(default=reply(200, image_answer())) as upstream:
        over = Ends()
        lead = sender.lead(form_call(upstream.url), arriving, over)
        await until(lambda: len(upstream.heads) == 1)
        await upstream.close()
        await until(lambda: over.count == 1)
        await upstream.start(upstream.port)
        outcome = await observe(sender, with_lead(form_call(upstream.url), lead))
        assert (outcome.status, lead.given) == (200, 0)
        assert upstream.count == 1


async def test_cutting_it_drops_the_connection_and_twice_is_once(sender: Upstream, arriving: Arriving) -> None:
    async with FakeUpstream(default=reply(200, image_answer())) as upstream:
        over = Ends()
        lead = sender.lead(form_call(upstream.url), arriving, over)
        arriving.come(PIECE)
        await until(lambda: upstream.arrived == PIECE)
        lead.cut()
        lead.cut()
        await until(lambda: upstream.open_connections == 0)
        assert (upstream.count, over.count) == (0, 1)


async def test_one_that_is_cut_before_it_began_leaves_nothing(sender: Upstream, arriving: Arriving) -> None:
    async with FakeUpstream(default=reply(200, image_answer())) as upstream:
        over = Ends()
        sender.lead(form_call(upstream.url), arriving, over).cut()
        await until(lambda: over.count == 1)
        assert upstream.heads == []


async def test_nothing_is_reached_and_nobody_hears_of_it(sender: Upstream, arriving: Arriving) -> None:
    with full_backlog() as port:
        over = Ends()
        lead = sender.lead(form_call(f"http://127.0.0.1:{port}/v1", Limits(connect_s=0.1)), arriving, over)
        await until(lambda: over.count == 1)
        lead.cut()


async def test_a_cancelled_send_takes_what_was_begun_along(sender: Upstream, arriving: Arriving) -> None:
    with full_backlog() as port:
        made = form_call(f"http://127.0.0.1:{port}/v1")
        over = Ends()
        lead = sender.lead(made, arriving, over)
        sending = asyncio.ensure_future(observe(sender, with_lead(made, lead)))
        await asyncio.sleep(0.05)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await until(lambda: over.count == 1)


async def test_the_end_of_the_process_ends_it(sender: Upstream, arriving: Arriving) -> None:
    async with FakeUpstream(default=reply(200, image_answer())) as upstream:
        over = Ends()
        sender.lead(form_call(upstream.url), arriving, over)
        await until(lambda: len(upstream.heads) == 1)
        await sender.close()
        assert over.count == 1
        await until(lambda: upstream.open_connections == 0)
