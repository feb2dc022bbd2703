"""Finds the flight that a request belongs to, among those that this process knows.

Rules: by its Idempotency-Key, else by the flight's id, else by its looks, among flights that no client waits for and
none has the answer of. The bodies decide: they are compared, by their hashes, before anybody is let on board, and the
flight is nobody else's meanwhile.
"""

from gateway.core.flights import MOST_WAITING, trait_of
from gateway.core.types import Refusal
from gateway.flights.register import Flight, Register
from gateway.flights.replays import MISMATCH, NO_FLIGHT, OTHER_FLIGHT, TOO_MANY
from gateway.ports import Job


class Finder:
    """Looks through the register."""

    def __init__(self, register: Register) -> None:
        self._register = register

    def find(self, job: Job) -> Flight | Refusal | None:
        """Give the flight that a request belongs to; its client is on board then."""
        key = job.directives.idempotency
        scope, endpoint = job.principal.scope, job.facts.endpoint
        flight = self._register.of_key((scope, endpoint, key)) if key is not None else None
        if flight is not None:
            return self._board(flight, job, MISMATCH)
        if key is not None:
            return None
        if job.directives.flight is not None:
            named = self._register.of_id(job.directives.flight, scope)
            if named is None or named.job.facts.endpoint != endpoint:
                return NO_FLIGHT
            return self._board(named, job, OTHER_FLIGHT)
        for lonely in self._register.lonely(trait_of(job.principal, job.facts, job.directives, job.query)):
            boarded = self._board(lonely, job, MISMATCH)
            if isinstance(boarded, Flight):
                return boarded
        return None

    def _board(self, flight: Flight, job: Job, otherwise: Refusal) -> Flight | Refusal:
        """Take a flight that has the same body; it is nobody else's to take then."""
        if flight.clients >= MOST_WAITING:
            return TOO_MANY
        if flight.hash != job.body_map.digest:
            return otherwise
        flight.board()
        self._register.claim(flight)
        return flight
