"""The life of a request, top to bottom: plan; attempt, classify, step on until it is served or over; settle.

Rules: an attempt is committed to the ledger before its first byte goes out. Only this file tries again. A failure is a
value. The client gets the body of the attempt that served, byte for byte; when none did, the first failure's error.
Whatever happens, the request is settled once and its record is logged once.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from gateway.billing import Billing
from gateway.core.policy import Plan, Target, plan
from gateway.core.record import AttemptRecord, Record
from gateway.core.table import RouteTable
from gateway.core.types import Action, AttemptId, Cause, Observation, Outcome, Phase, Refusal, RequestId
from gateway.core.verdict import PublicError, public_error
from gateway.core.walk import GiveUp, Tried, Try, action_after, next_step
from gateway.core.waybill import Ending, Header, routed, unrouted
from gateway.exchange import Answered, Presence, Wires, exchange, judge
from gateway.gates import Gates
from gateway.ports import AnswerBody, AttemptIntent, Clock, Job, LedgerUnavailable

CLIENT_CLOSED_REQUEST = 499
TRAVELLING_HEADERS = ("openai-processing-ms", "openai-version")

LEDGER_UNAVAILABLE = PublicError(
    status=503,
    type="server_error",
    code="ledger_unavailable",
    param=None,
    message="The gateway cannot record purchases right now, so it makes none. Try again shortly.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A request that ended before it became a job."""

    request_id: RequestId
    time: datetime
    started: float
    endpoint: str
    refusal: Refusal
    stream: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What the client gets: a body kept whole (to be closed by whoever writes it), or an error; and the record.

    ``may_retry``: nothing was started and trying again can help (then ``retry_after_s`` says when).
    """

    status: int
    record: Record
    body: AnswerBody | None = None
    content_type: str = "application/json"
    error: PublicError | None = None
    upstream_headers: tuple[tuple[str, str], ...] = ()
    may_retry: bool = False
    retry_after_s: float | None = None


@dataclass(slots=True)
class _Story:
    """What happened so far to one request; lives as long as ``run``."""

    job: Job
    table: RouteTable
    plan: Plan
    presence: Presence
    attempts: list[AttemptRecord] = field(default_factory=list)
    tried: list[Tried] = field(default_factory=list)
    kept: Answered | None = None  # the answer the client gets: a delivery, or a Response that reports its failure
    begun: set[AttemptId] = field(default_factory=set)  # attempts whose intent is committed
    delivered: bool = False

    def end(self) -> None:
        """Say of the last attempt what was done after it: nothing, whatever its failure allowed."""
        if self.attempts:
            self.attempts[-1] = replace(self.attempts[-1], action=Action.STOP)

    @property
    def header(self) -> Header:
        job = self.job
        return Header(
            time=job.time,
            request_id=job.request_id,
            endpoint=job.facts.surface,
            stream=job.facts.stream,
            config_version=self.table.version,
            facts=job.facts,
            directives=job.directives,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What the relay works with; ``main`` chooses."""

    table: Callable[[], RouteTable]
    wires: Wires
    billing: Billing
    clock: Clock
    gates: Gates
    new_attempt_id: Callable[[], AttemptId]


class Relay:
    """Serves jobs. One instance serves all requests of the process."""

    def __init__(self, means: Means) -> None:
        self._means = means

    async def run(self, job: Job, presence: Presence) -> Result:
        """Serve one job to its end. Never raises for what can be expected; settles even when cancelled."""
        table = self._means.table()
        planned = plan(job.facts, job.directives, table)
        if isinstance(planned, Refusal):
            return await self._refuse(job, table, planned)
        story = _Story(job=job, table=table, plan=planned, presence=presence)
        error: PublicError | None = None
        try:
            await self._walk(story)
        except LedgerUnavailable:
            error = LEDGER_UNAVAILABLE
        except asyncio.CancelledError:
            await self._settle(story, self._ending(story, None))
            raise
        if error is None and story.kept is None:
            error = public_error(planned, story.tried)
        return await self._finish(story, error)

    async def refuse(self, refused: Refused) -> Record:
        """Settle and log a request that never became a job; gives its record, for the stamps."""
        header = Header(
            time=refused.time,
            request_id=refused.request_id,
            endpoint=refused.endpoint,
            stream=refused.stream,
            config_version=self._means.table().version,
        )
        record = unrouted(header, self._refusal_ending(refused.refusal, refused.started), refused.refusal.excluded)
        await self._means.billing.settle(record)
        return record

    async def _refuse(self, job: Job, table: RouteTable, refusal: Refusal) -> Result:
        header = Header(
            time=job.time,
            request_id=job.request_id,
            endpoint=job.facts.surface,
            stream=job.facts.stream,
            config_version=table.version,
            facts=job.facts,
            directives=job.directives,
        )
        record = unrouted(header, self._refusal_ending(refusal, job.started), refusal.excluded)
        await self._means.billing.settle(record)
        error = PublicError(
            status=refusal.status,
            type="invalid_request_error" if refusal.status < 500 else "server_error",
            code=refusal.code,
            param=refusal.param,
            message=refusal.message,
        )
        return Result(
            status=refusal.status,
            record=record,
            error=error,
            may_retry=refusal.status in {429, 503},
            retry_after_s=refusal.retry_after_s,
        )

    async def _walk(self, story: _Story) -> None:
        """THE attempt loop."""
        while True:
            step = next_step(
                story.plan,
                story.tried,
                self._means.clock.monotonic(),
                story.job.started,
                client_gone=story.presence.gone,
            )
            if isinstance(step, GiveUp):
                story.end()
                return
            ended = await self._attempt(story, step)
            if ended.failure is None:
                self._keep(story, ended)
                story.delivered = True
                return
            story.tried.append(Tried(target=step.index, failure=ended.failure))
            if ended.failure.passes_through and len(story.tried) == 1:
                self._keep(story, ended)
            else:
                ended.close()

    @staticmethod
    def _keep(story: _Story, ended: Answered) -> None:
        if story.kept is not None:
            story.kept.close()
        story.kept = ended

    async def _attempt(self, story: _Story, step: Try) -> Answered:
        """Try one target: a place at the channel, the intent, the exchange, the verdict, the row of the record."""
        started = self._means.clock.monotonic()
        attempt_id = self._means.new_attempt_id()
        ended = Answered(seen=Observation(phase=Phase.SENT, cause=Cause.CLIENT_GONE, elapsed_s=0.0))  # if cancelled
        try:
            ended = await self._send(story, step, attempt_id)
        finally:
            ended.failure = judge(ended, story.job.facts, step, story.table.codes)
            if attempt_id in story.begun or ended.seen.cause is Cause.POOL_TIMEOUT:
                story.attempts.append(self._row(story, step.target, ended, attempt_id, started))
        return ended

    async def _send(self, story: _Story, step: Try, attempt_id: AttemptId) -> Answered:
        channel = step.target.channel
        if not await self._means.gates.enter(channel.name, channel.max_in_flight):
            return Answered(seen=Observation(phase=Phase.UNSENT, cause=Cause.POOL_TIMEOUT, elapsed_s=0.0))
        try:
            await self._means.billing.begin(story.job, story.table.version, self._intent(story, step, attempt_id))
            story.begun.add(attempt_id)
            return await exchange(self._means.wires, story.job, step, story.presence)
        finally:
            self._means.gates.leave(channel.name)

    def _intent(self, story: _Story, step: Try, attempt_id: AttemptId) -> AttemptIntent:
        channel = step.target.channel
        return AttemptIntent(
            request_id=story.job.request_id,
            attempt_id=attempt_id,
            n=len(story.attempts) + 1,
            channel=channel.name,
            owner=channel.owner,
            row=step.target.row.name,
            surface=story.job.facts.surface,
            region=channel.region,
            sent_model=step.target.sent_model,
            started=self._means.clock.now(),
        )

    def _row(
        self, story: _Story, target: Target, ended: Answered, attempt_id: AttemptId, started: float
    ) -> AttemptRecord:
        seen, failure, channel = ended.seen, ended.failure, target.channel
        return AttemptRecord(
            n=len(story.attempts) + 1,
            attempt_id=attempt_id,
            channel=channel.name,
            owner=channel.owner,
            row=target.row.name,
            surface=story.job.facts.surface,
            region=channel.region,
            sent_model=target.sent_model,
            started_ms=_ms(started - story.job.started),
            first_byte_ms=ended.first_byte_ms,
            duration_ms=_ms(self._means.clock.monotonic() - started),
            outcome=failure.outcome if failure else Outcome.DELIVERED,
            status=seen.status,
            failure=failure,
            action=action_after(story.plan.route, failure) if failure else None,
            upstream_request_id=seen.headers.get("x-request-id"),
            usage=ended.reading.usage if ended.reading else None,
        )

    async def _finish(self, story: _Story, error: PublicError | None) -> Result:
        record = await self._settle(story, self._ending(story, error))
        kept = story.kept
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
            upstream_headers=tuple((name, headers[name]) for name in TRAVELLING_HEADERS if name in headers),
        )

    async def _settle(self, story: _Story, ending: Ending) -> Record:
        served = story.kept.reading if story.kept else None
        record = routed(story.header, ending, story.plan, story.attempts, served)
        await self._means.billing.settle(record)
        return record

    def _ending(self, story: _Story, error: PublicError | None) -> Ending:
        status = error.status if error else (story.kept.seen.status or 200 if story.kept else CLIENT_CLOSED_REQUEST)
        failure = story.tried[0].failure if story.tried and not story.delivered else None
        return Ending(
            status=status,
            latency_ms=_ms(self._means.clock.monotonic() - story.job.started),
            code=error.code if error else None,
            fault=failure.fault if failure else None,
            delivered=story.kept is not None and not story.presence.gone,
        )

    def _refusal_ending(self, refusal: Refusal, started: float) -> Ending:
        return Ending(
            status=refusal.status,
            latency_ms=_ms(self._means.clock.monotonic() - started),
            code=refusal.code,
            fault=refusal.fault,
        )


def _ms(seconds: float) -> float:
    """Give milliseconds to the tenth."""
    return max(0.0, round(seconds * 1000, 1))
