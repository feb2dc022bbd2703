"""One exchange with one upstream: a call out, its whole answer into the spool, and what was seen of it.

Rules: no retry, no fallback, no ledger here; one call is one call. What comes back is an ``Answered``: the observation,
what the codec read, the verdict, and the answer's bytes while anybody may want them. A picture that was sent for is
waited for even when the client has left; a plain Responses turn is cut short then.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from gateway.answer import AnswerSpool
from gateway.core.failures import ClassifyContext, classify
from gateway.core.table import Channel, FailureCodes
from gateway.core.types import AnswerFacts, Cause, Facts, Failure, Observation, Phase, Reading
from gateway.core.walk import Try
from gateway.core.waybill import is_image_work
from gateway.ports import Broken, Call, Clock, Codecs, Exchange, ExchangeBroken, Job, Senders
from gateway.spool import Spool, SpoolFull, spliced


class Presence:
    """Whether the client is still there. ``leave`` is called once, by whoever holds the client's socket."""

    __slots__ = ("_on_leave", "gone")

    def __init__(self) -> None:
        self.gone = False
        self._on_leave: Callable[[], None] | None = None

    def leave(self) -> None:
        """Say that the client has gone."""
        self.gone = True
        if self._on_leave is not None:
            self._on_leave()

    def watch(self, on_leave: Callable[[], None] | None) -> None:
        """Call ``on_leave`` when the client goes (at once if it has gone); ``None`` stops watching."""
        self._on_leave = on_leave
        if on_leave is not None and self.gone:
            on_leave()


@dataclass(slots=True, kw_only=True)
class Answered:
    """One attempt's end. ``answer`` is open until it is given away or closed; ``failure`` absent means delivered."""

    seen: Observation
    reading: Reading | None = None
    failure: Failure | None = None
    answer: AnswerSpool | None = None
    first_byte_ms: float | None = None
    channel: Channel | None = None  # who was asked

    def close(self) -> None:
        """Give the answer's memory and files back."""
        if self.answer is not None:
            self.answer.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wires:
    """How the outside is reached: a codec and a sender per API, the spool, the clock."""

    codecs: Codecs
    senders: Senders
    spool: Spool
    clock: Clock


async def exchange(wires: Wires, job: Job, step: Try, presence: Presence) -> Answered:
    """Make the call of one attempt and read its answer; never raises for what an upstream or a client may do."""
    if is_image_work(job.facts):
        return await _exchange(wires, job, step)
    started = wires.clock.monotonic()
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(None) as scope:
            presence.watch(lambda: scope.reschedule(loop.time()))
            ended = await _exchange(wires, job, step)
            presence.watch(None)
            return ended
    except TimeoutError:
        elapsed_s = wires.clock.monotonic() - started
        return Answered(seen=Observation(phase=Phase.SENT, cause=Cause.CLIENT_GONE, elapsed_s=elapsed_s))
    finally:
        presence.watch(None)


def judge(ended: Answered, facts: Facts, step: Try, codes: FailureCodes) -> Failure | None:
    """Classify what was seen; ``None`` is a delivery."""
    context = ClassifyContext(
        surface=facts.surface,
        has_image_tool=facts.tool is not None,
        tool_forced=facts.tool is not None and facts.tool.forced,
        channel_kind=step.target.channel.kind,
    )
    return classify(ended.seen, ended.reading, context, codes)


async def _exchange(wires: Wires, job: Job, step: Try) -> Answered:
    channel = step.target.channel
    codec = wires.codecs[channel.api]
    wire = codec.encode(job, channel, step.target.sent_model, step.target.tool_sent_model)
    started = wires.clock.monotonic()
    call = Call(
        channel=channel,
        wire=wire,
        body=spliced(job.body, wire.splices),
        job=job,
        sent_model=step.target.sent_model,
        connect_s=channel.timeouts.connect_s,
        idle_s=channel.timeouts.idle_s,
        give_up_at=asyncio.get_running_loop().time() + step.allowed_s,
        overdue=step.overdue,
    )
    sent = await wires.senders[channel.api].send(call)
    if isinstance(sent, Broken):
        elapsed_s = wires.clock.monotonic() - started
        return Answered(seen=Observation(phase=sent.phase, cause=sent.cause, elapsed_s=elapsed_s))
    ended = await take(wires, sent, started)
    if ended.seen.phase is Phase.DONE:
        ended.reading = codec.read(job, ended.seen)
    return ended


async def take(wires: Wires, sent: Exchange, started: float) -> Answered:
    """Take a whole answer into the spool; ``started``: the clock's seconds when its call was made."""
    first_byte_ms = round((wires.clock.monotonic() - started) * 1000, 1)
    answer = AnswerSpool(wires.spool)
    facts: AnswerFacts | None = None
    cause: Cause | None = None
    try:
        async for chunk in sent.chunks():
            answer.feed(chunk)
        facts = answer.finish()
    except ExchangeBroken as broken:
        cause = broken.cause
    except SpoolFull:
        cause = Cause.TOO_LARGE
    finally:
        await sent.close()
        if facts is None:
            answer.close()
    seen = Observation(
        phase=Phase.ANSWERED if facts is None else Phase.DONE,
        cause=cause,
        elapsed_s=wires.clock.monotonic() - started,
        status=sent.status,
        headers=sent.headers,
        answer=facts,
    )
    return Answered(seen=seen, answer=None if facts is None else answer, first_byte_ms=first_byte_ms)
