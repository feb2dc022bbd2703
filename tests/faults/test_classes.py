"""From the socket to the class: each way an exchange can break, what it is called, and whether money may be gone."""

import asyncio
from dataclasses import dataclass, field

import pytest

from gateway.config.catalog import failure_codes
from gateway.core.failures import ClassifyContext, classify
from gateway.core.seen import Observation
from gateway.core.table import ChannelKind
from gateway.core.types import Outcome, Surface
from gateway.ports import Sender
from tests.fakes import script as fake
from tests.fakes.script import Ending, Script, Send, reply
from tests.fakes.upstream import FakeUpstream, closed_port, full_backlog
from tests.faults.calls import Limits, call, observe
from tests.faults.calls import Outcome as Seen

IMAGES = ClassifyContext(surface=Surface.GENERATIONS, channel_kind=ChannelKind.DIRECT)
IMPATIENT = Limits(idle_s=5.0, give_up_s=0.4)
RESTLESS = Limits(idle_s=0.3, give_up_s=5.0)
ENDLESS = Script(
    name="endless",
    steps=(Send(data=fake.head(200, {"connection": "close"})), Send(data=b"x" * 65_536, times=10_000)),
    ending=Ending.CLOSE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    name: str
    script: Script
    says: str
    limits: Limits = field(default_factory=Limits)


FAULTS = (
    Fault(name="closed before the status", script=fake.drop_before_status(), says="connection_lost:dropped"),
    Fault(name="reset before the status", script=fake.reset_before_status(), says="connection_lost:reset"),
    Fault(name="reset after the status", script=fake.reset_after_status(), says="connection_lost:reset"),
    Fault(name="no head in time", script=fake.hang(), says="timeout:patience", limits=IMPATIENT),
    Fault(name="a bad status line", script=fake.bad_status_line(), says="malformed:bad_framing"),
    Fault(name="a header of 300 KB", script=fake.huge_header(), says="malformed:bad_framing"),
    Fault(name="a flood of 1xx", script=fake.one_xx_flood(), says="malformed:bad_framing"),
    Fault(name="a short body", script=fake.short_length(), says="connection_lost:truncated"),
    Fault(name="an endless body", script=ENDLESS, says="malformed:too_large"),
    Fault(name="a chunk that is cut", script=fake.truncated_chunk(), says="connection_lost:truncated"),
    Fault(name="no last chunk", script=fake.no_last_chunk(), says="connection_lost:truncated"),
    Fault(name="a bad chunk", script=fake.bad_chunk(), says="malformed:bad_framing"),
    Fault(name="a body that stalls", script=fake.stall(), says="timeout:idle", limits=RESTLESS),
    Fault(name="a trickle", script=fake.trickle(), says="timeout:patience", limits=IMPATIENT),
    Fault(name="gzip though not asked", script=fake.gzip(), says="malformed:bad_encoding"),
    Fault(name="a bomb in gzip", script=fake.gzip(bytes(64_000_000)), says="malformed:bad_encoding"),
)


def named(seen: Seen) -> tuple[str, Outcome] | None:
    observed = Observation(phase=seen.phase, elapsed_s=seen.seconds, cause=seen.cause, status=seen.status)
    failure = classify(observed, None, IMAGES, failure_codes())
    return None if failure is None else (f"{failure.kind.value}:{failure.detail}", failure.outcome)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: str(fault.name))
async def test_what_broke_once_it_was_sent_has_its_class_and_may_have_to_be_paid(fault: Fault, sender: Sender) -> None:
    async with FakeUpstream(fault.script) as upstream:
        seen = await observe(sender, call(upstream.url, limits=fault.limits))
        assert (named(seen), upstream.count) == ((fault.says, Outcome.UNKNOWN), 1)


async def test_what_was_not_sent_is_unreachable_and_costs_nothing(sender: Sender) -> None:
    refused = await observe(sender, call(f"http://127.0.0.1:{closed_port()}/v1"))
    assert named(refused) == ("unreachable:connect_refused", Outcome.NOT_SENT)
    nowhere = await observe(sender, call("http://no-such-host.invalid/v1", limits=Limits(connect_s=20, give_up_s=30)))
    assert named(nowhere) == ("unreachable:dns", Outcome.NOT_SENT)
    with full_backlog() as port:
        late = await observe(sender, call(f"http://127.0.0.1:{port}/v1", limits=Limits(connect_s=0.3)))
    assert named(late) == ("unreachable:connect_timeout", Outcome.NOT_SENT)


async def test_a_stale_connection_is_a_lost_one_and_no_reason_to_buy_again(sender: Sender) -> None:
    async with FakeUpstream(reply(), fake.drop_before_status(), default=reply()) as upstream:
        await observe(sender, call(upstream.url))
        seen = await observe(sender, call(upstream.url))
        assert (named(seen), upstream.count) == (("connection_lost:dropped", Outcome.UNKNOWN), 2)


async def test_bytes_behind_an_answer_are_nobodys(sender: Sender) -> None:
    async with FakeUpstream(
        fake.extra_bytes(b"GARBAGE\r\n\r\n", b'{"mine":1}', pause_s=0.05), default=reply()
    ) as upstream:
        first = await observe(sender, call(upstream.url))
        await asyncio.sleep(0.15)
        second = await observe(sender, call(upstream.url))
        assert (first.body, first.cause, second.body, second.cause) == (b'{"mine":1}', None, b"{}", None)
        assert upstream.connections == 2
