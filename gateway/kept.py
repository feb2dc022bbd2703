"""What is asked about a Response that an upstream keeps: one exchange with the channel that keeps it.

Rules: nobody else is asked, and nobody twice; nothing is bought, so only the end is written down. The answer goes to
the client byte for byte, and what it makes referable is noted before that. A channel that an operator switched off is
not asked; one that is drained is, since nobody else has what is asked for.
"""

import asyncio
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from gateway.core.bindings import not_found
from gateway.core.errand import Errand, Reference
from gateway.core.failures import ClassifyContext, classify
from gateway.core.record import AttemptRecord, Owner, Record, ResultRecord
from gateway.core.resting import refusal as resting_refusal
from gateway.core.seen import Observation
from gateway.core.table import Channel, RouteTable
from gateway.core.types import Action, Cause, Failure, Outcome, Phase, Refusal
from gateway.core.verdict import PublicError, error_from
from gateway.exchange import Answered, Presence, take
from gateway.ports import Broken, Call, Job, Picture
from gateway.relay import Means, Refused, Relay, Result, refused_result
from gateway.story import CLIENT_CLOSED_REQUEST, as_ms, travelling

PATIENCE_S: Final = 120.0  # from the first byte to the last

UNKNOWN: Final = "unknown"  # no picture that we know the format of

_MAY_HAVE_COST: Final = " The request may have been charged for."


class _Asked(Struct, frozen=True, kw_only=True):
    """One question under way."""

    job: Job
    table: RouteTable
    keeper: Channel
    started: float


class KeptResponses:
    """Answers jobs that have a subject. One instance serves all requests of the process."""

    def __init__(self, means: Means, relay: Relay) -> None:
        self._means = means
        self._relay = relay

    async def run(self, job: Job, presence: Presence) -> Result:
        """Serve one job to its end. Never raises for what can be expected; settles even when cancelled."""
        table = self._means.table()
        keeper = await self._means.custody.destination((Reference(id=job.subject or ""),), table, job.principal)
        if not isinstance(keeper, Channel):
            return await self._refuse(job, keeper or not_found())
        if job.directives.pin not in (None, keeper.name):
            return await self._refuse(job, _pinned_elsewhere())
        async with self._means.roster.place(keeper) as resting:
            if resting is not None:
                return await self._refuse(job, resting_refusal([resting], ()))
            if presence.gone:
                return await self._refuse(job, Refusal(status=CLIENT_CLOSED_REQUEST, code="client_gone", message=""))
            asked = _Asked(job=job, table=table, keeper=keeper, started=self._means.clock.monotonic())
            return await self._ask(asked)

    async def _refuse(self, job: Job, refusal: Refusal) -> Result:
        record = await self._relay.refuse(
            Refused(
                request_id=job.request_id,
                time=job.time,
                started=job.started,
                endpoint=job.facts.endpoint,
                refusal=refusal,
                principal=job.principal,
            )
        )
        return refused_result(refusal, record)

    async def _ask(self, asked: _Asked) -> Result:
        ended = Answered(seen=Observation(phase=Phase.SENT, cause=Cause.CLIENT_GONE, elapsed_s=0.0))  # if cancelled
        try:
            ended = await self._exchange(asked)
        except asyncio.CancelledError:
            ended.failure = _judge(ended, asked)
            await self._means.billing.settle(self._record(asked, ended, None))
            raise
        ended.failure = _judge(ended, asked)
        error = None if ended.failure is None else _error(ended.failure, asked.keeper)
        if error is None:
            await self._note(asked, ended)
        record = await self._keep(asked, ended, self._record(asked, ended, error))
        await self._means.billing.settle(record)
        if error is not None:
            ended.close()
            return Result(status=error.status, record=record, error=error)
        headers = ended.seen.headers
        return Result(
            status=ended.seen.status or 200,
            record=record,
            body=ended.answer,
            content_type=headers.get("content-type", "application/json"),
            upstream_headers=travelling(headers),
        )

    async def _exchange(self, asked: _Asked) -> Answered:
        wires, keeper, job = self._means.wires, asked.keeper, asked.job
        codec = wires.codecs[keeper.api]
        call = Call(
            channel=keeper,
            wire=codec.encode(job, keeper, "", None),
            body=job.body,
            job=job,
            sent_model="",
            connect_s=keeper.timeouts.connect_s,
            idle_s=keeper.timeouts.idle_s,
            give_up_at=asyncio.get_running_loop().time() + PATIENCE_S,
            overdue=Cause.PATIENCE,
        )
        sent = await wires.senders[keeper.api].send(call)
        if isinstance(sent, Broken):
            elapsed_s = self._means.clock.monotonic() - asked.started
            return Answered(seen=Observation(phase=sent.phase, cause=sent.cause, elapsed_s=elapsed_s))
        ended = await take(wires, sent, asked.started)
        if ended.seen.phase is Phase.DONE:
            ended.reading = codec.read(job, ended.seen)
        return ended

    async def _keep(self, asked: _Asked, ended: Answered, record: Record) -> Record:
        """Keep the pictures of a turn that went on without its client, the first time that it is asked for."""
        keeper, answer = self._means.keeper, ended.answer
        is_told = asked.job.facts.errand is Errand.RETRIEVE and ended.failure is None
        if keeper is None or answer is None or not is_told or not _keeps(asked):
            return record
        found = [(image, lease) for image, lease in answer.pictures() if image.format != UNKNOWN]
        pictures = [Picture(image=image, body=lease()) for image, lease in found]
        if not pictures:
            return record
        try:
            kept, fresh = await keeper.keep_new(asked.job, pictures)
        except asyncio.CancelledError:
            await self._means.billing.settle(record)
            raise
        return kept.onto(replace(record, result=replace(record.result, images=tuple(fresh))))

    async def _note(self, asked: _Asked, ended: Answered) -> None:
        """Note what can be referred to from now on, or not any more."""
        if asked.job.facts.errand is Errand.DELETE:
            await self._means.custody.release(asked.job, asked.job.subject or "")
        elif ended.reading is not None:
            await self._means.custody.bind(asked.job, asked.keeper, ended.reading.ids)

    def _record(self, asked: _Asked, ended: Answered, error: PublicError | None) -> Record:
        job, keeper, failure = asked.job, asked.keeper, ended.failure
        now = self._means.clock.monotonic()
        attempt = AttemptRecord(
            n=1,
            attempt_id=self._means.new_attempt_id(),
            channel=keeper.name,
            owner=keeper.owner,
            surface=job.facts.surface,
            region=keeper.region,
            started_ms=as_ms(asked.started - job.started),
            first_byte_ms=ended.first_byte_ms,
            duration_ms=as_ms(now - asked.started),
            outcome=failure.outcome if failure else Outcome.DELIVERED,
            status=ended.seen.status,
            failure=failure,
            action=failure.action if failure else None,
            upstream_request_id=ended.seen.headers.get("x-request-id"),
        )
        status = error.status if error else ended.seen.status or CLIENT_CLOSED_REQUEST
        return Record(
            time=job.time,
            request_id=job.request_id,
            endpoint=job.facts.endpoint,
            stream=False,
            config_version=asked.table.version,
            tags=job.directives.tags,
            key_id=job.principal.key_id,
            team=job.principal.team,
            owner=Owner(
                route_owner=keeper.owner,
                channel=keeper.name,
                base_url_host=keeper.host,
                billing=keeper.billing,
                output_rights=keeper.output_rights,
            ),
            fault=failure.fault if failure else None,
            attempts=(attempt,),
            latency_ms=as_ms(now - job.started),
            upstream_ms=attempt.duration_ms,
            result=ResultRecord(
                status=status, code=error.code if error else None, response_id=None if failure else job.subject
            ),
        )


def _keeps(asked: _Asked) -> bool:
    """Whether pictures of this channel are kept: of which route a turn was, nobody knows any more."""
    name, routes = asked.keeper.name, asked.table.routes.values()
    of_channel = (route for route in routes if any(target.channel == name for target in route.targets))
    return asked.job.principal.keeps and all(route.keep for route in of_channel)


def _judge(ended: Answered, asked: _Asked) -> Failure | None:
    """Classify what was seen; a success that says nothing is enough of an answer to a deletion."""
    seen = ended.seen
    is_silent = seen.phase is Phase.DONE and seen.answer is not None and seen.answer.bytes == 0
    if is_silent and asked.job.facts.errand is Errand.DELETE and seen.status in (200, 202, 204):
        return None
    context = ClassifyContext(surface=asked.job.facts.surface, channel_kind=asked.keeper.kind)
    failure = classify(seen, ended.reading, context, asked.table.codes)
    return failure and replace(failure, action=Action.STOP)


def _error(failure: Failure, keeper: Channel) -> PublicError:
    error = error_from(failure, [keeper])
    return replace(error, message=error.message.removesuffix(_MAY_HAVE_COST))


def _pinned_elsewhere() -> Refusal:
    return Refusal(
        status=400,
        code="no_eligible_target",
        message="The pinned channel is not the one that keeps this Response.",
    )
