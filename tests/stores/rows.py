"""Rows for the ledger's tests: ids in order, everything else plain."""

from datetime import UTC, datetime

from gateway.core.types import AttemptId, JsonObject, RequestId
from gateway.ports import AttemptIntent, AttemptResult, RequestIntent, Settlement

NOON = datetime(2026, 11, 20, 12, 0, 0, 123456, tzinfo=UTC)


def request_id(number: int) -> RequestId:
    return RequestId(f"req_{number:032x}")


def attempt_id(number: int, n: int = 1) -> AttemptId:
    return AttemptId(f"att_{number:024x}{n:08x}")


def request(number: int, *, model: str | None = "gpt-image-1") -> RequestIntent:
    return RequestIntent(
        request_id=request_id(number),
        time=NOON,
        endpoint="images/generations",
        asked_model=model,
        config_version="c1",
    )


def attempt(number: int, n: int = 1, *, owner: str = "acme", channel: str = "direct") -> AttemptIntent:
    return AttemptIntent(
        request_id=request_id(number),
        attempt_id=attempt_id(number, n),
        n=n,
        channel=channel,
        owner=owner,
        row="gpt-image-1",
        surface="images/generations",
        region="eu",
        sent_model="gpt-image-1-2025",
        started=NOON,
    )


def result(number: int, n: int = 1, *, failure: str | None = None, outcome: str = "delivered") -> AttemptResult:
    return AttemptResult(
        attempt_id=attempt_id(number, n),
        outcome=outcome,
        failure=failure,
        detail=None if failure is None else "reset",
        status=200 if failure is None else None,
        duration_ms=1_500,
    )


def settlement(
    number: int,
    *results: AttemptResult,
    status: int = 200,
    failure: str | None = None,
    owner: str | None = "acme",
    record: JsonObject | None = None,
) -> Settlement:
    return Settlement(
        request_id=request_id(number),
        time=NOON,
        endpoint="images/generations",
        asked_model="gpt-image-1",
        owner=owner,
        channel=None if owner is None else "direct",
        status=status,
        failure=failure,
        record={"request_id": request_id(number)} if record is None else record,
        attempts=results,
    )
