"""A request that was sent for outlives its client's connection: whoever comes back finds it, nobody buys it twice.

Rules: the attempt loop runs as a task of a flight, and clients wait for the flight, each as long as it is there and no
longer than the client's window; then it is told to come back, and the flight goes on. A client that leaves before
anything was sent takes its request along. What was bought and reached no client is kept for a while, for the same
request to find; what has an Idempotency-Key is on file before it is sent, and its answer is before it is given. What
bought nothing leaves nothing behind. An answer that is given again is the first one, byte for byte, on a record of its
own that cost nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from gateway.aloft import Flight, Register, Wake, hash_of
from gateway.core.errand import Errand
from gateway.core.flights import (
    ADOPTION_S,
    MOST_WAITING,
    RETENTION_S,
    RETURN_S,
    FlightId,
    is_bought,
    landed,
    trait_of,
)
from gateway.core.record import Record
from gateway.core.table import RouteTable
from gateway.core.types import Refusal
from gateway.exchange import Presence
from gateway.outlet import Outlet
from gateway.ports import Clock, Events, Job
from gateway.relay import Refused, Result
from gateway.replays import MISMATCH, NO_FLIGHT, OTHER_FLIGHT, TOO_MANY, Asking, Pen, Sight
from gateway.rescue import Rescue
from gateway.story import CLIENT_CLOSED_REQUEST
from gateway.tape import SharedBody, Tape


class Loop(Protocol):
    """The attempt loop."""

    async def run(self, job: Job, presence: Presence, outlet: Outlet | None = None) -> Result:
        """Serve one job to its end."""
        ...

    async def refuse(self, refused: Refused) -> Record:
        """Settle a request that never became a job."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Hangar:
    """What flights work with; ``main`` chooses. ``window_s``: how long a client waits at most, ``None``: no bound.

    ``head_s``: how long the client of a stream waits for any byte.
    """

    loop: Loop
    table: Callable[[], RouteTable]
    settle: Callable[[Record], Awaitable[None]]
    clock: Clock
    events: Events
    pen: Pen
    new_flight_id: Callable[[], FlightId]
    window_s: float | None = None
    head_s: float = 10.0


class Flights:
    """Stands between the web and the attempt loop. One instance serves all requests of the process."""

    def __init__(self, hangar: Hangar) -> None:
        self._hangar = hangar
        self._register = Register()
        self.rescue = Rescue()

    @property
    def aloft(self) -> int:
        """Flights whose end is still to come."""
        return self._register.aloft

    async def refuse(self, refused: Refused) -> Record:
        """Settle a request that never became a job."""
        return await self._hangar.loop.refuse(refused)

    async def run(self, job: Job, presence: Presence, outlet: Outlet | None = None) -> Result:
        """Give one client what it gets, now or after a wait. The job's body is closed when nobody needs it any more."""
        if job.facts.errand is not Errand.CREATE:
            try:
                return await self._hangar.loop.run(job, presence, outlet)
            finally:
                job.body.close()
        if job.directives.idempotency or job.directives.flight or not self._register.waits_for_nobody:
            joined = await self._come_back(job, presence)
            if joined is not None:
                job.body.close()
                return joined
        return await self._depart(job, presence, outlet)

    async def close(self) -> None:
        """End what is still under way, each settled as it is; the process ends."""
        tasks = [flight.task for flight in self._register if flight.task is not None and not flight.task.done()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for flight in self._register:
            flight.dispose()

    # Finding

    async def _come_back(self, job: Job, presence: Presence) -> Result | None:
        """Give what a request gets of the flight that it belongs to; ``None``: there is none, or none any more."""
        found = await self._find(job)
        if isinstance(found, Refusal):
            return await self._settled(self._asking(job).refused(found))
        return None if found is None else await self._join(found, job, presence)

    async def _find(self, job: Job) -> Flight | Refusal | None:
        """Give the flight that a request belongs to; its client is on board then."""
        key = job.directives.idempotency
        scope, endpoint = job.principal.scope, job.facts.endpoint
        flight = self._register.of_key((scope, endpoint, key)) if key is not None else None
        if flight is not None:
            return await self._board(flight, job, MISMATCH)
        if key is not None:
            return None
        if job.directives.flight is not None:
            named = self._register.of_id(job.directives.flight, scope)
            if named is None or named.job.facts.endpoint != endpoint:
                return NO_FLIGHT
            return await self._board(named, job, OTHER_FLIGHT)
        for lonely in self._register.lonely(trait_of(job.principal, job.facts, job.directives, job.query)):
            boarded = await self._board(lonely, job, MISMATCH)
            if isinstance(boarded, Flight):
                return boarded
        return None

    async def _board(self, flight: Flight, job: Job, otherwise: Refusal) -> Flight | Refusal:
        """Take a flight that has the same body; nobody else takes it meanwhile, nor does it end unseen."""
        if flight.clients >= MOST_WAITING:
            return TOO_MANY
        was_lonely = not flight.clients
        flight.board()
        self._register.claim(flight)
        if await self._hash(flight) == await hash_of(job):
            return flight
        flight.clients -= 1
        if was_lonely and not flight.clients:
            self._alone(flight)
        return otherwise

    @staticmethod
    async def _hash(flight: Flight) -> str:
        if flight.hash is None:
            flight.hash = await hash_of(flight.job)
        return flight.hash

    # A flight of one's own

    async def _depart(self, job: Job, presence: Presence, outlet: Outlet | None) -> Result:
        hangar = self._hangar
        name = hangar.new_flight_id()
        key = job.directives.idempotency
        flight = Flight(
            id=name,
            job=replace(job, flight_id=name),
            presence=Presence(),
            born=hangar.clock.monotonic(),
            tape=None if outlet is None else Tape(outlet, hangar.pen.event),
            key=None if key is None else (job.principal.scope, job.facts.endpoint, key),
            is_detached=job.directives.respond_async and not job.facts.stream,
        )
        self._register.add(flight)
        flight.task = asyncio.ensure_future(self._fly(flight))
        flight.task.add_done_callback(partial(self._over, flight))
        if flight.is_detached:
            return self._asking(flight.job).accepted(self._sight(flight), hangar.pen)
        flight.board()
        wake = await self._wait(flight, presence)
        if wake is Wake.LANDED:
            return self._first(flight)
        asking = self._asking(flight.job)
        self._leave(flight, wake)
        return asking.gone(name) if wake is Wake.LEFT else asking.in_progress(name, _so_far(flight))

    async def _fly(self, flight: Flight) -> None:
        """Send for what a flight is for, and take its end."""
        self._land(flight, await self._hangar.loop.run(flight.job, flight.presence, flight.tape))

    def _over(self, flight: Flight, task: "asyncio.Future[None]") -> None:
        """Let nobody wait for a flight that ended otherwise."""
        if task.cancelled():
            bug: BaseException | None = asyncio.CancelledError()
        else:
            bug = task.exception()
        if bug is None:
            return
        if not flight.waiters and not task.cancelled():
            self._hangar.events.emit(
                {"event": "gateway.bug", "request_id": flight.job.request_id, "error": type(bug).__name__}
            )
        flight.fail(bug)
        self._register.remove(flight)
        flight.dispose()

    def _land(self, flight: Flight, result: Result) -> None:
        """Give the end to who waits, or keep it for who comes back."""
        flight.result = result
        if result.body is not None:
            flight.body = SharedBody(result.body)
        elif result.is_written and flight.tape is not None:
            flight.body = SharedBody(flight.tape.whole())
        flight.disarm()
        flight.wake(Wake.LANDED)
        if not flight.clients:
            self._alone(flight)

    # Waiting

    async def _wait(self, flight: Flight, presence: Presence) -> Wake:
        window_s = None if flight.job.facts.stream else self._hangar.window_s
        try:
            return await flight.wait(presence, window_s)
        except asyncio.CancelledError:  # the process ends, and waits for its requests only
            flight.clients -= 1
            if not flight.clients and flight.task is not None:
                flight.task.cancel()
                await asyncio.wait([flight.task])
            raise

    async def _join(self, flight: Flight, job: Job, presence: Presence) -> Result | None:
        """Wait for a flight that another request began; its client is on board. ``None``: it came to nothing."""
        asking = self._asking(job)
        wake = await (self._wait(flight, presence) if flight.tape is None else self._wait_to_read(flight, presence))
        if wake is Wake.BEGUN:
            return await self._settled(self._along(flight, asking))
        if flight.result is not None and wake is Wake.LANDED:
            return await self._give(flight, flight.result, asking)
        self._leave(flight, wake)
        if wake is Wake.LEFT:
            return await self._settled(asking.gone(flight.id))
        return await self._settled(asking.in_progress(flight.id, _so_far(flight)))

    async def _wait_to_read(self, flight: Flight, presence: Presence) -> Wake:
        """Wait for a stream to begin; a client that waits too long for any byte lets it begin."""
        tape = flight.tape
        if tape is None or flight.has_landed:
            return Wake.LANDED
        tape.on_begin = partial(flight.wake, Wake.BEGUN)
        while not tape.has_begun:
            wake = await flight.wait(presence, self._hangar.head_s, reads=True)
            if wake is Wake.WINDOW and not await tape.commit():
                continue
            return Wake.BEGUN if wake is Wake.WINDOW else wake
        return Wake.BEGUN

    def _along(self, flight: Flight, asking: Asking) -> Result:
        """Let a client read a stream that is under way."""
        record = asking.record(200, flight.id, replayed=True)
        return Result(
            status=200,
            record=replace(record, result=replace(record.result, delivery="stream")),
            tape=flight.tape,
            flight_id=flight.id,
            receipt=partial(self._receipt, flight),
        )

    def _leave(self, flight: Flight, wake: Wake) -> None:
        """Take a client off board: it has left, or was told to come back."""
        flight.clients -= 1
        flight.was_left = True
        flight.is_announced = flight.is_announced or wake is Wake.WINDOW
        if not flight.clients:
            self._alone(flight)

    def _alone(self, flight: Flight) -> None:
        """See to a flight that nobody waits for."""
        if flight.result is not None:
            self._keep_or_drop(flight, flight.result)
        elif flight.is_announced and not flight.is_detached:
            self._register.offer(flight)
            flight.timer = asyncio.get_running_loop().call_later(RETURN_S, self._absent, flight)
        elif not flight.is_detached:
            self._absent(flight)

    def _absent(self, flight: Flight) -> None:
        """Take it that the client has left: what was not sent is not bought."""
        flight.timer = None
        if flight.clients or flight.has_landed:
            return
        flight.presence.leave()
        self._register.offer(flight)

    # Landed

    def _first(self, flight: Flight) -> Result:
        """Give its end to the client that began it."""
        result = flight.result
        if result is None:
            raise LookupError("the flight is still under way")
        is_body = result.body is not None and flight.body is not None
        return replace(
            result,
            body=flight.body.share() if is_body and flight.body is not None else None,
            flight_id=None if flight.key is None else flight.id,
            receipt=partial(self._receipt, flight),
        )

    async def _give(self, flight: Flight, first: Result, asking: Asking) -> Result | None:
        """Give its end to a client that came back; ``None``: it ended because nobody was there, and bought nothing."""
        if first.status == CLIENT_CLOSED_REQUEST:
            self._receipt(flight, is_told=False)
            return None
        share = None if flight.body is None else flight.body.share()
        given = asking.again(flight.id, first, share, self._hangar.pen)
        return await self._settled(replace(given, receipt=partial(self._receipt, flight)))

    def _receipt(self, flight: Flight, is_told: bool) -> None:  # noqa: FBT001 (it is called once, by whoever writes)
        """Take it that a client has its answer whole, or has not."""
        flight.clients -= 1
        if not is_told:
            flight.was_left = True
        elif not flight.is_told:
            flight.is_told = True
            if flight.was_left and flight.result is not None:
                self.rescue.add(flight.result.record)
        if not flight.clients:
            self._alone(flight)

    def _keep_or_drop(self, flight: Flight, result: Result) -> None:
        """Keep what somebody may come back for; nobody waits for it now."""
        outcomes = [attempt.outcome for attempt in result.record.attempts]
        flight.state = landed(outcomes, is_answered=flight.body is not None, is_told=flight.is_told)
        is_wanted = flight.is_detached or (flight.is_announced and not flight.is_told)
        is_owed = is_bought(outcomes) and (flight.key is not None or not flight.is_told)
        if flight.is_forgotten or result.status == CLIENT_CLOSED_REQUEST or not (is_wanted or is_owed):
            self._retire(flight)
            return
        if not flight.is_told and not flight.is_detached:
            self._register.offer(flight)
        stay_s = ADOPTION_S if flight.key is None else RETENTION_S
        flight.timer = asyncio.get_running_loop().call_later(stay_s, self._retire, flight)

    def _retire(self, flight: Flight) -> None:
        """Know a flight no more."""
        self._register.remove(flight)
        flight.dispose()

    # Looking

    async def look(self, scope: str, name: str) -> Sight | None:
        """Give a flight of one caller's as it stands."""
        flight = self._register.of_id(name, scope)
        return None if flight is None or flight.is_forgotten else self._sight(flight)

    async def forget(self, scope: str, name: str) -> Sight | None:
        """Let go of a flight: what was not sent is not sent, what was is finished and not kept."""
        flight = self._register.of_id(name, scope)
        if flight is None or flight.is_forgotten:
            return None
        flight.is_forgotten = True
        seen = self._sight(flight)
        if flight.has_landed:
            self._retire(flight)
        else:
            flight.presence.leave()
        return seen

    def _sight(self, flight: Flight) -> Sight:
        so_far, share = _so_far(flight), None if flight.body is None else flight.body.share()
        result = flight.result
        previews = so_far.result.partial_images_received if so_far is not None else None
        return Sight(
            id=flight.id,
            state=flight.now,
            endpoint=flight.job.facts.endpoint,
            request_id=flight.job.request_id,
            created=flight.job.time,
            previews=previews,
            eta_s=None,
            result=None if result is None else replace(result, body=share),
        )

    def _asking(self, job: Job) -> Asking:
        return Asking(job=job, table=self._hangar.table(), now=self._hangar.clock.monotonic())

    async def _settled(self, result: Result) -> Result:
        await self._hangar.settle(result.record)
        return result


def _so_far(flight: Flight) -> Record | None:
    glimpse = flight.presence.glimpse
    return None if glimpse is None else glimpse()
