"""A request that was sent for outlives its client's connection: whoever comes back finds it, nobody buys it twice.

Rules: the attempt loop runs as a task of a flight, and clients wait for the flight, each as long as it is there and no
longer than the client's window; then it is told to come back, and the flight goes on. A client that leaves before
anything was sent takes its request along. What was bought and reached no client is kept for a while, for the same
request to find; what has an Idempotency-Key is on file before it is sent, and its answer is before it is given. What
bought nothing leaves nothing behind. An answer that is given again is the first one, byte for byte, on a record of its
own that cost nothing.
"""

import asyncio
from contextlib import ExitStack
from functools import partial
from typing import Final

from msgspec.structs import replace

from gateway.bodies.tape import Tape
from gateway.core.errand import Errand
from gateway.core.flights import ADOPTION_S, RETENTION_S, RETURN_S, is_bought, landed
from gateway.core.record import Record
from gateway.core.types import Refusal
from gateway.exchange import Presence
from gateway.flights.chores import Chores
from gateway.flights.finding import Finder
from gateway.flights.hangar import Hangar
from gateway.flights.register import Flight, Register, Wake, is_picture
from gateway.flights.replays import IN_PROGRESS, NO_FLIGHT, TAKEN, TO_COME_BACK, Asking
from gateway.flights.rescue import Figures
from gateway.outlet import Outlet
from gateway.ports import Job
from gateway.relay import STOPPED, Refused, Result
from gateway.story import CLIENT_CLOSED_REQUEST

LAST_CHORES_S: Final = 3.0  # what is being filed when the process ends


class Flights:
    """Stands between the web and the attempt loop. One instance serves all requests of the process."""

    def __init__(self, hangar: Hangar) -> None:
        self._hangar = hangar
        self._chores = Chores(hangar.events)
        self.register = Register()
        self._finder = Finder(self.register)
        self.rescue = hangar.archive.rescue

    @property
    def aloft(self) -> int:
        """Flights whose end is still to come."""
        return self.register.aloft

    @property
    def window_s(self) -> float | None:
        """How long a client waits at most; ``None``: no bound."""
        return self._hangar.window_s

    @property
    def figures(self) -> Figures:
        """Give what there is to count."""
        return self.rescue.figures(aloft=self.register.aloft, unclaimed=self.register.unclaimed)

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
        asks = job.directives
        is_marked = asks.idempotency or asks.flight or asks.is_retry
        if is_marked or self._hangar.adrift.anywhere or not self.register.waits_for_nobody:
            with ExitStack() as end:
                end.callback(job.body.close)
                joined = await self._come_back(job, presence)
                if joined is not None:
                    return joined
                end.pop_all()
        return await self._depart(job, presence, outlet)

    async def close(self) -> None:
        """End what is still under way, each settled as it is; the process ends."""
        tasks = [flight.task for flight in self.register if flight.task is not None and not flight.task.done()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._chores.finish(LAST_CHORES_S)
        for flight in self.register:
            flight.dispose()

    # Finding

    async def _come_back(self, job: Job, presence: Presence) -> Result | None:
        """Give what a request gets of the flight that it belongs to; ``None``: there is none, or none any more."""
        while (found := self._finder.find(job)) is not None:
            if found is NO_FLIGHT:
                break
            if isinstance(found, Refusal):
                return await self._settled(self._asking(job).refused(found))
            joined = await self._join(found, job, presence)
            if joined is not None:
                return joined
        filed = await self._filed(job, presence)
        return None if filed is None else await self._settled(filed)

    async def _filed(self, job: Job, presence: Presence) -> Result | None:
        """Give what a request gets of a flight that only the file knows."""
        asks, archive, asking = job.directives, self._hangar.archive, partial(self._asking, job)
        if asks.idempotency is not None:
            return None
        if asks.flight is not None:
            return await archive.named(job, asks.flight, asking, is_gone=lambda: presence.gone)
        if asks.is_retry or (self._hangar.adrift.anywhere and is_picture(job)):
            return await archive.adopt(job, asking, is_gone=lambda: presence.gone)
        return None

    # A flight of one's own

    async def _depart(self, job: Job, presence: Presence, outlet: Outlet | None) -> Result:
        hangar = self._hangar
        name = hangar.new_flight_id()
        key = job.directives.idempotency
        is_lost_without = key is None and is_picture(job)  # a server that ends leaves no other trace of it
        flight = Flight(
            id=name,
            job=replace(job, flight_id=name, body_hash=job.body_map.digest if is_lost_without else None),
            presence=Presence(),
            born=hangar.clock.monotonic(),
            tape=None if outlet is None else Tape(outlet, hangar.pen.event),
            key=None if key is None else (job.principal.scope, job.facts.endpoint, key),
            is_detached=job.directives.respond_async and not job.facts.stream,
        )
        self.register.add(flight)
        flight.task = asyncio.ensure_future(self._fly(flight))
        flight.task.add_done_callback(partial(self._over, flight))
        if flight.is_detached:
            flight.presence.told = TAKEN
            await self._file_departure(flight)
            return self._asking(flight.job).accepted(name, hangar.pen)
        flight.board()
        wake = await self._wait(flight, presence)
        if wake is Wake.LANDED:
            return self._first(flight)
        asking = self._asking(flight.job)
        flight.presence.told = TO_COME_BACK if wake is Wake.WINDOW else None
        await self._leave(flight, wake)
        return asking.gone(name) if wake is Wake.LEFT else asking.in_progress(name, flight.so_far)

    async def _fly(self, flight: Flight) -> None:
        """Send for what a flight is for, and take its end; with a key, from the file and onto it."""
        archive, result = self._hangar.archive, None
        if flight.key is not None:
            result = await self._board(flight)
        if result is not None:
            self._land(flight, await self._settled(result))
            return
        result = await self._hangar.loop.run(flight.job, flight.presence, flight.tape)
        if flight.key is not None and not flight.is_forgotten:
            flight.is_filed = await archive.land(flight, result, flight.take(result))
        self._land(flight, result)

    async def _board(self, flight: Flight) -> Result | None:
        """File a flight under its key; what it ends with if that is filed. The process may end meanwhile."""
        try:
            return await self._hangar.archive.board(flight, partial(self._asking, flight.job))
        except asyncio.CancelledError:
            await self._hangar.settle(self._asking(flight.job).record(STOPPED.status, flight.id, STOPPED.code))
            raise

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
        self.register.remove(flight)
        flight.dispose()

    def _land(self, flight: Flight, result: Result) -> None:
        """Give the end to who waits, or keep it for who comes back; its request's body is of no use any more."""
        flight.result = result
        flight.job.body.close()
        flight.presence.settle(result.record)
        if result.status == CLIENT_CLOSED_REQUEST:  # it came to nothing: who comes now makes his own
            self.register.remove(flight)
        share = flight.take(result)
        if share is not None:
            share.close()
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
        if job.ahead is not None:
            job.ahead.cut()
        asking = self._asking(job)
        wake = await (self._wait(flight, presence) if flight.tape is None else self._wait_to_read(flight, presence))
        if wake is Wake.BEGUN:
            return await self._settled(self._along(flight, asking))
        if flight.result is not None and wake is Wake.LANDED:
            return await self._give(flight, flight.result, asking)
        await self._leave(flight, wake)
        if wake is Wake.LEFT:
            return await self._settled(asking.gone(flight.id))
        await self._hangar.settle(asking.record(503, flight.id, IN_PROGRESS.code))  # the attempts are the flight's own
        return asking.in_progress(flight.id, flight.so_far)

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

    async def _leave(self, flight: Flight, wake: Wake) -> None:
        """Take a client off board: it has left, or was told to come back, which it may do at another server."""
        if wake is Wake.WINDOW:
            await self._file_departure(flight)
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
            self.register.offer(flight)
            flight.timer = asyncio.get_running_loop().call_later(RETURN_S, self._absent, flight)
        elif not flight.is_detached:
            self._absent(flight)

    def _absent(self, flight: Flight) -> None:
        """Take it that the client has left: what was not sent is not bought."""
        flight.timer = None
        if flight.clients or flight.has_landed:
            return
        flight.presence.leave()
        self.register.offer(flight)
        if flight.presence.glimpse is not None:
            self._chores.add(self._file_departure(flight))

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
            flight_id=result.flight_id if flight.key is None else flight.name_for(result),
            receipt=partial(self._receipt, flight),
        )

    async def _give(self, flight: Flight, first: Result, asking: Asking) -> Result | None:
        """Give its end to a client that came back; ``None``: it ended because nobody was there, and bought nothing."""
        if first.status == CLIENT_CLOSED_REQUEST:
            self._receipt(flight, is_told=False)
            return None
        if not await self._taken(flight):
            self.retire(flight)
            return None
        self.rescue.replayed += 1
        share = None if flight.body is None else flight.body.share()
        given = asking.again(first.flight_id or flight.id, first, share, self._hangar.pen)
        return await self._settled(replace(given, receipt=partial(self._receipt, flight)))

    async def _taken(self, flight: Flight) -> bool:
        """Take a flight that anybody may have who comes back; ``False``: another server has given it already."""
        async with flight.filing:
            if not flight.is_on_offer:
                return True
            flight.is_on_offer = False
            return await self._hangar.archive.take(flight.id)

    def _receipt(self, flight: Flight, is_told: bool) -> None:  # noqa: FBT001 (it is called once, by whoever writes)
        """Take it that a client has its answer whole, or has not."""
        flight.clients -= 1
        if not is_told:
            flight.was_left = True
        elif not flight.is_told:
            flight.is_told = True
            if flight.was_left and flight.result is not None and flight.body is not None:
                self._rescued(flight.result.record)
            if flight.was_left and flight.key is None:
                self._chores.add(self._file_delivery(flight))
        if not flight.clients:
            self._alone(flight)

    def _rescued(self, bought: Record) -> None:
        self.rescue.add(bought)
        self._chores.add(self._hangar.archive.rescued(bought.request_id, len(bought.result.images)))

    def _keep_or_drop(self, flight: Flight, result: Result) -> None:
        """Keep what somebody may come back for; nobody waits for it now."""
        outcomes = [attempt.outcome for attempt in result.record.attempts]
        flight.state = landed(outcomes, is_answered=flight.body is not None, is_told=flight.is_told)
        is_wanted = flight.is_detached or (flight.is_announced and not flight.is_told)
        is_owed = is_bought(outcomes) and (flight.key is not None or not flight.is_told)
        if flight.is_forgotten or result.status == CLIENT_CLOSED_REQUEST or not (is_wanted or is_owed):
            if flight.key is None and not flight.is_told:
                self._chores.add(self._file_delivery(flight))  # nobody is to wait for it
            self.retire(flight)
            return
        if flight.key is not None and flight.is_filed:
            self.retire(flight)
            return
        if not flight.is_told and not flight.is_detached:
            self.register.offer(flight)
        if flight.key is None and not flight.is_told:
            self._chores.add(self._file_landing(flight, result))
        is_brief = not is_bought(outcomes) and not flight.is_detached
        stay_s = RETURN_S if is_brief else ADOPTION_S if flight.key is None else RETENTION_S
        flight.timer = asyncio.get_running_loop().call_later(stay_s, self.retire, flight)

    def retire(self, flight: Flight) -> None:
        """Know a flight no more."""
        self.register.remove(flight)
        flight.dispose()

    def _asking(self, job: Job) -> Asking:
        return Asking(job=job, table=self._hangar.table(), now=self._hangar.clock.monotonic())

    async def _settled(self, result: Result) -> Result:
        await self._hangar.settle(result.record)
        return result

    # The file

    async def _file_departure(self, flight: Flight) -> None:
        async with flight.filing:
            if flight.key is None and not flight.has_landed and not flight.is_filed:
                flight.is_filed = await self._hangar.archive.depart(flight)

    async def _file_landing(self, flight: Flight, result: Result) -> None:
        """File what nobody has, so that it outlives the process."""
        share = None if flight.body is None else flight.body.share()
        async with flight.filing:
            flight.is_on_offer = await self._hangar.archive.land(flight, result, share)
            flight.is_filed = flight.is_filed or flight.is_on_offer
        if flight.is_forgotten:  # somebody let go of it at another server
            self.retire(flight)

    async def _file_delivery(self, flight: Flight) -> None:
        async with flight.filing:
            if flight.is_filed:
                await self._hangar.archive.deliver(flight)
