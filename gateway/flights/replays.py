"""What a client gets of a flight that is not his own, or not over: the answer again, a word to come back, a refusal.

Rules: an answer that is given again is the first one with the first one's stamps; its record is this request's own,
says that it was replayed, and cost nothing: no credits either, where a key is charged any. Nothing is decided here.
"""

from datetime import datetime
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from gateway.core.flights import FlightId, FlightState
from gateway.core.money import MISSING
from gateway.core.policy import route_of
from gateway.core.record import Record
from gateway.core.table import Route, RouteTable
from gateway.core.types import Refusal
from gateway.core.verdict import PublicError
from gateway.core.waybill import Ending, Told, unrouted
from gateway.outlet import Said, StreamHead
from gateway.ports import AnswerBody, Job
from gateway.relay import Result, refused_result
from gateway.story import CLIENT_CLOSED_REQUEST, as_ms, header_of, standing_in

EVENT_STREAM = "text/event-stream; charset=utf-8"

MISMATCH = Refusal(
    status=422,
    code="idempotency_mismatch",
    message="This Idempotency-Key came with another body before. A new request needs a new key.",
    param="Idempotency-Key",
)
NO_FLIGHT = Refusal(status=404, code="flight_not_found", message="There is no such flight.", param="x-flight-id")
OTHER_FLIGHT = replace(MISMATCH, message="The body is not the one that this flight was sent for.", param="x-flight-id")
ELSEWHERE = Refusal(
    status=409,
    code="idempotency_in_progress",
    message="The same request is under way as a stream at another server. Try again shortly.",
    param="Idempotency-Key",
    retry_after_s=1.0,
)
TOO_MANY = replace(ELSEWHERE, message="Too many clients wait for the answer of this request. Try again shortly.")
UNREADABLE = Refusal(
    status=503,
    code="ledger_unavailable",
    message="The gateway cannot look up whether this request was made before, so it does not make it.",
    retry_after_s=1.0,
)

IN_PROGRESS = PublicError(
    status=503,
    type="server_error",
    code="in_progress",
    param=None,
    message="The request is still under way. Send it again, or read its flight, to get its answer; nothing is bought "
    "twice.",
)
TO_COME_BACK = Told(status=IN_PROGRESS.status, code=IN_PROGRESS.code)
TAKEN = Told(status=202)
LOST = PublicError(
    status=502,
    type="server_error",
    code="upstream_unknown_outcome",
    param=None,
    message="The server that had sent this request ended before the answer came. The request may have been charged "
    "for, so it is not sent again.",
)
ANSWER_GONE = PublicError(
    status=404,
    type="invalid_request_error",
    code="asset_not_found",
    param=None,
    message="This request was answered before, and its pictures are not kept any more. It is not sent again.",
)


class Sight(Struct, frozen=True, kw_only=True):
    """A flight as its caller may see it. ``eta_s``: what is left, as such requests go; ``previews``: that came."""

    id: FlightId
    state: FlightState
    endpoint: str
    request_id: str
    created: datetime
    eta_s: float | None = None
    previews: int | None = None
    result: Result | None = None


class Pen(Protocol):
    """Writes what clients read."""

    def head(self, result: Result) -> tuple[tuple[bytes, bytes], ...]:
        """Give the headers of an answer, without its type and length."""
        ...

    def error(self, result: Result) -> bytes:
        """Write the error of an answer."""
        ...

    def event(self, head: StreamHead, error: PublicError, sequence: int | None) -> bytes:
        """Write an error as the event that ends a stream."""
        ...

    def sight(self, sight: Sight) -> bytes:
        """Write what is seen of a flight, without its result."""
        ...


class Asking(Struct, frozen=True, kw_only=True):
    """A request that is answered without the attempt loop: its job, the table and the clock (seconds) of now."""

    job: Job
    table: RouteTable
    now: float

    def record(self, status: int, flight_id: str | None, code: str | None = None, *, replayed: bool = False) -> Record:
        """Give its record."""
        ending = Ending(status=status, latency_ms=as_ms(self.now - self.job.started), code=code)
        made = unrouted(header_of(standing_in(self.job, self.table), self.table), ending)
        key = made.idempotency
        return replace(
            made,
            flight_id=flight_id,
            idempotency=None if key is None else replace(key, replayed=replayed),
            credits=0 if replayed and self._is_charged else None,
        )

    @property
    def _is_charged(self) -> bool:
        """Whether a key is charged credits for such a request."""
        route = route_of(self.job.facts, self.table)
        return self.job.principal.key_id is not None and isinstance(route, Route) and route.charge is not None

    def refused(self, refusal: Refusal) -> Result:
        """Give a refusal, with its record."""
        result = refused_result(refusal, self.record(refusal.status, None, refusal.code))
        return replace(result, may_retry=refusal.retry_after_s is not None)

    def told(self, error: PublicError, flight_id: FlightId) -> Result:
        """Give the truth about a flight that cannot be given."""
        return Result(
            status=error.status,
            record=self.record(error.status, flight_id, error.code),
            error=error,
            flight_id=flight_id,
        )

    def gone(self, flight_id: FlightId) -> Result:
        """Give nothing: the client has left."""
        record = self.record(CLIENT_CLOSED_REQUEST, flight_id, "client_gone")
        return Result(status=CLIENT_CLOSED_REQUEST, record=record)

    def in_progress(self, flight_id: FlightId, so_far: Record | None) -> Result:
        """Tell the client to come back. ``so_far``: the flight's record as it stands, for the stamps alone."""
        record = so_far or self.record(503, flight_id)
        result = replace(record.result, status=503, code=IN_PROGRESS.code)
        tries = record.attempts
        if tries:  # what is under way costs something: nobody knows yet how much
            tries = (*tries[:-1], replace(tries[-1], cost=MISSING))
        record = replace(record, request_id=self.job.request_id, result=result, attempts=tries, credits=None)
        return Result(status=503, record=record, error=IN_PROGRESS, may_retry=True, flight_id=flight_id)

    def accepted(self, flight_id: FlightId, pen: Pen) -> Result:
        """Say that the request is taken, and where its end will be."""
        job = self.job
        sight = Sight(
            id=flight_id,
            state=FlightState.HELD,
            endpoint=job.facts.endpoint,
            request_id=job.request_id,
            created=job.time,
        )
        return Result(status=202, record=self.record(202, flight_id), body=Said(pen.sight(sight)), flight_id=flight_id)

    def again(self, flight_id: FlightId, first: Result, body: AnswerBody | None, pen: Pen) -> Result:
        """Give an answer that was made for another request; ``body`` is this client's share of it."""
        made = self.record(first.status, flight_id, first.record.result.code, replayed=True)
        delivery = first.record.result.delivery
        if body is not None and delivery == "none" and first.record.result.images:  # nobody was there when it came
            delivery = "stream" if first.is_written else "b64_json"
        return Result(
            status=first.status,
            record=replace(made, result=replace(made.result, delivery=delivery)),
            body=Said(pen.error(first)) if body is None and first.error is not None else body,
            content_type=EVENT_STREAM if first.is_written else first.content_type,
            error=first.error,
            flight_id=flight_id,
            head=first.head if first.head is not None else pen.head(first),
        )
