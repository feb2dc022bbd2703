"""The seam to what is on file of flights: a row per flight that somebody may come back for, on any server."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from msgspec import Struct

from gateway.core.flights import FlightId, FlightState
from gateway.ports.books import LEDGER_WAIT_S


class Kept(Struct, frozen=True, kw_only=True):
    """A piece of an answer that is kept under its hash; ``encoded``: it stands in the answer as base64."""

    sha256: str
    bytes: int
    encoded: bool


class Written(Struct, frozen=True, kw_only=True):
    """An answer on file: its head, and its body as texts and kept pieces, in order.

    ``pictures``: that it delivers; ``cost_micro`` and ``currency``: what it cost, where that is known.
    """

    status: int
    content_type: str
    head: tuple[tuple[str, str], ...]
    parts: Sequence[str | Kept]
    pictures: int = 0
    cost_micro: int | None = None
    currency: str | None = None


class Entry(Struct, frozen=True, kw_only=True):
    """A flight on file. ``looks``: the hash of all that makes two requests the same; ``answer``: once it has landed.

    ``is_here``: this server's own flight; ``state`` is ``lost`` for one whose server ended.
    """

    flight_id: FlightId
    scope: str
    endpoint: str
    request_id: str
    key_hash: str | None
    body_hash: str
    looks: str
    state: FlightState
    created: datetime
    expires: datetime
    is_stream: bool = False
    is_here: bool = True
    answer: Written | None = None


class Journal(Protocol):
    """Flights on file. Every method raises ``LedgerUnavailable``; times are given in."""

    async def open(self, entry: Entry, within_s: float = LEDGER_WAIT_S) -> Entry:
        """File a flight, unless one with its Idempotency-Key is there; gives the one that is on file.

        ``within_s``: how long the ledger is waited for. After ``LedgerUnavailable`` it is not on file.
        """
        ...

    async def depart(self, entry: Entry) -> None:
        """File a flight without a key that is under way. After ``LedgerUnavailable`` it is not on file."""
        ...

    async def land(self, entry: Entry) -> None:
        """File the end of a flight that was not on file. After ``LedgerUnavailable`` it is not."""
        ...

    async def end(self, entry: Entry) -> bool:
        """File the end of a flight that is on file; ``False``: it was let go of, and stays off."""
        ...

    async def find(self, scope: str, name: str, now: datetime) -> Entry | None:
        """Give a flight of one caller's."""
        ...

    async def lonely(self, looks: str, now: datetime) -> Sequence[Entry]:
        """Give the flights of these looks that no client has the answer of, the oldest first."""
        ...

    async def adrift(self, now: datetime) -> bool:
        """Whether any flight without a key is on file that no client has the answer of, of another server's."""
        ...

    async def cut(self, scope: str, endpoint: str, body_hash: str, now: datetime) -> Sequence[Entry]:
        """Give the requests of one caller with this body that their servers have not ended, the oldest first.

        Such a one is ``lost`` when its server has gone, and else ``sent``. None is on file as a flight.
        """
        ...

    async def claim(self, entry: Entry, now: datetime) -> bool:
        """File one that is lost, because a client is told so; ``False``: another was told before."""
        ...

    async def deliver(self, name: FlightId) -> bool:
        """Note that a client gets it; ``False``: another has it."""
        ...

    async def rescued(self, request_id: str, pictures: int) -> None:
        """Note that a client got what a request had bought for one that had left; the first who says so is right."""
        ...

    async def remove(self, name: FlightId) -> None:
        """Take a flight off the file."""
        ...
