"""Flights on file: whose Idempotency-Key it is, what it ended with, and what became of those of other servers.

Rules: a key is on file before its request is sent, and its answer before it is given, so that after a crash the same
key buys nothing: it gets the answer, or the truth that there is none. Without the file a request with a key is not
made; one without is, and what cannot be filed is kept in memory. A flight that is under way at another server is waited
for, gently; a stream cannot be read across servers, and its caller is told to come back.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Final

from msgspec import Struct
from msgspec.structs import astuple, replace

from gateway.bodies.spool import SpoolFull
from gateway.bodies.tape import original
from gateway.core.flights import ADOPTION_S, RETENTION_S, FlightId, FlightState, is_bought, landed, trait_of
from gateway.core.record import Record, ResultRecord, timestamp
from gateway.core.types import RequestId
from gateway.flights.register import Flight
from gateway.flights.replays import (
    ANSWER_GONE,
    ELSEWHERE,
    LOST,
    MISMATCH,
    NO_FLIGHT,
    OTHER_FLIGHT,
    UNREADABLE,
    Asking,
    Pen,
    Sight,
)
from gateway.flights.rescue import Rescue
from gateway.flights.vault import Vault
from gateway.outlet import Said
from gateway.ports import AnswerBody, Clock, Events, Job, LedgerUnavailable, StoreUnavailable
from gateway.ports.journal import Entry, Journal, Written
from gateway.relay import Result
from gateway.waiting import Waiting

FIRST_PAUSE_S: Final = 0.25
LONGEST_PAUSE_S: Final = 2.0


class Archive(Struct, frozen=True, kw_only=True):
    """Keeps flights on file. One instance serves all requests of the process."""

    journal: Journal
    vault: Vault
    pen: Pen
    clock: Clock
    events: Events
    rescue: Rescue

    async def board(self, flight: Flight, asking: Callable[[], Asking]) -> Result | None:
        """File a flight under its key before it is sent; what it ends with when another has that key."""
        body_hash = flight.hash
        pause_s = FIRST_PAUSE_S
        try:
            entry = await self._open(flight, body_hash)
            while entry.flight_id != flight.id:
                if entry.body_hash != body_hash:
                    return asking().refused(MISMATCH)
                if flight.presence.gone:
                    return asking().gone(entry.flight_id)
                told = await self._told(entry, asking)
                if told is not None:
                    await self._given(entry)
                    return told
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
                entry = await self._open(flight, body_hash)
        except LedgerUnavailable:
            return asking().refused(UNREADABLE)
        return None

    async def _open(self, flight: Flight, body_hash: str) -> Entry:
        with Waiting(flight.job.wait):
            return await self.journal.open(self._entry(flight, body_hash, FlightState.HELD), flight.job.wait.left_s)

    async def adopt(self, job: Job, asking: Callable[[], Asking], *, is_gone: Callable[[], bool]) -> Result | None:
        """Give the end of a flight on file that no client has, for the same request; ``None``: there is none."""
        body_hash = job.body_map.digest
        looks = looks_of(job, body_hash)
        try:
            with Waiting(job.wait):
                lonely = await self.journal.lonely(looks, self.clock.now())
            told = await self._left(lonely, asking, is_gone)
            if told is not None or not job.directives.is_retry:
                return told
            return await self._lost(job, body_hash, asking, is_gone)
        except LedgerUnavailable:
            return None

    async def named(self, job: Job, name: str, asking: Callable[[], Asking], *, is_gone: Callable[[], bool]) -> Result:
        """Give the end of a flight on file that a request names."""
        try:
            with Waiting(job.wait):
                entry = await self.journal.find(job.principal.scope, name, self.clock.now())
            if entry is None or entry.endpoint != job.facts.endpoint:
                return asking().refused(NO_FLIGHT)
            if entry.body_hash != job.body_map.digest:
                return asking().refused(OTHER_FLIGHT)
            return await self._take(entry, asking, is_gone) or asking().refused(NO_FLIGHT)
        except LedgerUnavailable:
            return asking().refused(UNREADABLE)

    async def _left(
        self, lonely: Sequence[Entry], asking: Callable[[], Asking], is_gone: Callable[[], bool]
    ) -> Result | None:
        for entry in lonely:
            told = None if entry.is_here else await self._take(entry, asking, is_gone)
            if told is not None:
                return told
        return None

    async def _lost(
        self, job: Job, body_hash: str, asking: Callable[[], Asking], is_gone: Callable[[], bool]
    ) -> Result | None:
        """Say of a request whose server ended before it that it is lost; of one whose server may have, once it has."""
        scope, endpoint = job.principal.scope, job.facts.endpoint
        pause_s = FIRST_PAUSE_S
        with Waiting(job.wait):
            found = await self.journal.cut(scope, endpoint, body_hash, self.clock.now())
        seen = {entry.request_id for entry in found}
        if not seen:
            return None
        while seen and not is_gone():
            for entry in found:
                if entry.state is FlightState.LOST and await self.journal.claim(entry, self.clock.now()):
                    self.rescue.lost += 1
                    return asking().told(LOST, entry.flight_id)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
            found = await self.journal.cut(scope, endpoint, body_hash, self.clock.now())
            seen.intersection_update(entry.request_id for entry in found)  # what comes meanwhile is not waited for
        lonely = await self.journal.lonely(looks_of(job, body_hash), self.clock.now())
        return await self._left(lonely, asking, is_gone)

    async def has(self, flight: Flight) -> bool:
        """Whether a flight that was filed still is; without the file it is."""
        try:
            return await self.journal.find(flight.job.principal.scope, flight.id, self.clock.now()) is not None
        except LedgerUnavailable:
            return True

    async def look(self, scope: str, name: str) -> Sight | None:
        """Give a flight on file as it stands; nothing when the file cannot be had."""
        try:
            entry = await self.journal.find(scope, name, self.clock.now())
            return None if entry is None else await self._sight(entry)
        except (LedgerUnavailable, StoreUnavailable):
            return None

    async def _sight(self, entry: Entry) -> Sight:
        answer, result = entry.answer, None
        if answer is not None and await self.vault.has(answer.parts):
            result = Result(
                status=answer.status,
                record=_bare(entry, answer.status),
                body=self.vault.open(answer.parts),
                content_type=answer.content_type,
                head=_wire(answer.head),
                is_written=entry.is_stream,
            )
        elif answer is not None or not entry.state.is_aloft or entry.is_here:
            error = LOST if answer is None else ANSWER_GONE
            result = Result(status=error.status, record=_bare(entry, error.status), error=error)
        return Sight(
            id=entry.flight_id,
            state=entry.state if answer is not None or result is None else FlightState.LOST,
            endpoint=entry.endpoint,
            request_id=entry.request_id,
            created=entry.created,
            result=result,
        )

    async def depart(self, flight: Flight) -> bool:
        """File a flight under way that nobody waits for, so that other servers find it; whether it is on file."""
        return await self._tried(self.journal.depart(self._entry(flight, flight.hash, FlightState.SENT)), flight)

    async def land(self, flight: Flight, result: Result, body: AnswerBody | None) -> bool:
        """File the end of a flight, or that it came to nothing; whether it is on file. Closes ``body``."""
        outcomes = [attempt.outcome for attempt in result.record.attempts]
        is_looked_for = flight.is_detached and flight.key is None  # whatever came of it
        if not is_bought(outcomes) and not is_looked_for:
            if body is not None:
                body.close()
            return await self._tried(self.journal.remove(flight.id), flight)
        state = landed(outcomes, is_answered=body is not None, is_told=flight.is_told)
        kept = Said(self.pen.error(result)) if body is None else body
        try:
            parts = await self.vault.keep(original(kept))
        except (StoreUnavailable, SpoolFull) as full:
            self._report(flight, str(full))
            return False
        finally:
            kept.close()
        cost = result.record.cost
        head = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in self.pen.head(result))
        written = Written(
            status=result.status,
            content_type="text/event-stream; charset=utf-8" if result.is_written else result.content_type,
            head=head,
            parts=parts,
            pictures=len(result.record.result.images),
            cost_micro=None if cost is None else cost.amount_micro,
            currency=None if cost is None else cost.currency,
        )
        entry = replace(self._entry(flight, flight.hash, state), answer=written)
        if flight.key is None and not flight.is_filed:
            return await self._tried(self.journal.land(entry), flight)
        try:
            is_wanted = await self.journal.end(entry)
        except LedgerUnavailable as lost:
            self._report(flight, str(lost))
            return False
        flight.is_forgotten = not is_wanted
        return is_wanted

    async def deliver(self, flight: Flight) -> None:
        """Note that a client has its answer: only its key finds it now."""
        if flight.key is None:
            await self._tried(self.journal.remove(flight.id), flight)

    async def take(self, flight_id: FlightId) -> bool:
        """Take a flight off the offer; ``False``: somebody else has it. Without the file whoever asks gets it."""
        try:
            return await self.journal.deliver(flight_id)
        except LedgerUnavailable:
            return True

    async def rescued(self, request_id: str, pictures: int) -> None:
        """Note, for the sums, that a client got what a request had bought for one that had left."""
        with suppress(LedgerUnavailable):  # it is written as soon as the ledger can be
            await self.journal.rescued(request_id, pictures)

    async def remove(self, flight_id: FlightId) -> None:
        """Take a flight off the file. Raises ``LedgerUnavailable``."""
        await self.journal.remove(flight_id)

    async def _take(self, entry: Entry, asking: Callable[[], Asking], is_gone: Callable[[], bool]) -> Result | None:
        """Take a flight of another server's, once it has landed; ``None``: somebody else has it, or it is nothing."""
        pause_s = FIRST_PAUSE_S
        found: Entry | None = entry
        while found is not None and not is_gone():
            told = await self._told(found, asking)
            if told is not None:
                return told if found.state.is_aloft or await self._given(found) else None
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
            found = await self.journal.find(entry.scope, entry.flight_id, self.clock.now())
        return None

    async def _given(self, entry: Entry) -> bool:
        """Note that a client gets it; whether it is the first."""
        if entry.state.is_aloft or not await self.journal.deliver(entry.flight_id):
            return False
        if entry.state is FlightState.LATE and entry.answer is not None:
            self.rescue.count(entry.answer.pictures, entry.answer.cost_micro, entry.answer.currency)
            await self.rescued(entry.request_id, entry.answer.pictures)
        return True

    async def _told(self, entry: Entry, asking: Callable[[], Asking]) -> Result | None:
        """Say what a flight on file ended with; ``None``: it is under way at another server."""
        answer = entry.answer
        if answer is None and entry.state.is_aloft and not entry.is_here:
            return asking().refused(ELSEWHERE) if entry.is_stream else None
        if answer is None:
            self.rescue.lost += 1
            return asking().told(LOST, entry.flight_id)
        try:
            if not await self.vault.has(answer.parts):
                return asking().told(ANSWER_GONE, entry.flight_id)
        except StoreUnavailable:
            return asking().refused(UNREADABLE)
        self.rescue.replayed += 1
        made = asking().record(answer.status, entry.flight_id, replayed=True)
        is_stream = answer.content_type.startswith("text/event-stream")
        delivery = "stream" if is_stream else "b64_json" if answer.pictures else "none"
        return Result(
            status=answer.status,
            record=replace(made, result=replace(made.result, delivery=delivery)),
            body=self.vault.open(answer.parts),
            content_type=answer.content_type,
            flight_id=entry.flight_id,
            head=_wire(answer.head),
        )

    def _entry(self, flight: Flight, body_hash: str, state: FlightState) -> Entry:
        job, now = flight.job, self.clock.now()
        return Entry(
            flight_id=flight.id,
            scope=job.principal.scope,
            endpoint=job.facts.endpoint,
            request_id=job.request_id,
            key_hash=job.directives.idempotency,
            body_hash=body_hash,
            looks=looks_of(job, body_hash),
            state=state,
            created=job.time,
            expires=now + timedelta(seconds=ADOPTION_S if flight.key is None else RETENTION_S),
            is_stream=job.facts.stream,
        )

    async def _tried(self, writing: Awaitable[None], flight: Flight) -> bool:
        try:
            await writing
        except LedgerUnavailable as lost:
            self._report(flight, str(lost))
            return False
        return True

    def _report(self, flight: Flight, reason: str) -> None:
        self.events.emit(
            {
                "event": "flights.not_filed",
                "time": timestamp(self.clock.now()),
                "request_id": flight.job.request_id,
                "flight_id": flight.id,
                "reason": reason,
            }
        )


def _wire(head: Sequence[tuple[str, str]]) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in head)


def _bare(entry: Entry, status: int) -> Record:
    return Record(
        time=entry.created,
        request_id=RequestId(entry.request_id),
        endpoint=entry.endpoint,
        stream=entry.is_stream,
        result=ResultRecord(status=status),
        latency_ms=0.0,
    )


def looks_of(job: Job, body_hash: str) -> str:
    """Hash all that makes two requests the same: who asks, what, where, and with which bytes.

    The prompt is among the bytes; its own hash may be keyed otherwise at another server.
    """
    trait = replace(trait_of(job.principal, job.facts, job.directives, job.query), prompt_hash=None)
    return hashlib.sha256(repr((*astuple(trait), body_hash)).encode("utf-8", "replace")).hexdigest()
