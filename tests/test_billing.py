"""Intents and settlements over a ledger that remembers, refuses or takes its time."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from gateway.billing import Billing, settlement
from gateway.bodies.spool import Held
from gateway.core.record import AttemptRecord, Owner, Record, ResultRecord
from gateway.core.types import (
    Action,
    AttemptId,
    BodyMap,
    Directives,
    Facts,
    Failure,
    FailureClass,
    Fault,
    JsonObject,
    Outcome,
    RequestId,
    Surface,
)
from gateway.ports import LEDGER_WAIT_S, AttemptIntent, Hold, Job, LedgerUnavailable, RequestIntent, Settlement

TIME = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)
JOB = Job(
    request_id=RequestId("req_1"),
    time=TIME,
    started=0.0,
    facts=Facts(surface=Surface.EDITS, asked_model="pic"),
    directives=Directives(),
    body=Held(b"{}"),
    body_map=BodyMap(content_type="application/json", length=2, model=None, insert_at=1),
    prompt="a lighthouse",
)
REFUSED = Failure(
    kind=FailureClass.OVERLOADED,
    detail="503",
    outcome=Outcome.REFUSED,
    fault=Fault.UPSTREAM,
    action=Action.NEXT,
    status=503,
)


def attempt(n: int, failure: Failure | None = None) -> AttemptRecord:
    return AttemptRecord(
        n=n,
        attempt_id=AttemptId(f"att_{n}"),
        channel="A",
        owner="owner-A",
        row="pic",
        surface="images/edits",
        sent_model="pic-A",
        started_ms=0.2,
        duration_ms=12.6,
        outcome=failure.outcome if failure else Outcome.DELIVERED,
        status=failure.status if failure else 200,
        failure=failure,
    )


def record(*attempts: AttemptRecord, status: int = 200, code: str | None = None) -> Record:
    owner = Owner(route_owner="owner-A", channel="A", row="pic", base_url_host="a.test")
    return Record(
        time=TIME,
        request_id=RequestId("req_1"),
        endpoint="images/edits",
        stream=False,
        result=ResultRecord(status=status, code=code),
        latency_ms=14.0,
        facts=JOB.facts if attempts else None,
        owner=owner if attempts else None,
        attempts=attempts,
    )


@dataclass
class Book:
    """A ledger in memory; ``lost`` makes every call fail, ``open`` lets settlements through."""

    lost: bool = False
    begun: list[tuple[RequestIntent | None, AttemptIntent]] = field(default_factory=list)
    settled: list[Settlement] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)
    holds: list[Hold | None] = field(default_factory=list)

    async def begin(
        self,
        intent: RequestIntent | None,
        attempt: AttemptIntent,
        hold: Hold | None = None,
        within_s: float = LEDGER_WAIT_S,
    ) -> None:
        self.holds.append(hold)
        if self.lost:
            raise LedgerUnavailable("the ledger is away")
        self.begun.append((intent, attempt))

    async def settle(self, settlement: Settlement, within_s: float = LEDGER_WAIT_S) -> None:
        if self.lost:
            raise LedgerUnavailable("the ledger is away")
        await self.open.wait()
        self.settled.append(settlement)


@dataclass
class Log:
    lines: list[JsonObject] = field(default_factory=list)

    def emit(self, event: JsonObject) -> None:
        self.lines.append(event)

    @property
    def events(self) -> list[object]:
        return [line["event"] for line in self.lines]


def intent(n: int) -> AttemptIntent:
    return AttemptIntent(
        request_id=JOB.request_id,
        attempt_id=AttemptId(f"att_{n}"),
        n=n,
        channel="A",
        owner="owner-A",
        row="pic",
        surface="images/edits",
        region=None,
        sent_model="pic-A",
        started=TIME,
    )


async def test_the_first_attempt_that_is_sent_opens_the_request() -> None:
    book = Book()
    billing = Billing(book, Log())
    await billing.begin(JOB, "v1", intent(2), opens=True)  # the first found no place and was never sent
    await billing.begin(JOB, "v1", intent(3), opens=False)
    (opened, second), (nothing, third) = book.begun
    assert opened == RequestIntent(
        request_id=JOB.request_id, time=TIME, endpoint="images/edits", asked_model="pic", config_version="v1"
    )
    assert (nothing, second.n, third.n) == (None, 2, 3)


async def test_a_ledger_out_of_reach_stops_a_purchase() -> None:
    with pytest.raises(LedgerUnavailable):
        await Billing(Book(lost=True), Log()).begin(JOB, "v1", intent(1), opens=True)


async def test_a_settlement_is_committed_and_then_logged() -> None:
    book, log = Book(), Log()
    settling = asyncio.ensure_future(Billing(book, log).settle(record(attempt(1, REFUSED), attempt(2))))
    await asyncio.sleep(0)
    assert log.lines == []
    book.open.set()
    await settling
    [written] = book.settled
    assert (written.owner, written.channel, written.asked_model, written.failure) == ("owner-A", "A", "pic", None)
    assert [(one.attempt_id, one.outcome, one.failure, one.detail, one.duration_ms) for one in written.attempts] == [
        ("att_1", "refused", "overloaded", "503", 13),
        ("att_2", "delivered", None, None, 13),
    ]
    assert log.events == ["request.finished"]
    assert log.lines[0] == {"event": "request.finished", **written.record}


async def test_a_settlement_that_fails_is_told_with_its_record_and_raises_nothing() -> None:
    log = Log()
    await Billing(Book(lost=True), log).settle(record(attempt(1)))
    assert log.events == ["ledger.settle_failed", "request.finished"]
    assert (log.lines[0]["request_id"], log.lines[0]["reason"]) == ("req_1", "the ledger is away")


async def test_a_cancelled_request_is_settled_before_the_cancellation_goes_on() -> None:
    book, log = Book(), Log()
    settling = asyncio.ensure_future(Billing(book, log).settle(record(attempt(1))))
    await asyncio.sleep(0)
    settling.cancel()
    await asyncio.sleep(0.01)
    assert not settling.done()
    book.open.set()
    with pytest.raises(asyncio.CancelledError):
        await settling
    assert len(book.settled) == 1
    assert log.events == ["request.finished"]


def test_the_row_of_a_failure_says_its_class_and_that_of_a_refusal_its_code() -> None:
    failed, refused = record(attempt(1, REFUSED), status=503), record(status=404, code="model_not_found")
    assert settlement(failed, failed.as_json()).failure == "overloaded"
    row = settlement(refused, refused.as_json())
    assert (row.failure, row.owner, row.channel, row.asked_model, row.attempts) == (
        "model_not_found",
        None,
        None,
        None,
        (),
    )
