"""Where a request must go because of what it refers to, and the note of what each answer makes referable.

Rules: an id is looked up under the caller's key and bound under it; callers without a key share one scope.
An id that could not be an upstream's is not even looked up. When the bindings cannot be read nothing is sent; when
they cannot be written the answer, which is paid for, is delivered all the same, and the log says so. Must never choose
among several channels and never rewrite an id.
"""

from collections.abc import Iterable, Sequence

from gateway.core.bindings import Binding, binding_of, destination, is_bindable
from gateway.core.errand import Reference
from gateway.core.principal import ANYONE, Principal
from gateway.core.record import timestamp
from gateway.core.table import Channel, RouteTable
from gateway.core.types import Fault, Refusal
from gateway.ports import Bindings, Clock, Events, Job, LedgerUnavailable

MOST_IDS = 1_000  # of one answer

_UNREADABLE = Refusal(
    status=503,
    code="ledger_unavailable",
    message="The gateway cannot look up who keeps what this request refers to. Try again shortly.",
    fault=Fault.STORAGE,
    retry_after_s=1.0,
)


class Custody:
    """Knows which channel keeps what. One instance serves all requests of the process."""

    def __init__(self, bindings: Bindings, clock: Clock, events: Events) -> None:
        self._bindings = bindings
        self._clock = clock
        self._events = events
        self._soon: dict[tuple[str, str], Binding] = {}  # being written, by scope and id

    async def destination(
        self, references: Sequence[Reference], table: RouteTable, asking: Principal = ANYONE
    ) -> Channel | Refusal | None:
        """Give the one channel that keeps all that a request refers to; ``None``: it may go anywhere."""
        names = [one.id for one in references if is_bindable(one.id)]
        try:
            written = await self._bindings.find(asking.scope, names) if names else {}
            soon = {name: self._soon[asking.scope, name] for name in names if (asking.scope, name) in self._soon}
            found = {**soon, **written}  # the first stands
            unknown = [name for name in names if name not in found]
            foreign = await self._bindings.held(unknown) if unknown and table.unknown_ids_to else frozenset()
        except LedgerUnavailable:
            return _UNREADABLE
        return destination(references, found, foreign, table)

    async def bind(self, job: Job, channel: Channel, ids: Iterable[str]) -> None:
        """Note that ``channel`` keeps these ids; to be called before the client can know them.

        They are found from the first step on, also while they are being written.
        """
        names = [name for name in dict.fromkeys(ids) if is_bindable(name)][:MOST_IDS]
        if not names:
            return
        binding = binding_of(channel)
        scope = job.principal.scope
        self._soon.update(dict.fromkeys(((scope, name) for name in names), binding))
        try:
            await self._bindings.bind(scope, names, binding, self._clock.now())
        except LedgerUnavailable as lost:
            self._report(job, str(lost))
        finally:
            for name in names:
                self._soon.pop((scope, name), None)

    async def release(self, job: Job, name: str) -> None:
        """Note that an id was deleted."""
        try:
            await self._bindings.unbind(job.principal.scope, name)
        except LedgerUnavailable as lost:
            self._report(job, str(lost))

    def _report(self, job: Job, reason: str) -> None:
        self._events.emit(
            {
                "event": "bindings.write_failed",
                "time": timestamp(self._clock.now()),
                "request_id": job.request_id,
                "reason": reason,
            }
        )
