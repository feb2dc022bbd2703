"""Checking a request without sending it: the relay's own plan, told; no call goes out and nothing is bought.

Rules: what would be refused is not refused here but told, so the answer is always 200 once the body was understood. The
check has a record of its own, which costs nothing and names no target. Health and hand brakes are those of the moment.
"""

from msgspec import Struct

from gateway.core.agreement import Agreement, agree, forbidden
from gateway.core.forecast import CHECK, Forecast
from gateway.core.plan import Plan
from gateway.core.policy import plan
from gateway.core.record import Record
from gateway.core.types import JsonObject
from gateway.core.waybill import Ending, Header, unrouted
from gateway.ports import Job
from gateway.relay import Means
from gateway.story import as_ms


class Checked(Struct, frozen=True, kw_only=True):
    """What the client of a check gets, and its record."""

    document: JsonObject
    record: Record


class Inspector:
    """Checks jobs of the images surfaces. One instance serves all requests of the process."""

    def __init__(self, means: Means) -> None:
        self._means = means

    async def check(self, job: Job) -> Checked:
        """Say what would become of a job; settles the record of the check and gives the job's body back."""
        try:
            return await self._check(job)
        finally:
            job.body.close()

    async def _check(self, job: Job) -> Checked:
        table, facts = self._means.table(), job.facts
        planned = forbidden(facts, job.principal, table) or plan(
            facts, job.directives, table, self._means.roster.view()
        )
        agreed = agree(planned, facts, job.principal) if isinstance(planned, Plan) else planned
        told = agreed.plan if isinstance(agreed, Agreement) else agreed
        forecast = Forecast(facts=facts, table=table, planned=told)
        held = agreed.credits if isinstance(agreed, Agreement) else None
        header = Header(
            time=job.time,
            request_id=job.request_id,
            endpoint=CHECK,
            stream=False,
            config_version=table.version,
            facts=facts,
            directives=job.directives,
            principal=job.principal,
        )
        ending = Ending(status=200, latency_ms=as_ms(self._means.clock.monotonic() - job.started))
        record = unrouted(header, ending, told.excluded)
        await self._means.billing.settle(record)
        return Checked(document={**forecast.as_json(), "credits": held}, record=record)
