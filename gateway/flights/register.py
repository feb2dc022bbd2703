"""Flights that this process knows: under way, or landed and still of use to somebody; and who waits for each.

Rules: a flight belongs to one caller and one surface; it is found by its id, by its Idempotency-Key, or, while no
client waits for it and none has its answer, by what its request looks like. Whoever takes it by its looks takes it out
of there, so that one answer serves one. All of it happens on the event loop; nothing here waits but for clients.
"""

import asyncio
from collections.abc import Iterator
from datetime import datetime
from enum import Enum, auto
from typing import Final

from msgspec import Struct, field

from gateway.bodies.tape import SharedBody, Tape
from gateway.core.flights import FlightId, FlightState, Trait, is_bought, trait_of
from gateway.core.record import Record
from gateway.core.types import RequestId
from gateway.exchange import Presence
from gateway.ports import AnswerBody, Job
from gateway.relay import Result

MOST_DELIVERED: Final = 1_000  # of which it is known that they were

Key = tuple[str, str, str]  # scope, endpoint, hash of the Idempotency-Key


class Wake(Enum):
    """What ends a client's wait."""

    LANDED = auto()
    BEGUN = auto()  # a stream has something to read
    LEFT = auto()
    WINDOW = auto()


class Flight(Struct, eq=False, kw_only=True):
    """One flight. ``clients``: who waits for it, or is being given its answer; ``presence`` is theirs together.

    ``was_left``: a client of it has gone, or was told to come back; ``is_told``: a client has its answer.
    """

    id: FlightId
    job: Job
    presence: Presence
    born: float
    tape: Tape | None = None
    key: Key | None = None
    state: FlightState = FlightState.HELD
    clients: int = 0
    waiters: set[asyncio.Future[Wake]] = field(default_factory=set)
    readers: set[asyncio.Future[Wake]] = field(default_factory=set)  # of those, who reads a stream as it comes
    task: asyncio.Future[None] | None = None
    result: Result | None = None
    body: SharedBody | None = None
    was_left: bool = False
    is_told: bool = False
    is_announced: bool = False  # a client was told to come back for it
    is_detached: bool = False  # a client said that it will not wait
    is_forgotten: bool = False
    is_filed: bool = False
    is_on_offer: bool = False  # its end is on file, and who comes to another server may take it
    filing: asyncio.Lock = field(default_factory=asyncio.Lock)
    timer: asyncio.TimerHandle | None = None

    @property
    def has_landed(self) -> bool:
        """Whether its end is known."""
        return self.result is not None

    @property
    def hash(self) -> str:
        """What tells its request's body from another."""
        return self.job.body_map.digest

    @property
    def trait(self) -> Trait:
        """What its request looks like."""
        return trait_of(self.job.principal, self.job.facts, self.job.directives, self.job.query)

    @property
    def now(self) -> FlightState:
        """How far it is."""
        if self.state is FlightState.HELD and self.presence.glimpse is not None:
            return FlightState.SENT
        return self.state

    @property
    def so_far(self) -> Record | None:
        """The record of its request as it stands, once something may have been sent."""
        glimpse = self.presence.glimpse
        return None if glimpse is None else glimpse()

    def name_for(self, result: Result) -> FlightId | None:
        """Give the id by which its client finds it again by its key; ``None``: nobody does, it is not kept."""
        is_kept = is_bought(attempt.outcome for attempt in result.record.attempts)
        return result.flight_id or (self.id if is_kept else None)

    def board(self) -> None:
        """Say that one more client waits."""
        self.disarm()
        self.clients += 1
        self.presence.come_back()

    def wake(self, reason: Wake) -> None:
        """End the wait of all who wait for that."""
        for waiter in self.readers if reason is Wake.BEGUN else self.waiters:
            _set(waiter, reason)

    def fail(self, bug: BaseException) -> None:
        """Let all who wait fail as the flight did."""
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_exception(bug)

    async def wait(self, presence: Presence, window_s: float | None, *, reads: bool = False) -> Wake:
        """Wait for the end, for the client to leave, or for ``window_s`` to be over; ``None``: as long as it takes.

        ``reads``: a stream that has begun is enough.
        """
        if self.has_landed:
            return Wake.LANDED
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[Wake] = loop.create_future()
        self.waiters.add(waiter)
        if reads:
            self.readers.add(waiter)
        timer = None if window_s is None else loop.call_later(window_s, _set, waiter, Wake.WINDOW)
        presence.watch(lambda: _set(waiter, Wake.LEFT))
        try:
            return await waiter
        finally:
            presence.watch(None)
            self.waiters.discard(waiter)
            self.readers.discard(waiter)
            if timer is not None:
                timer.cancel()

    def take(self, result: Result) -> AnswerBody | None:
        """Take its answer; gives a share of it, to be closed."""
        if self.body is None and result.body is not None:
            self.body = SharedBody(result.body)
        elif self.body is None and result.is_written and self.tape is not None:
            self.body = SharedBody(self.tape.whole())
        return None if self.body is None else self.body.share()

    def disarm(self) -> None:
        """Stop the clock that runs for it."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def dispose(self) -> None:
        """Let go of its answer; who is reading it reads on."""
        self.disarm()
        self.job.body.close()
        if self.body is not None:
            self.body.close()
        if self.tape is not None:
            self.tape.close()


def _set(waiter: asyncio.Future[Wake], reason: Wake) -> None:
    if not waiter.done():
        waiter.set_result(reason)


def is_picture(job: Job) -> bool:
    """Whether a request may buy a picture."""
    return job.facts.surface.is_images or job.facts.tool is not None


class Delivered(Struct, frozen=True, kw_only=True):
    """What is left of a flight that was delivered: whose it was, and the request that began it."""

    scope: str
    endpoint: str
    id: RequestId
    time: datetime


class Register:
    """Knows all flights of the process."""

    def __init__(self) -> None:
        self._by_id: dict[str, Flight] = {}
        self._by_key: dict[Key, Flight] = {}
        self._lonely: dict[Trait, list[Flight]] = {}
        self._delivered: dict[str, Delivered] = {}

    def __iter__(self) -> Iterator[Flight]:
        return iter(tuple(self._by_id.values()))

    @property
    def aloft(self) -> int:
        """Flights whose end is still to come."""
        return sum(not flight.has_landed for flight in self._by_id.values())

    @property
    def unattended(self) -> int:
        """Flights under way that no client waits for."""
        return sum(not (flight.has_landed or flight.clients) for flight in self._by_id.values())

    @property
    def unclaimed(self) -> int:
        """Flights that no client waits for, and none has the answer of."""
        return sum(map(len, self._lonely.values()))

    @property
    def waits_for_nobody(self) -> bool:
        """Whether no flight waits for a client to come back."""
        return not self._lonely

    def add(self, flight: Flight) -> None:
        """Know a flight."""
        self._by_id[flight.id] = flight
        if flight.key is not None:
            self._by_key[flight.key] = flight

    def remove(self, flight: Flight) -> None:
        """Know it no more, but that it was delivered, when a client was given its id."""
        self._by_id.pop(flight.id, None)
        if flight.is_announced and flight.is_told and flight.key is None and not flight.is_forgotten:
            job = flight.job
            said = Delivered(scope=job.principal.scope, endpoint=job.facts.endpoint, id=job.request_id, time=job.time)
            self._delivered[flight.id] = said
            if len(self._delivered) > MOST_DELIVERED:
                del self._delivered[next(iter(self._delivered))]
        if flight.key is not None and self._by_key.get(flight.key) is flight:
            del self._by_key[flight.key]
        self.claim(flight)

    def of_id(self, name: str, scope: str) -> Flight | None:
        """Give a flight of one caller."""
        flight = self._by_id.get(name)
        is_his = flight is not None and flight.job.principal.scope == scope and not flight.is_forgotten
        return flight if is_his else None

    def delivered(self, name: str, scope: str) -> Delivered | None:
        """Give what is left of a flight of one caller, once it was delivered."""
        said = self._delivered.get(name)
        return None if said is None or said.scope != scope else said

    def forget(self, name: str) -> None:
        """Know nothing of a delivered one any more."""
        self._delivered.pop(name, None)

    def of_key(self, key: Key) -> Flight | None:
        """Give the flight that has an Idempotency-Key."""
        flight = self._by_key.get(key)
        return None if flight is None or flight.is_forgotten else flight

    def lonely(self, trait: Trait) -> tuple[Flight, ...]:
        """Give the flights of these looks that no client waits for, the oldest first."""
        return tuple(self._lonely.get(trait, ()))

    def offer(self, flight: Flight) -> None:
        """Let a flight be found by its looks."""
        same = self._lonely.setdefault(flight.trait, [])
        if flight not in same:
            same.append(flight)

    def claim(self, flight: Flight) -> None:
        """Let it be found by its looks no more."""
        if not self._lonely:
            return
        trait = flight.trait
        same = self._lonely.get(trait)
        if same is not None and flight in same:
            same.remove(flight)
            if not same:
                del self._lonely[trait]
