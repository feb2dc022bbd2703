"""What a request commits to the ledger, and when.

Rules: an attempt's intent is committed before its first byte goes out; the end of a request is committed before the
last byte of its answer goes to the client; the settlement is shielded, so that a cancelled request is settled all the
same. When the ledger is out of reach nothing new is bought (``begin`` raises), but what was bought is delivered: a
settlement that fails is reported on the log with its record, never turned into an error for the client. Who was refused
because the ledger is out of reach has waited for it, and does not wait again for the record that says so.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from gateway.core.record import AttemptRecord, Record, timestamp
from gateway.core.types import JsonObject, RequestId
from gateway.ports import (
    LEDGER_WAIT_S,
    AttemptIntent,
    AttemptResult,
    Capture,
    Events,
    Hold,
    Job,
    Ledger,
    LedgerUnavailable,
    Refused,
    RequestIntent,
    Settlement,
)
from gateway.waiting import Waiting

UNREACHED: Final = "ledger_unavailable"  # the code of who was refused for the ledger's sake


def _unseen(_record: Record) -> None:
    """Nobody counts."""


class Billing:
    """Writes intents and settlements over the ``Ledger`` port, and the request's line to the log.

    ``seen`` is told every record once, when it is logged; it must neither wait nor raise.
    """

    def __init__(self, ledger: Ledger, events: Events, seen: Callable[[Record], None] = _unseen) -> None:
        self._ledger = ledger
        self._events = events
        self._seen = seen
        self._holding: set[RequestId] = set()

    async def begin(
        self, job: Job, config_version: str, attempt: AttemptIntent, hold: Hold | None = None, *, opens: bool
    ) -> Refused | None:
        """Commit that ``attempt`` is about to be sent; ``opens`` says that it is the first of its request.

        Commits what it holds of the key, too, or says what the books refuse. Raises ``LedgerUnavailable``. In both of
        these cases nothing may be sent.
        """
        intent = None
        if opens:
            intent = RequestIntent(
                request_id=job.request_id,
                time=job.time,
                endpoint=job.facts.endpoint,
                asked_model=job.facts.asked_model or job.default_model,
                config_version=config_version,
                key_id=job.principal.key_id,
                team=job.principal.team,
                stream=job.facts.stream,
                body_hash=job.body_hash,
            )
        if hold is not None:
            self._holding.add(job.request_id)  # before it is committed: a commit nobody waits for is closed as well
        with Waiting(job.wait):
            return await self._ledger.begin(intent, attempt, hold, job.wait.left_s)

    async def settle(self, record: Record) -> None:
        """Commit the record and every attempt's end, then log it. Finishes even when the caller is cancelled."""
        document = record.as_json()
        commit = asyncio.ensure_future(self._commit(record, document))
        try:
            await asyncio.shield(commit)
        except asyncio.CancelledError:
            await commit
            raise

    async def _commit(self, record: Record, document: JsonObject) -> None:
        within_s = 0.0 if record.result.code == UNREACHED else LEDGER_WAIT_S
        try:
            await self._ledger.settle(settlement(record, document, self._capture(record)), within_s)
        except LedgerUnavailable as lost:
            self._events.emit(
                {
                    "event": "ledger.settle_failed",
                    "time": timestamp(record.time),
                    "request_id": record.request_id,
                    "reason": str(lost),
                }
            )
        self._log(record, document)

    def _capture(self, record: Record) -> Capture | None:
        """Say what is owed of a request's holds, if it has any; an attempt whose cost is missing hides the sum."""
        if record.request_id not in self._holding:
            return None
        self._holding.discard(record.request_id)
        cost = record.cost
        micro = 0 if not record.attempts else cost.amount_micro if cost is not None else None
        return Capture(credits=record.credits or 0, micro=micro)

    def note(self, record: Record) -> None:
        """Count and log a record that gets no row in the ledger: a request that was shed. Never waits."""
        self._log(record, record.as_json())

    def _log(self, record: Record, document: JsonObject) -> None:
        self._seen(record)
        self._events.emit({"event": "request.finished", **document})


def settlement(record: Record, document: JsonObject, capture: Capture | None = None) -> Settlement:
    """Give the ledger's row for a record; ``document`` is the record's JSON, ``capture`` ends its holds."""
    failed = record.failure
    return Settlement(
        request_id=record.request_id,
        time=record.time,
        endpoint=record.endpoint,
        asked_model=record.asked,
        owner=record.owner.route_owner if record.owner else None,
        channel=record.owner.channel if record.owner else None,
        status=record.result.status,
        failure=failed.kind if failed else record.result.code,
        record=document,
        attempts=tuple(result(attempt) for attempt in record.attempts),
        images=len(record.result.images),
        capture=capture,
        assets=tuple(asset for asset in record.result.assets if asset is not None),
    )


def result(attempt: AttemptRecord) -> AttemptResult:
    """Give the ledger's row for how an attempt ended."""
    failure = attempt.failure
    return AttemptResult(
        attempt_id=attempt.attempt_id,
        outcome=attempt.outcome,
        failure=failure.kind if failure else None,
        detail=failure.detail if failure else None,
        status=attempt.status,
        duration_ms=round(attempt.duration_ms),
        cost=attempt.cost,
    )
