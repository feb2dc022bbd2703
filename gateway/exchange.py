"""One exchange with one upstream: a call out, its answer into the spool or followed, and what was seen of it.

Rules: no retry, no fallback, no ledger here; one call is one call. What comes back is an ``Answered``: the observation,
what the codec read, the verdict, and the answer's bytes while anybody may want them. An answer that is a stream of
events is passed on while it comes (``streaming``), any other is taken whole first. A picture that was sent for is
waited for even when the client has left; a plain Responses turn is cut short then.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection

from msgspec import Struct, field
from msgspec.structs import replace

from gateway.bodies.answer import AnswerSpool, expected_of
from gateway.bodies.contents import Contents, Fetcher, bring_in, plain
from gateway.bodies.spool import Spool, SpoolFull, spliced
from gateway.core.ahead import Start, sketch
from gateway.core.edits import edits
from gateway.core.failures import ClassifyContext, classify
from gateway.core.plan import Target
from gateway.core.prices import is_flat
from gateway.core.record import Record
from gateway.core.result_check import differences, sent_to
from gateway.core.seen import AnswerFacts, Observation, Reading
from gateway.core.table import Channel, FailureCodes
from gateway.core.types import Action, Cause, Facts, Failure, FailureClass, Fault, Outcome, Phase, Splice
from gateway.core.walk import Try
from gateway.core.waybill import Told, is_image_work
from gateway.outlet import Outlet
from gateway.ports import AnswerBody, Broken, Call, Clock, Codecs, Exchange, ExchangeBroken, Job, Picture, Senders
from gateway.streaming import Follower, Note, is_event_stream, observe


class Presence:
    """Whether anybody waits for the answer. ``leave`` is called by whoever holds the client's socket.

    ``glimpse`` is set once something may have been sent: it gives the record as it stands at that moment. ``told`` is
    what the client of the request was told instead of its answer, once it was.
    """

    __slots__ = ("_on_leave", "glimpse", "gone", "told")

    def __init__(self) -> None:
        self.gone = False
        self.glimpse: Callable[[], Record] | None = None
        self.told: Told | None = None
        self._on_leave: Callable[[], None] | None = None

    def leave(self) -> None:
        """Say that the client has gone."""
        self.gone = True
        if self._on_leave is not None:
            self._on_leave()

    def come_back(self) -> None:
        """Say that somebody waits again."""
        self.gone = False

    def settle(self, record: Record) -> None:
        """Say that no more is to come: the last glimpse is ``record``.

        What gave the glimpses knows this; while each holds the other, all of a request stays until the collector comes.
        """
        if self.glimpse is not None:
            self.glimpse = lambda: record

    def watch(self, on_leave: Callable[[], None] | None) -> None:
        """Call ``on_leave`` when the client goes (at once if it has gone); ``None`` stops watching."""
        self._on_leave = on_leave
        if on_leave is not None and self.gone:
            on_leave()


class Answered(Struct, kw_only=True):
    """One attempt's end. ``failure`` absent means delivered.

    What is open until it is given away or closed: ``answer``, the whole answer; or ``events``, those of a stream that
    have not gone out. ``stream`` is what followed the stream, when the answer was one. ``contents``: of a whole answer
    of an images surface.
    """

    seen: Observation
    target: Target | None = None
    reading: Reading | None = None
    failure: Failure | None = None
    answer: AnswerSpool | None = None
    first_byte_ms: float | None = None
    channel: Channel | None = None  # who was asked
    stream: Follower | None = None
    events: list[AnswerBody] = field(default_factory=list)
    differences: tuple[str, ...] = ()  # between what was asked and what came
    contents: Contents | None = None
    ahead: Start | None = None

    def pictures(self) -> list[Picture]:
        """Give the pictures that came, in the order of the reading, each with its bytes; they outlive the answer."""
        images = self.reading.pictures if self.reading is not None else ()
        if self.stream is not None:
            return [Picture(image=image, body=self.stream.take(image.sha256)) for image in images]
        leases = {image.sha256: lease for image, lease in (self.answer.pictures() if self.answer is not None else ())}
        taken = ((image, leases.pop(image.sha256, None)) for image in images)
        return [Picture(image=image, body=None if lease is None else lease()) for image, lease in taken]

    def close(self) -> None:
        """Give the answer's memory and files back."""
        if self.answer is not None:
            self.answer.close()
        if self.stream is not None:
            self.stream.release()
        for event in self.events:
            event.close()


class Wires(Struct, frozen=True, kw_only=True):
    """How the outside is reached: a codec and a sender per API, what gets pictures elsewhere, the spool, the clock."""

    codecs: Codecs
    senders: Senders
    spool: Spool
    clock: Clock
    fetcher: Fetcher | None = None


def follower_for(wires: Wires, job: Job, step: Try, outlet: Outlet, note: Note) -> Follower:
    """Give what follows the answer of one attempt, should it be a stream."""
    return Follower(job, wires.codecs[step.target.channel.api], wires.spool, outlet, note)


def exchange(
    wires: Wires, job: Job, step: Try, presence: Presence, follower: Follower | None = None
) -> Awaitable[Answered]:
    """Make the call of one attempt and read its answer; never raises for what an upstream or a client may do."""
    must_end = job.facts.detached and not job.facts.stream  # it says at once what it will be known by
    if is_image_work(job.facts) or must_end:
        return _exchange(wires, job, step, follower)
    return _while_present(wires, job, step, presence, follower)


async def _while_present(wires: Wires, job: Job, step: Try, presence: Presence, follower: Follower | None) -> Answered:
    started = wires.clock.monotonic()
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(None) as scope:
            presence.watch(lambda: scope.reschedule(loop.time()))
            ended = await _exchange(wires, job, step, follower)
            presence.watch(None)
            return ended
    except TimeoutError:
        return abandoned(wires.clock.monotonic() - started, follower)
    finally:
        presence.watch(None)


def abandoned(elapsed_s: float, follower: Follower | None) -> Answered:
    """Say what is known of a call that ended because nobody waits for it any more."""
    is_stream = follower is not None and bool(follower.headers)
    seen = Observation(
        phase=Phase.ANSWERED if is_stream else Phase.SENT,
        cause=Cause.CLIENT_GONE,
        elapsed_s=elapsed_s,
        headers=follower.headers if follower else {},
        stream=follower.tally.facts if follower and is_stream else None,
    )
    return Answered(seen=seen, stream=follower, reading=follower.tally.reading() if follower and is_stream else None)


def judge(
    ended: Answered, facts: Facts, step: Try, codes: FailureCodes, *, must_stream: bool = False
) -> Failure | None:
    """Classify what was seen; ``None`` is a delivery. ``must_stream``: nothing but a stream can be given away."""
    context = ClassifyContext(
        surface=facts.surface,
        has_image_tool=facts.tool is not None,
        tool_forced=facts.tool is not None and facts.tool.forced,
        channel_kind=step.target.channel.kind,
        flat_price=is_flat(step.target.row.price),
        must_stream=must_stream,
    )
    return classify(ended.seen, ended.reading, context, codes)


async def _exchange(wires: Wires, job: Job, step: Try, follower: Follower | None) -> Answered:
    channel = step.target.channel
    codec = wires.codecs[channel.api]
    job = replace(job, facts=step.target.facts or job.facts)
    wire = codec.encode(job, channel, step.target.sent_model, step.target.tool_sent_model)
    splices = (*wire.splices, *translations(job, step.target))
    started = wires.clock.monotonic()
    lead = None if job.ahead is None else job.ahead.claim(sketch(channel, wire, splices, job.body.length))
    call = Call(
        channel=channel,
        wire=wire,
        body=spliced(job.body, splices),
        job=job,
        sent_model=step.target.sent_model,
        connect_s=channel.timeouts.connect_s,
        idle_s=channel.timeouts.idle_s,
        give_up_at=asyncio.get_running_loop().time() + step.allowed_s,
        overdue=step.overdue,
        lead=lead,
    )
    sent = await wires.senders[channel.api].send(call)
    if isinstance(sent, Broken):
        elapsed_s = wires.clock.monotonic() - started
        ended = Answered(seen=Observation(phase=sent.phase, cause=sent.cause, elapsed_s=elapsed_s))
    elif follower is not None and is_event_stream(sent):
        follower.headers = sent.headers
        ended = await _follow(wires, sent, started, follower)
    else:
        if follower is not None:
            follower.headers = sent.headers
        ended = await take(wires, sent, started)
        if ended.seen.phase is Phase.DONE:
            ended.reading = codec.read(job, ended.seen)
            await _look_inside(wires, call, ended)
    if job.ahead is not None and lead is not None and lead.given:
        ended.ahead = Start(bytes=lead.given, ms=round((started - job.ahead.since) * 1000, 1))
    return ended


async def _look_inside(wires: Wires, call: Call, ended: Answered) -> None:
    """Find the pictures of a good answer, and bring in those that it only points to."""
    answer, reading, seen = ended.answer, ended.reading, ended.seen
    is_good = reading is not None and reading.shaped and reading.error is None and seen.status == 200
    if answer is None or reading is None or not (is_good and call.job.facts.surface.is_images):
        return
    ended.contents = None if seen.answer is None else plain(seen.answer)
    if ended.contents is not None:
        return
    try:
        base_url = call.channel.base_url
        ended.contents = await bring_in(answer, wires.fetcher, base_url, call.give_up_at, call.job.request_id)
    finally:
        if ended.contents is None:
            answer.close()
    if ended.contents.items:
        ended.reading = ended.contents.read_again(answer, reading)


def translations(job: Job, target: Target) -> tuple[Splice, ...]:
    """Give the changes to the caller's body that the target's contract asks for; in the tool's object, if there is."""
    tool = job.facts.tool
    return edits(job.body_map, target.changes, "" if tool is None else f"tools[{tool.index}].")


def compare(ended: Answered, facts: Facts, target: Target, intolerable: Collection[str]) -> None:
    """Note how a delivered answer differs from what was asked; one of the ``intolerable`` differences is a failure."""
    if ended.failure is not None or ended.reading is None:
        return
    ended.differences = differences(sent_to(target, facts), ended.reading)
    worst = next((word for word in ended.differences if word in intolerable), None)
    if worst is not None:
        ended.failure = Failure(
            kind=FailureClass.MALFORMED,
            detail=worst,
            outcome=Outcome.DELIVERED,
            fault=Fault.UPSTREAM,
            action=Action.STOP,
            status=ended.seen.status,
        )


async def _follow(wires: Wires, sent: Exchange, started: float, follower: Follower) -> Answered:
    """Pass a stream on while it comes."""
    first_byte_ms = round((wires.clock.monotonic() - started) * 1000, 1)
    seen = await observe(follower, sent, wires.clock, started)
    return Answered(seen=seen, reading=follower.tally.reading(), stream=follower, first_byte_ms=first_byte_ms)


async def take(wires: Wires, sent: Exchange, started: float) -> Answered:
    """Take a whole answer into the spool; ``started``: the clock's seconds when its call was made."""
    first_byte_ms = round((wires.clock.monotonic() - started) * 1000, 1)
    answer = AnswerSpool(wires.spool, expected=expected_of(sent.headers))
    facts: AnswerFacts | None = None
    cause: Cause | None = None
    try:
        async for chunk in sent.chunks():
            answer.feed(chunk)
            del chunk  # it is not held while the next one is waited for
        facts = answer.finish()
    except ExchangeBroken as broken:
        cause = broken.cause
    except SpoolFull as full:
        cause = full.cause
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
