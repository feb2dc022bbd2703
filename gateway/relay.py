"""The life of a request, top to bottom: plan; attempt, classify, step on until it is served or over; settle.

Rules: an attempt is committed to the ledger before its first byte goes out, or the end of a form that is sent ahead
(``forerunner``), without which it is no request. Only this file tries again. A failure is a
value. The client gets the body of the attempt that served, byte for byte; when none did, the first failure's error.
Whatever happens, the request is settled once and its record is logged once.
"""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import datetime
from functools import partial

from msgspec import Struct

from gateway.billing import Billing
from gateway.bodies.tape import Tape
from gateway.core.agreement import agree, forbidden, shortage
from gateway.core.flights import FlightId
from gateway.core.plan import Plan
from gateway.core.policy import plan
from gateway.core.principal import ANYONE, Principal
from gateway.core.record import Record
from gateway.core.resting import Resting, refusal
from gateway.core.seen import Observation
from gateway.core.table import Channel, RouteTable
from gateway.core.types import AttemptId, Cause, Phase, Refusal, RequestId
from gateway.core.verdict import PublicError, type_of
from gateway.core.walk import GiveUp, Try, next_step
from gateway.core.waybill import Ending, Header, routed, unrouted
from gateway.custody import Custody
from gateway.exchange import Answered, Presence, Wires, compare, exchange, follower_for, judge
from gateway.outlet import Outlet
from gateway.pictures.keeper import NOTHING_KEPT, Keeper, Kept
from gateway.ports import AnswerBody, Clock, Job, LedgerUnavailable
from gateway.roster import Admission, Roster
from gateway.story import CLIENT_CLOSED_REQUEST, Attempt, Story, as_ms, header_of, standing_in, travelling
from gateway.streaming import Follower
from gateway.tab import Tab
from gateway.waiting import Waiting

LEDGER_UNAVAILABLE = PublicError(
    status=503,
    type="server_error",
    code="ledger_unavailable",
    param=None,
    message="The gateway cannot record purchases right now, so it makes none. Try again shortly.",
)

STOPPED = PublicError(
    status=502,
    type="server_error",
    code="upstream_unknown_outcome",
    param=None,
    message="The gateway was stopped before this request was finished. The request may have been charged for.",
)
LAST_WORD_S = 1.0


class Refused(Struct, frozen=True, kw_only=True):
    """A request that ended before it became a job."""

    request_id: RequestId
    time: datetime
    started: float
    endpoint: str
    refusal: Refusal
    stream: bool = False
    principal: Principal = ANYONE


class Result(Struct, frozen=True, kw_only=True):
    """What the client gets: a body kept whole (to be closed by whoever writes it), or an error; and the record.

    ``may_retry``: nothing was started and trying again can help (then ``retry_after_s`` says when). ``is_written``: it
    was a stream, and all of it has gone out. ``flight_id``: the client is to know it. ``head``: the headers of an
    answer that was made for another request. ``tape``: a stream under way, to be read from its beginning.
    ``receipt`` is told whether the client was there to the end.
    """

    status: int
    record: Record
    body: AnswerBody | None = None
    content_type: str = "application/json"
    error: PublicError | None = None
    upstream_headers: tuple[tuple[str, str], ...] = ()
    may_retry: bool = False
    retry_after_s: float | None = None
    is_written: bool = False
    flight_id: FlightId | None = None
    head: tuple[tuple[bytes, bytes], ...] | None = None
    tape: Tape | None = None
    receipt: Callable[[bool], None] | None = None


class _Unpaid(Exception):
    """The key cannot pay for the attempt that was about to be made; ``code`` is the client's word."""

    def __init__(self, code: str, figures: str) -> None:
        super().__init__(code)
        self.code = code
        self.figures = figures


def _stopped(story: Story) -> PublicError | None:
    """Say what the client is told of a request that is torn away with the process; nothing when it has left."""
    return None if story.presence.gone else STOPPED


def refused_error(refusal: Refusal) -> PublicError:
    """Give a refusal in the words of an error."""
    return PublicError(
        status=refusal.status,
        type=type_of(refusal.status),
        code=refusal.code,
        param=refusal.param,
        message=refusal.message,
    )


def refused_result(refusal: Refusal, record: Record) -> Result:
    """Give what the client of a refused request gets."""
    error = refused_error(refusal)
    return Result(
        status=refusal.status,
        record=record,
        error=error,
        may_retry=refusal.status in {429, 503},
        retry_after_s=refusal.retry_after_s,
    )


class Means(Struct, frozen=True, kw_only=True):
    """What the relay works with; ``main`` chooses."""

    table: Callable[[], RouteTable]
    wires: Wires
    billing: Billing
    custody: Custody
    clock: Clock
    roster: Roster
    new_attempt_id: Callable[[], AttemptId]
    keeper: Keeper | None = None  # without one no picture is kept


class Relay:
    """Serves jobs. One instance serves all requests of the process."""

    def __init__(self, means: Means) -> None:
        self._means = means

    async def run(self, job: Job, presence: Presence, outlet: Outlet | None = None) -> Result:
        """Serve one job to its end. Never raises for what can be expected; settles even when cancelled.

        ``outlet`` is the client's end when a stream was asked for; what goes out through it is over when this returns.
        """
        table = self._means.table()
        if job.facts.asked_model is None:
            job = standing_in(job, table)
        barred = forbidden(job.facts, job.principal, table)
        if barred is not None:
            return await self._refuse(job, table, barred)
        kept_by: Channel | Refusal | None = None
        if job.facts.references:
            with Waiting(job.wait):
                kept_by = await self._means.custody.destination(job.facts.references, table, job.principal)
        if isinstance(kept_by, Refusal):
            return await self._refuse(job, table, kept_by)
        bound_to = kept_by.name if kept_by else None
        planned = plan(job.facts, job.directives, table, self._means.roster.view(), bound_to=bound_to)
        agreed = agree(planned, job.facts, job.principal) if isinstance(planned, Plan) else planned
        if isinstance(agreed, Refusal):
            return await self._refuse(job, table, agreed)
        story = Story(
            job,
            table,
            agreed.plan,
            presence,
            self._means.clock,
            outlet,
            tab=Tab(agreement=agreed, principal=job.principal),
        )
        try:
            await self._walk(story)
        except _Unpaid as unpaid:
            return await self._turn_away(story, shortage(unpaid.code, unpaid.figures))
        except LedgerUnavailable:
            return await self._finish(story, LEDGER_UNAVAILABLE)
        except asyncio.CancelledError:
            record = await self._settle(story, story.ending(_stopped(story)))
            await self._stop_stream(story, record)
            raise
        if story.passed and not story.attempts:
            return await self._refuse(job, table, refusal(list(story.passed.values()), story.whole_plan.excluded))
        return await self._finish(story, story.error())

    async def refuse(self, refused: Refused) -> Record:
        """Settle and log a request that never became a job; gives its record, for the stamps."""
        header = Header(
            time=refused.time,
            request_id=refused.request_id,
            endpoint=refused.endpoint,
            stream=refused.stream,
            model=refused.refusal.asked_model,
            config_version=self._means.table().version,
            principal=refused.principal,
        )
        record = unrouted(header, self._refusal_ending(refused.refusal, refused.started), refused.refusal.excluded)
        await self._means.billing.settle(record)
        return record

    async def _refuse(self, job: Job, table: RouteTable, refusal: Refusal) -> Result:
        header = header_of(job, table)
        record = unrouted(header, self._refusal_ending(refusal, job.started), refusal.excluded)
        await self._means.billing.settle(record)
        return refused_result(refusal, record)

    async def _turn_away(self, story: Story, short: Refusal) -> Result:
        """End a request that its key cannot pay for: before anything was sent, or before more was."""
        if not story.attempts:
            return await self._refuse(story.job, story.table, short)
        return await self._finish(story, refused_error(short))

    async def _walk(self, story: Story) -> None:
        """THE attempt loop."""
        while True:
            step = next_step(
                story.plan,
                story.tried,
                self._means.clock.monotonic(),
                story.job.started,
                client_gone=story.presence.gone,
                road=self._means.roster.road(story.passed),
            )
            if isinstance(step, GiveUp):
                story.end(step)
                return
            await self._means.roster.pause(step, story.presence)
            facts = step.target.facts or story.job.facts
            admitted = await self._means.roster.enter(step, facts, story.job.ahead)
            if isinstance(admitted, Resting):
                story.passed[step.index] = admitted
                continue
            story.start(step)
            ended = await self._attempt(story, step, admitted)
            if ended.failure is None:
                story.keep(ended)
                return
            story.fail(step, ended.failure)
            if story.is_committed:  # part of this answer is with the client: no other can follow it
                story.keep(ended)
                story.end()
                return
            if ended.failure.passes_through and len(story.tried) == 1:
                story.keep(ended)
            else:
                ended.close()

    async def _attempt(self, story: Story, step: Try, admitted: Admission) -> Answered:
        """Try one target: the intent, the exchange, the verdict, the row of the record."""
        attempt = Attempt(
            attempt_id=self._means.new_attempt_id(), target=step.target, started=self._means.clock.monotonic()
        )
        ended = Answered(seen=Observation(phase=Phase.SENT, cause=Cause.CLIENT_GONE, elapsed_s=0.0))
        try:
            ended = await self._send(story, step, attempt)
        except asyncio.CancelledError:
            if not story.presence.gone:
                ended.seen = Observation(phase=Phase.SENT, cause=Cause.INTERRUPTED, elapsed_s=0.0)
            raise
        finally:
            ended.channel, ended.target = step.target.channel, step.target
            if story.outlet is not None:
                ended.events = [*story.outlet.withdraw(), *(ended.stream.last if ended.stream else ())]
            ended.failure = judge(ended, story.job.facts, step, story.table.codes, must_stream=story.must_stream)
            compare(ended, story.job.facts, step.target, story.intolerable)
            admitted.end(ended.failure)
            if attempt.attempt_id in story.begun:
                story.attempts.append(story.row(attempt, ended))
        return ended

    async def _send(self, story: Story, step: Try, attempt: Attempt) -> Answered:
        if story.presence.gone:  # while it waited for the place: nothing is bought for nobody
            return Answered(seen=Observation(phase=Phase.UNSENT, cause=Cause.CLIENT_GONE, elapsed_s=0.0))
        intent = story.intent(attempt)
        hold = story.tab.hold(intent, story.attempts) if story.tab is not None else None
        refused = await self._means.billing.begin(story.job, story.table.version, intent, hold, opens=not story.begun)
        if refused is not None:
            later = step.target if story.begun else None
            told = story.tab.lacking(refused, hold, story.job.facts, later) if story.tab and hold else ""
            raise _Unpaid(refused.code, told)
        story.begun.add(attempt.attempt_id)
        follower = self._follower(story, step, attempt)
        story.presence.glimpse = partial(story.glimpse, attempt)
        return await exchange(self._means.wires, story.job, step, story.presence, follower)

    def _follower(self, story: Story, step: Try, attempt: Attempt) -> Follower | None:
        """Be ready to follow the answer, should it be a stream: from now on its head may go out."""
        if story.outlet is None:
            return None
        note = partial(self._means.custody.bind, story.job, step.target.channel)
        follower = follower_for(self._means.wires, story.job, step, story.outlet, note)
        story.follower = follower
        story.outlet.expect(partial(story.head, attempt, follower))
        return follower

    async def _finish(self, story: Story, error: PublicError | None) -> Result:
        """Settle; then give the client what it gets: an answer kept whole, the end of a stream, or an error."""
        try:
            await self._bind(story)
            pictures = await self._keep(story)
        except asyncio.CancelledError:
            await self._settle(story, story.ending(_stopped(story)))
            raise
        if error is None:
            story.give(pictures.links)
        record = await self._settle(story, story.ending(error), pictures)
        kept = story.kept
        if story.outlet is not None and story.is_streamed:
            await self._end_stream(story, story.outlet, record, error)
            return Result(status=200, record=record, is_written=True)
        if error is not None or kept is None or kept.answer is None:
            if kept is not None:
                kept.close()
            no_attempt = not story.attempts
            return Result(
                status=error.status if error else CLIENT_CLOSED_REQUEST,
                record=record,
                error=error,
                may_retry=no_attempt and error is LEDGER_UNAVAILABLE,
                retry_after_s=1.0 if no_attempt else None,
            )
        headers = kept.seen.headers
        return Result(
            status=kept.seen.status or 200,
            record=record,
            body=kept.answer,
            content_type=headers.get("content-type", "application/json"),
            upstream_headers=travelling(headers),
        )

    async def _bind(self, story: Story) -> None:
        """Note who keeps what the client may refer to later, before the client can know of it."""
        kept = story.kept
        if kept is not None and kept.channel is not None and kept.reading is not None and kept.reading.ids:
            await self._means.custody.bind(story.job, kept.channel, kept.reading.ids)

    async def _keep(self, story: Story) -> Kept:
        """Keep the pictures that the client gets, where its route says so."""
        keeper = self._means.keeper
        return NOTHING_KEPT if keeper is None else await keeper.keep(story.job, story.pictures())

    @staticmethod
    async def _end_stream(story: Story, outlet: Outlet, record: Record, error: PublicError | None) -> None:
        head = story.last_head(record)
        kept = story.kept
        if error is not None:
            await outlet.fail(head, error, story.next_sequence)
        elif kept is not None:
            events, kept.events = kept.events, []
            await outlet.finish(head, events)
        if kept is not None:
            kept.close()

    @staticmethod
    async def _stop_stream(story: Story, record: Record) -> None:
        """Say in a stream that has begun that the process ends; a client that does not read is not waited for."""
        if story.outlet is not None and story.is_committed:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_WORD_S):
                    await story.outlet.fail(story.last_head(record), STOPPED, story.next_sequence)

    async def _settle(self, story: Story, ending: Ending, pictures: Kept = NOTHING_KEPT) -> Record:
        served = story.kept.reading if story.kept else None
        record = pictures.onto(routed(story.header, ending, story.whole_plan, story.attempts, served))
        await self._means.billing.settle(record)
        return record

    def _refusal_ending(self, refusal: Refusal, started: float) -> Ending:
        return Ending(
            status=refusal.status,
            latency_ms=as_ms(self._means.clock.monotonic() - started),
            code=refusal.code,
            fault=refusal.fault,
        )
