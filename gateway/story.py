"""What happened so far to one request: its attempts, the answer that is kept, and how that reads on the waybill.

Rules: it lives as long as its request and belongs to the attempt loop, which is the only one to write it. It decides
nothing about routing; it knows which failure the client is told of. Must never wait and never send.
"""

from collections.abc import Collection, Mapping, Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from gateway.core.ceiling import MAX_COST
from gateway.core.delivery import Shape, wanted_form
from gateway.core.plan import Plan, Target
from gateway.core.purchase import cost_of, quote_of
from gateway.core.record import AttemptRecord, Record
from gateway.core.resting import Resting
from gateway.core.seen import Observation
from gateway.core.table import RouteTable
from gateway.core.types import Action, AttemptId, Excluded, Failure, FailureClass, Fault, Outcome, Phase, Surface
from gateway.core.verdict import PublicError, error_of, public_error
from gateway.core.walk import DOWNGRADE, SAME, GiveUp, Tried, Try, action_after
from gateway.core.waybill import Ending, Header, Previews, pending, routed
from gateway.exchange import Answered, Presence
from gateway.outlet import Outlet, StreamHead
from gateway.ports import AttemptIntent, Clock, Job, Picture
from gateway.streaming import Follower
from gateway.tab import Tab

CLIENT_CLOSED_REQUEST = 499
TRAVELLING_HEADERS = ("openai-processing-ms", "openai-version")


class Attempt(Struct, frozen=True, kw_only=True):
    """One attempt under way: its id, and when it began (seconds, on the story's clock)."""

    attempt_id: AttemptId
    target: Target
    started: float


class Story(Struct):
    """One request from its plan to its end."""

    job: Job
    table: RouteTable
    plan: Plan
    presence: Presence
    clock: Clock
    outlet: Outlet | None = None  # the client's end, when it asked for a stream
    attempts: list[AttemptRecord] = field(default_factory=list)
    tried: list[Tried] = field(default_factory=list)
    passed: dict[int, Resting] = field(default_factory=dict)  # targets that were passed over, by place in the plan
    asked_as: dict[int, Target] = field(default_factory=dict)  # targets as they were asked last, by place in the plan
    dear: tuple[int, ...] = ()  # targets that were left at the end, and cost too much
    kept: Answered | None = None  # the answer the client gets, or as much of it as there is
    shape: Shape | None = None  # the form its pictures are given in
    follower: Follower | None = None  # of the attempt under way, when the client asked for a stream
    begun: set[AttemptId] = field(default_factory=set)  # attempts whose intent is committed
    tab: Tab | None = None  # what it costs its key

    @property
    def is_abandoned(self) -> bool:
        """Whether the last attempt ended because the client left: nobody is there to be told of an error."""
        return bool(self.tried) and self.tried[-1].failure.kind is FailureClass.CLIENT_GONE

    @property
    def is_committed(self) -> bool:
        """Whether something of a stream has gone out, so that no other target may answer."""
        return self.outlet is not None and self.outlet.committed

    @property
    def is_streamed(self) -> bool:
        """Whether the client's answer is a stream, begun or about to begin."""
        return self.is_committed or (self.kept is not None and bool(self.kept.events))

    @property
    def intolerable(self) -> Collection[str]:
        """The differences that make a result a failure: none once a part of it is with the client."""
        return () if self.is_committed else self.plan.route.intolerable

    @property
    def must_stream(self) -> bool:
        """Whether an answer that is no stream cannot be given away: the head of one is out, or JSON is not taken."""
        asks = self.outlet is not None and not self.job.directives.takes_json
        return asks or self.is_committed

    @property
    def whole_plan(self) -> Plan:
        """The plan, its targets as they were asked, those that were passed over on the way among the excluded."""
        if not (self.passed or self.tried or self.dear):
            return replace(self.plan, targets=self._asked_targets) if self.asked_as else self.plan
        asked = {attempt.target for attempt in self.tried}
        passed = tuple(one.excluded for at, one in self.passed.items() if at not in asked)
        dear = (self.plan.targets[at].name for at in self.dear if at not in self.passed)
        too_dear = tuple(Excluded(target=name, reason=MAX_COST) for name in dear)
        return replace(self.plan, targets=self._asked_targets, excluded=(*self.plan.excluded, *passed, *too_dear))

    @property
    def _asked_targets(self) -> tuple[Target, ...]:
        return tuple([self.asked_as.get(at, target) for at, target in enumerate(self.plan.targets)])

    def start(self, step: Try) -> None:
        """Note how a target is asked; say of the last attempt that its target is asked again, when it is."""
        if step.target is not self.plan.targets[step.index] or step.index in self.asked_as:
            self.asked_as[step.index] = step.target
        if step.pause_s is not None:
            action = SAME if step.steps == self.tried[-1].steps else DOWNGRADE
            self.attempts[-1] = replace(self.attempts[-1], action=action)
        elif self.attempts and self.attempts[-1].action == Action.STOP:  # an option that the next one's contract states
            self.attempts[-1] = replace(self.attempts[-1], action=Action.NEXT)

    def fail(self, step: Try, failure: Failure) -> None:
        """Note that an attempt failed, and what it took; what nobody knows counts as much as was feared."""
        costs = [self.attempts[-1].cost, step.target.quote] if self.attempts else []
        spent_micro = next((cost.amount_micro for cost in costs if cost and cost.amount_micro is not None), 0)
        self.tried.append(Tried(target=step.index, failure=failure, steps=step.steps, spent_micro=spent_micro))

    def keep(self, ended: Answered) -> None:
        """Keep an answer for the client instead of the one before."""
        if self.kept is not None:
            self.kept.close()
        self.kept = ended

    def end(self, over: GiveUp | None = None) -> None:
        """Say of the last attempt what was done after it: nothing, whatever its failure allowed."""
        self.dear = over.dear if over is not None else ()
        if self.attempts:
            self.attempts[-1] = replace(self.attempts[-1], action=Action.STOP)

    def error(self) -> PublicError | None:
        """Give what the client is told; nothing when it gets the answer that is kept."""
        if self.kept is None:
            return None if self.is_abandoned else public_error(self.plan, self.tried)
        failure = self.kept.failure
        return None if failure is None or failure.passes_through else error_of(self.plan, failure)

    def intent(self, attempt: Attempt) -> AttemptIntent:
        """Give what the ledger is told before the attempt is sent."""
        channel = attempt.target.channel
        return AttemptIntent(
            request_id=self.job.request_id,
            attempt_id=attempt.attempt_id,
            n=len(self.attempts) + 1,
            channel=channel.name,
            owner=channel.owner,
            row=attempt.target.row.name,
            surface=self.job.facts.surface,
            region=channel.region,
            sent_model=attempt.target.sent_model,
            started=self.clock.now(),
            quote=quote_of(attempt.target, self.job.facts, self.table),
        )

    def row(self, attempt: Attempt, ended: Answered) -> AttemptRecord:
        """Give the record's row for an attempt that ended, or is seen so far."""
        seen, failure, target = ended.seen, ended.failure, attempt.target
        outcome = failure.outcome if failure else Outcome.DELIVERED
        return AttemptRecord(
            n=len(self.attempts) + 1,
            attempt_id=attempt.attempt_id,
            channel=target.channel.name,
            owner=target.channel.owner,
            row=target.row.name,
            surface=self.job.facts.surface,
            region=target.channel.region,
            sent_model=target.sent_model,
            started_ms=as_ms(attempt.started - self.job.started),
            first_byte_ms=ended.first_byte_ms,
            duration_ms=as_ms(self.clock.monotonic() - attempt.started),
            outcome=outcome,
            status=seen.status,
            failure=failure,
            action=action_after(self.plan.route, failure) if failure else None,
            upstream_request_id=seen.headers.get("x-request-id"),
            usage=ended.reading.usage if ended.reading else None,
            cost=cost_of(target, self.job.facts, self.table, outcome, ended.reading),
            changes=target.changes,
            ahead_bytes=ended.ahead.bytes if ended.ahead else None,
            ahead_ms=ended.ahead.ms if ended.ahead else None,
        )

    def head(self, attempt: Attempt, follower: Follower) -> StreamHead:
        """Give the head of a stream whose attempt is under way."""
        seen = Observation(phase=Phase.SENT, elapsed_s=0.0, headers=follower.headers)
        under_way = self.row(attempt, Answered(seen=seen))
        ending = Ending(status=200, latency_ms=self._latency_ms)
        record = routed(self.header, ending, self.whole_plan, [*self.attempts, under_way], None)
        return StreamHead(record=pending(record), upstream_headers=travelling(follower.headers))

    def glimpse(self, attempt: Attempt) -> Record:
        """Give the record as it stands while an attempt is under way."""
        seen = Observation(phase=Phase.SENT, elapsed_s=0.0)
        under_way = self.row(attempt, Answered(seen=seen))
        previews = previews_of(self.follower) if self.follower else None
        ending = Ending(status=200, latency_ms=self._latency_ms, previews=previews)
        return pending(routed(self.header, ending, self.whole_plan, [*self.attempts, under_way], None))

    def last_head(self, record: Record) -> StreamHead:
        """Give the head of a stream that ends before any of it has gone out."""
        headers = self.kept.seen.headers if self.kept else {}
        return StreamHead(record=pending(record), upstream_headers=travelling(headers))

    @property
    def next_sequence(self) -> int | None:
        """Give the number of an event that is added to the stream; images streams have none."""
        if self.job.facts.surface is not Surface.RESPONSES:
            return None
        return (self.told.next_sequence if self.told else None) or 0

    @property
    def told(self) -> Follower | None:
        """Give what follows the stream that the client hears: the kept one, else the one under way."""
        return self.kept.stream if self.kept else self.follower

    def ending(self, error: PublicError | None) -> Ending:
        """Say how the request ended for the client, at this moment."""
        kept, failure = self.kept, self._told_failure
        status = error.status if error else (kept.seen.status or 200 if kept else CLIENT_CLOSED_REQUEST)
        return Ending(
            status=200 if self.is_committed else status,
            latency_ms=self._latency_ms,
            code=error.code if error else None,
            fault=failure.fault if failure else Fault.STORAGE if error and error.code == "ledger_unavailable" else None,
            delivered=kept is not None and error is None and not self.presence.gone,
            previews=previews_of(self.told) if self.told and self.is_streamed else None,
            differences=kept.differences if kept else (),
            shape=self.shape,
            credits=self._credits,
            told=self.presence.told,
        )

    def pictures(self) -> list[Picture]:
        """Give the pictures that the client gets and that are to be kept, each with its bytes, to be closed."""
        kept = self.kept
        is_given = kept is not None and (kept.failure is None or self.is_committed)
        keeps = self.plan.route.keep and self.job.principal.keeps
        return kept.pictures() if kept is not None and is_given and keeps else []

    def give(self, links: Sequence[str | None]) -> None:
        """Give the pictures of the answer that is kept the form they are wanted in.

        ``links``: addresses of ours, by the order of its reading; ``None`` for one that there is no address of.
        """
        kept = self.kept
        if kept is None or kept.answer is None or kept.contents is None or kept.target is None:
            return
        wanted = wanted_form(self.job.facts, kept.target.contract, self.plan.route.deliver, self.table.legacy)
        self.shape = kept.contents.give(kept.answer, wanted, links)

    @property
    def _credits(self) -> int | None:
        """Give what the key is charged: for an answer that was delivered, or for as much of one as has gone out."""
        if self.tab is None:
            return None
        kept = self.kept
        is_given = kept is not None and (kept.failure is None or self.is_committed)
        if kept is None or not is_given:
            return self.tab.credits(self.job.facts, None, None)
        return self.tab.credits(self.job.facts, kept.reading, kept.target)

    @property
    def header(self) -> Header:
        """Give what the record says before anything was decided."""
        return header_of(self.job, self.table)

    @property
    def _told_failure(self) -> Failure | None:
        """The failure that the client hears of; none when an attempt delivered."""
        if self.kept is not None and (self.kept.failure is None or self.is_committed):
            return self.kept.failure
        return self.tried[0].failure if self.tried else None

    @property
    def _latency_ms(self) -> float:
        return as_ms(self.clock.monotonic() - self.job.started)


def previews_of(stream: Follower) -> Previews:
    """Count the previews of a stream."""
    return Previews(received=stream.tally.facts.partial_images, sent=stream.partials_sent)


def header_of(job: Job, table: RouteTable) -> Header:
    """Give what a job's record says before anything was decided."""
    return Header(
        time=job.time,
        request_id=job.request_id,
        endpoint=job.facts.endpoint,
        stream=job.facts.stream,
        config_version=table.version,
        facts=job.facts,
        model=job.default_model,
        directives=job.directives,
        principal=job.principal,
        flight_id=job.flight_id,
    )


def standing_in(job: Job, table: RouteTable) -> Job:
    """Give a job that names no model with the route that serves it all the same, when there is one."""
    route = (
        None if job.facts.asked_model is not None or job.subject is not None else table.default_route(job.facts.surface)
    )
    return job if route is None else replace(job, default_model=route.name)


def travelling(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Give those of an upstream's headers that a client may see."""
    return tuple((name, headers[name]) for name in TRAVELLING_HEADERS if name in headers)


def as_ms(seconds: float) -> float:
    """Give milliseconds to the tenth."""
    return max(0.0, round(seconds * 1000, 1))
