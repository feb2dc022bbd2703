"""One POST of a surface, from its first body byte to the last byte of its answer.

Rules: a body becomes a job or a refusal, and either is settled by the relay exactly once. While a job runs, and while
its answer is written, the client's leaving is watched; what follows from it is the relay's to decide. What was kept of
the request is given back by whoever serves it, what was kept of the answer when it is written.
"""

import asyncio
from collections.abc import Awaitable, Coroutine, Sequence
from typing import Any

from msgspec.structs import replace
from starlette.types import Receive, Scope, Send

from gateway.core.agreement import forbidden
from gateway.core.charges import pictures_asked
from gateway.core.record import Record
from gateway.core.types import Refusal, Surface
from gateway.exchange import Presence
from gateway.intake import ClientGone, Incoming
from gateway.intake.incoming import SendAhead
from gateway.ports import LEAST_WAIT_S, Job
from gateway.relay import Refused, Result
from gateway.turnstile import Passed
from gateway.web.answer import Answer, respond_early
from gateway.web.arrival import Upload, Visit, headers_of, origin_of, tells_leaving, visit_of
from gateway.web.checks import checked_answer
from gateway.web.delivery import Client, deliver
from gateway.web.errors import envelope, refused
from gateway.web.services import Services
from gateway.web.stamps import advice, stamps
from gateway.web.states import Wanted
from gateway.web.streams import ClientStream, Pace

FORBIDDEN = 403
LEFT_EARLY = Refusal(status=499, code="client_gone", message="The client left before its request was whole.")


async def serve(services: Services, wanted: Wanted, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one request of the API."""
    visit, turnstile = visit_of(scope), services.turnstile
    passed: Passed | None = None
    if turnstile is not None and wanted.subject is None:
        passed = await turnstile.enter(visit.principal)
        visit.headers = passed.headers
    try:
        barred = passed.refusal if passed is not None else None
        job = barred or await _job(services, wanted, visit, scope, receive)
        if isinstance(job, Refusal):
            await _turn_away(services, wanted, job, scope, receive, send)
        elif wanted.is_check:
            checked = await services.inspector.check(job)
            visit.settled = True
            await respond_early(scope, receive, send, checked_answer(checked))
        else:
            await _run(services, job, visit, scope, receive, send)
    finally:
        if turnstile is not None and passed is not None:
            turnstile.leave(passed)


async def _job(services: Services, wanted: Wanted, visit: Visit, scope: Scope, receive: Receive) -> Job | Refusal:
    """Read a request; what is needed for no more than that goes when it is read."""
    incoming = Incoming(
        surface=wanted.surface,
        errand=wanted.errand,
        subject=wanted.subject,
        is_check=wanted.is_check,
        request_id=visit.request_id,
        time=visit.time,
        started=visit.started,
        headers=headers_of(scope),
        query=scope["query_string"].decode("latin-1"),
        origin=origin_of(scope),
        chunks=Upload(receive, visit),
        tap=visit.tap,
        send_ahead=_sender_ahead(services, wanted, visit),
    )
    try:
        read = await services.intake.read(incoming)
    except ClientGone:
        return LEFT_EARLY
    if isinstance(read, Refusal):
        return read
    job: Job | Refusal | None = None
    try:
        job = await _known(services, wanted, read, visit)
        return job
    finally:
        if not isinstance(job, Job):
            if read.ahead is not None:
                read.ahead.cut()
            read.body.close()


def _sender_ahead(services: Services, wanted: Wanted, visit: Visit) -> SendAhead | None:
    """Give what sends forms on while they arrive; ``None``: this request may not have one, or is sent nowhere."""
    consider = services.send_ahead
    if consider is None or wanted.is_check or wanted.surface is not Surface.EDITS:
        return None
    return lambda draft, body: consider(_named(draft, visit), body)


async def _known(services: Services, wanted: Wanted, job: Job, visit: Visit) -> Job | Refusal:
    """Say on the job who asks for it, and count its pictures; the tags of the key stand over the request's own.

    A check asks for no picture.
    """
    caller = visit.principal
    if caller.key_id is None:
        return _named(job, visit)
    is_counted = services.turnstile is not None and job.subject is None and not wanted.is_check
    if services.turnstile is not None and is_counted and forbidden(job.facts, caller, services.table()) is None:
        images = pictures_asked(job.facts)
        passed = await services.turnstile.draw(caller, images)
        visit.headers = (*visit.headers, *passed.headers)
        if passed.refusal is not None:
            return replace(passed.refusal, asked_model=job.facts.asked_model)
        visit.drawn = images
    return _named(job, visit)


def _named(job: Job, visit: Visit) -> Job:
    """Say on a job who asks for it."""
    caller = visit.principal
    if caller.key_id is None:
        return replace(job, wait=visit.wait) if visit.wait.spent_s > LEAST_WAIT_S else job
    tags = tuple({**dict(job.directives.tags), **dict(caller.tags)}.items())
    return replace(job, principal=caller, wait=visit.wait, directives=replace(job.directives, tags=tags, caller=caller))


async def _turn_away(
    services: Services, wanted: Wanted, refusal: Refusal, scope: Scope, receive: Receive, send: Send
) -> None:
    record = await _settle(services, wanted, visit_of(scope), refusal)
    if refusal is LEFT_EARLY:
        return
    await respond_early(scope, receive, send, _refusal_answer(refusal, record))


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


def _run(services: Services, job: Job, visit: Visit, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
    """Serve a job, and watch for what happens meanwhile where somebody has to."""
    presence, pace = Presence(), _pace(services)
    stream = ClientStream(send, presence, pace) if job.facts.stream else None
    client = Client(send=send, presence=presence, pace=pace, stream=stream)
    visit.watch(presence.leave)
    beside = [] if tells_leaving(scope) else [_watch(receive, presence)]
    if stream is not None:
        beside.append(stream.pulse())
    answering = _answer(services, job, client, visit)
    return _beside(beside, answering) if beside else answering


async def _beside(others: Sequence[Coroutine[Any, Any, None]], answering: Awaitable[None]) -> None:
    """Answer, while others run; they end with it."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one) for one in others]
        try:
            await answering
        finally:
            for task in tasks:
                task.cancel()


async def _answer(services: Services, job: Job, client: Client, visit: Visit) -> None:
    """Serve the job, and give the client what it came to."""
    try:
        if job.subject is None:
            result = await services.relay.run(job, client.presence, client.stream)
        else:
            result = await services.kept.run(job, client.presence)
        visit.settled = True
        await _restore(services, job, result, visit)
        await deliver(client, result)
    except asyncio.CancelledError:
        visit.settled = True  # the relay settles what it is torn away from
        raise
    finally:
        visit.watch(None)
        if job.ahead is not None:
            job.ahead.cut()
        if job.subject is not None:
            job.body.close()


async def _restore(services: Services, job: Job, result: Result, visit: Visit) -> None:
    """Give a key back what a request took of its minute that was refused before anything was sent.

    Asking for what it may not use takes nothing at all.
    """
    is_refused = result.error is not None and 400 <= result.status < 500 and not result.record.attempts
    if services.turnstile is None or not is_refused or job.subject is not None:
        return
    requests = 1 if result.status == FORBIDDEN else 0
    stands = await services.turnstile.restore(visit.principal, requests=requests, images=visit.drawn)
    visit.headers = stands or visit.headers


def _pace(services: Services) -> Pace:
    server = services.settings.server
    return Pace(head_s=server.stream_head_s, hold_s=server.stream_hold_s)


async def _watch(receive: Receive, presence: Presence) -> None:
    """Tell the relay when the client goes; anything else that still comes is of no interest."""
    while (await receive())["type"] != "http.disconnect":
        pass
    presence.leave()
