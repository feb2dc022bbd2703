"""One POST of a surface, from its first body byte to the last byte of its answer.

Rules: a body becomes a job or a refusal, and either is settled by the relay exactly once. While a job runs, and while
its answer is written, the client's leaving is watched; what follows from it is the relay's to decide. What was kept of
the request and of the answer is given back whatever happens.
"""

import asyncio

from starlette.types import Receive, Scope, Send

from gateway.core.record import Record
from gateway.core.redact import header_value
from gateway.core.types import Refusal
from gateway.exchange import Presence
from gateway.intake import ClientGone, Incoming
from gateway.ports import Job
from gateway.relay import Refused, Result
from gateway.web.answer import Answer, respond, respond_early, respond_kept
from gateway.web.arrival import Upload, Visit, headers_of, origin_of, visit_of
from gateway.web.errors import envelope, ours, refused
from gateway.web.services import Services
from gateway.web.stamps import advice, stamps, travelled
from gateway.web.states import Wanted
from gateway.web.streams import ClientStream, Pace

LEFT_EARLY = Refusal(status=499, code="client_gone", message="The client left before its request was whole.")
_NO_ANSWER = ours(502, "upstream_unknown_outcome", "No answer was kept for this request.")


async def serve(services: Services, wanted: Wanted, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one request of the API."""
    visit = visit_of(scope)
    incoming = Incoming(
        surface=wanted.surface,
        errand=wanted.errand,
        subject=wanted.subject,
        request_id=visit.request_id,
        time=visit.time,
        started=visit.started,
        headers=headers_of(scope),
        query=scope["query_string"].decode("latin-1"),
        origin=origin_of(scope),
        chunks=Upload(receive, visit).chunks(),
    )
    try:
        read = await services.intake.read(incoming)
    except ClientGone:
        await _settle(services, wanted, visit, LEFT_EARLY)
        return
    if isinstance(read, Refusal):
        record = await _settle(services, wanted, visit, read)
        await respond_early(scope, receive, send, _refusal_answer(read, record))
        return
    await _run(services, read, receive, send, visit)


async def _settle(services: Services, wanted: Wanted, visit: Visit, refusal: Refusal) -> Record:
    record = await services.relay.refuse(
        Refused(
            request_id=visit.request_id,
            time=visit.time,
            started=visit.started,
            endpoint=wanted.endpoint,
            refusal=refusal,
            principal=visit.principal,
        )
    )
    visit.settled = True
    return record


def _refusal_answer(refusal: Refusal, record: Record) -> Answer:
    may_retry = refusal.status in {429, 503}
    headers = stamps(record) + advice(record, may_retry=may_retry, retry_after_s=refusal.retry_after_s or 1.0)
    return Answer(status=refusal.status, body=envelope(refused(refusal)), headers=tuple(headers))


async def _run(services: Services, job: Job, receive: Receive, send: Send, visit: Visit) -> None:
    presence = Presence()
    stream = ClientStream(send, presence, _pace(services)) if job.facts.stream else None
    async with asyncio.TaskGroup() as group:
        beside = [group.create_task(_watch(receive, presence))]
        if stream is not None:
            beside.append(group.create_task(stream.pulse()))
        try:
            if job.subject is None:
                result = await services.relay.run(job, presence, stream)
            else:
                result = await services.kept.run(job, presence)
            visit.settled = True
            if not result.is_written:
                await _deliver(send, result, presence)
        except asyncio.CancelledError:
            visit.settled = True  # the relay settles what it is torn away from
            raise
        finally:
            for task in beside:
                task.cancel()
            job.body.close()


def _pace(services: Services) -> Pace:
    server = services.settings.server
    return Pace(head_s=server.stream_head_s, hold_s=server.stream_hold_s)


async def _watch(receive: Receive, presence: Presence) -> None:
    """Tell the relay when the client goes; anything else that still comes is of no interest."""
    while (await receive())["type"] != "http.disconnect":
        pass
    presence.leave()


async def _deliver(send: Send, result: Result, presence: Presence) -> None:
    """Write the result, unless nobody is there to read it; gives the kept answer back."""
    body = result.body
    try:
        if presence.gone:
            return
        if body is None:
            await respond(send, _error_answer(result))
            return
        kind = (b"content-type", header_value(result.content_type).encode("latin-1"))
        headers = [kind, *stamps(result.record), *travelled(result.upstream_headers)]
        if result.status >= 400:
            headers += _advice(result)
        await respond_kept(send, body, result.status, headers, presence)
    finally:
        if body is not None:
            body.close()


def _error_answer(result: Result) -> Answer:
    error = result.error or _NO_ANSWER
    headers = [*stamps(result.record), *travelled(result.upstream_headers), *_advice(result)]
    return Answer(status=error.status, body=envelope(error, result.record.attempts), headers=tuple(headers))


def _advice(result: Result) -> list[tuple[bytes, bytes]]:
    return advice(result.record, may_retry=result.may_retry, retry_after_s=result.retry_after_s or 1.0)
