"""Finds the flight that a request belongs to, among those that this process knows.

Rules: by its Idempotency-Key, else by the flight's id, else by its looks, among flights that no client waits for and
none has the answer of. The bodies decide: they are compared, by their hashes, before anybody is let on board, and the
flight is nobody else's meanwhile.
"""

from collections.abc import Callable

from gateway.aloft import Flight, Register, hash_of
from gateway.core.flights import MOST_WAITING, trait_of
from gateway.core.types import Refusal
from gateway.ports import Job
from gateway.replays import MISMATCH, NO_FLIGHT, OTHER_FLIGHT, TOO_MANY


class Finder:
    """Looks through the register. ``alone`` sees to a flight that nobody waits for."""

    def __init__(self, register: Register, alone: Callable[[Flight], None]) -> None:
        self._register = register
        self._alone = alone

    async def find(self, job: Job) -> Flight | Refusal | None:
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
        if await _hash(flight) == await hash_of(job):
            return flight
        flight.clients -= 1
        if was_lonely and not flight.clients:
            self._alone(flight)
        return otherwise


async def _hash(flight: Flight) -> str:
    if flight.hash is None:
        flight.hash = await hash_of(flight.job)
    return flight.hash
