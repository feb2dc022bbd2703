"""Flights on SQL: written with the ledger's transactions, read beside them.

A row has one of three owners: the server that its flight is under way at, whoever has its answer, or nobody. Which
servers live is the fleet's matter; that a request was sent, and that its server ended, is the ledger's: a flight under
way whose request is interrupted is lost. One whose server has gone and whose request was never begun was never sent,
and is taken off when somebody asks for it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

import orjson
from msgspec.structs import replace
from sqlalchemy import ColumnElement, Engine, RowMapping, bindparam, delete, exists, not_, select, update
from sqlalchemy.exc import SQLAlchemyError

from gateway.core.flights import ADOPTION_S, FLIGHT, FlightId, FlightState
from gateway.core.types import JsonValue
from gateway.ports import LEDGER_WAIT_S, LedgerUnavailable, Refused
from gateway.ports.journal import Entry, Kept, Written
from gateway.stores.commands import Command, Filing, Note, Rescue, epoch_us, from_epoch_us
from gateway.stores.engine import open_engine
from gateway.stores.jsontext import encode
from gateway.stores.place import Access
from gateway.stores.room import Room
from gateway.stores.schema import CUT, OPEN, UNNAMED, RequestState, flights, requests, servers
from gateway.stores.statement import Row, Statement, ignoring, replacing

BUSY_MS = 2_000
MOST_LONELY = 32
THREADS = 4
_UNREADABLE = "the flights could not be read"

ORDER = (
    "flight_id", "scope", "endpoint", "request_id", "server_id", "key_hash", "body_hash", "looks", "state", "is_stream",
    "created_us", "expires_us", "answer",
)  # fmt: skip

OPENED = ignoring(flights, ORDER)
# What is written late, because it had to be tried again, never takes the answer off the file.
LANDED = replacing(flights, ORDER, unless=lambda new: flights.c.answer.is_not(None) & new.answer.is_(None))
ENDED = Statement(
    update(flights)
    .where(flights.c.flight_id == bindparam("the_flight"))
    .values(state=bindparam("new_state"), expires_us=bindparam("new_expires_us"), answer=bindparam("new_answer")),
    ("new_state", "new_expires_us", "new_answer", "the_flight"),
)
EXPIRED = Statement(delete(flights).where(flights.c.expires_us < bindparam("now_us")), ("now_us",))
DELIVERED = Statement(
    update(flights)
    .where(flights.c.flight_id == bindparam("the_flight"), flights.c.state != bindparam("not_yet"))
    .values(state=bindparam("new_state")),
    ("new_state", "the_flight", "not_yet"),
)
UNSENT = Statement(
    delete(flights).where(flights.c.flight_id == bindparam("the_flight"), flights.c.answer.is_(None)), ("the_flight",)
)
REMOVED = Statement(delete(flights).where(flights.c.flight_id == bindparam("the_flight")), ("the_flight",))


class Write(Protocol):
    """Commits a command."""

    async def __call__(self, command: Command, timeout_s: float | None = None, /) -> Refused | None:
        """Give what the books say. Raises ``LedgerUnavailable``."""
        ...


class SqlJournal:
    """Implements ``ports.Journal`` for one event loop; ``write`` commits a command."""

    def __init__(self, engine: Engine, write: Write, server_id: str) -> None:
        self._engine = engine
        self._write = write
        self._server_id = server_id
        self._reading = Room("flights", THREADS, _UNREADABLE)

    async def open(self, entry: Entry, within_s: float = LEDGER_WAIT_S) -> Entry:
        """File a flight, unless one with its key is there; gives the one on file. Raises ``LedgerUnavailable``."""
        steps = ((EXPIRED, (epoch_us(entry.created),)), (OPENED, self._row(entry)))
        added = _filing(entry, Note(steps=steps, must_change=True))
        refused = await self._write(added, within_s)
        if refused is None:
            return entry
        found = await self._look(_same_key(entry), entry.created)
        if found:
            return found[0]
        return entry if await self._write(added, within_s) is None else await self.open(entry, within_s)

    async def depart(self, entry: Entry) -> None:
        """File a flight that is under way. Raises ``LedgerUnavailable``: then it is not on file."""
        await self._write(_filing(entry, Note(steps=((LANDED, self._row(entry)),))))

    async def land(self, entry: Entry) -> None:
        """File the end of a flight. Raises ``LedgerUnavailable``: then it is not on file."""
        await self._write(_filing(entry, Note(steps=((LANDED, self._row(entry)),)), undo=REMOVED))

    async def end(self, entry: Entry) -> bool:
        """File the end of a flight that is on file; ``False``: it was let go of. Raises ``LedgerUnavailable``."""
        answer = None if entry.answer is None else _text(entry.answer)
        row: Row = (entry.state.value, epoch_us(entry.expires), answer, entry.flight_id)
        return await self._write(Note(steps=((ENDED, row),), must_change=True)) is None

    async def find(self, scope: str, name: str, now: datetime) -> Entry | None:
        """Give a flight of one caller's. Raises ``LedgerUnavailable``."""
        found = await self._look((flights.c.flight_id == name) & (flights.c.scope == scope), now)
        return found[0] if found else None

    async def lonely(self, looks: str, now: datetime) -> Sequence[Entry]:
        """Give what no client has the answer of, the oldest first. Raises ``LedgerUnavailable``."""
        found = await self._look(flights.c.looks == looks, now)
        return [one for one in found if one.state not in (FlightState.DELIVERED, FlightState.REFUSED)]

    async def adrift(self, now: datetime) -> bool:
        """Whether anybody's flight of another server's waits for a client. Raises ``LedgerUnavailable``."""
        waiting = exists().where(
            UNNAMED,
            flights.c.expires_us >= epoch_us(now),
            flights.c.server_id != self._server_id,
            flights.c.state.in_((FlightState.SENT.value, FlightState.LATE.value)),
        )
        return await self._reading.ask(partial(self._is_there, waiting))

    async def cut(self, scope: str, endpoint: str, body_hash: str, now: datetime) -> Sequence[Entry]:
        """Give what was sent with this body and never ended, the oldest first. Raises ``LedgerUnavailable``."""
        since_us = epoch_us(now - timedelta(seconds=ADOPTION_S))
        which = (
            (requests.c.body_hash == body_hash)
            & (requests.c.endpoint == endpoint)
            & (requests.c.key_id == scope if scope else requests.c.key_id.is_(None))
            & (requests.c.time_us >= since_us)
        )
        return await self._reading.ask(partial(self._read_cut, which, scope))

    async def claim(self, entry: Entry, now: datetime) -> bool:
        """File one of them, to be told of it; ``False``: somebody was told. Raises ``LedgerUnavailable``."""
        until = now + timedelta(seconds=ADOPTION_S)
        told = replace(entry, state=FlightState.DELIVERED, expires=until)
        return await self._write(Note(steps=((OPENED, self._row(told)),), must_change=True)) is None

    def _is_there(self, what: ColumnElement[bool]) -> bool:
        try:
            with self._engine.begin() as connection:
                return bool(connection.execute(select(what)).scalar_one())
        except SQLAlchemyError as error:
            raise LedgerUnavailable(_UNREADABLE) from error

    def _read_cut(self, which: ColumnElement[bool], scope: str) -> list[Entry]:
        is_filed = exists(select(flights.c.flight_id).where(flights.c.request_id == requests.c.request_id))
        found: list[Entry] = []
        try:
            with self._engine.begin() as connection:
                for state in (CUT, OPEN):  # one index serves each
                    statement = (
                        select(requests)
                        .where(state, which, not_(is_filed))
                        .order_by(requests.c.request_id)
                        .limit(MOST_LONELY)
                    )
                    rows = connection.execute(statement).mappings().all()
                    own = (None, self._server_id)  # ``None``: the ledger has one server
                    found += [_cut(row, scope) for row in rows if state is CUT or row["server_id"] not in own]
        except SQLAlchemyError as error:
            raise LedgerUnavailable("the requests could not be read") from error
        return found

    async def deliver(self, name: FlightId) -> bool:
        """Note that a client gets it; ``False``: another has it. Raises ``LedgerUnavailable``."""
        delivered = FlightState.DELIVERED.value
        return await self._write(Note(steps=((DELIVERED, (delivered, name, delivered)),), must_change=True)) is None

    async def rescued(self, request_id: str, pictures: int) -> None:
        """Note that a client got what was bought for one that had left. Raises ``LedgerUnavailable``."""
        await self._write(Rescue(request_id=request_id, pictures=pictures))

    async def remove(self, name: FlightId) -> None:
        """Take a flight off the file. Raises ``LedgerUnavailable``."""
        await self._write(Note(steps=((REMOVED, (name,)),)))

    def _row(self, entry: Entry) -> Row:
        return (
            entry.flight_id,
            entry.scope,
            entry.endpoint,
            entry.request_id,
            self._server_id,
            entry.key_hash,
            entry.body_hash,
            entry.looks,
            entry.state.value,
            int(entry.is_stream),
            epoch_us(entry.created),
            epoch_us(entry.expires),
            None if entry.answer is None else _text(entry.answer),
        )

    async def _look(self, which: ColumnElement[bool], now: datetime) -> list[Entry]:
        found = await self._reading.ask(partial(self._read, which, epoch_us(now)))
        for entry in found:
            if _never_was(entry):
                await self.remove(entry.flight_id)
        return [entry for entry in found if not _never_was(entry)]

    def _read(self, which: ColumnElement[bool], now_us: int) -> list[Entry]:
        statement = (
            select(flights, requests.c.state.label("request_state"), servers.c.server_id.label("alive"))
            .outerjoin(requests, requests.c.request_id == flights.c.request_id)
            .outerjoin(servers, servers.c.server_id == flights.c.server_id)
            .where(which, flights.c.expires_us >= now_us)
            .order_by(flights.c.flight_id)
            .limit(MOST_LONELY)
        )
        try:
            with self._engine.begin() as connection:
                return self._entries(connection.execute(statement).mappings().all())
        except SQLAlchemyError as error:
            raise LedgerUnavailable(_UNREADABLE) from error

    def _entries(self, rows: Sequence[RowMapping]) -> list[Entry]:
        return [_entry(row, self._server_id) for row in rows]


def _filing(entry: Entry, note: Note, undo: Statement = UNSENT) -> Filing:
    return Filing(note=note, undo=Note(steps=((undo, (entry.flight_id,)),)))


def _never_was(entry: Entry) -> bool:
    """Whether it was never sent and never will be: its server has gone, and it is no refusal that was filed."""
    return entry.state is FlightState.REFUSED and entry.answer is None


def _cut(row: RowMapping, scope: str) -> Entry:
    """Give a request that its server has not ended as the flight that it is."""
    created = from_epoch_us(row["time_us"])
    return Entry(
        flight_id=FlightId(f"{FLIGHT}_{row['request_id'].partition('_')[2]}"),
        scope=scope,
        endpoint=row["endpoint"],
        request_id=row["request_id"],
        key_hash=None,
        body_hash=row["body_hash"],
        looks="",
        state=FlightState.LOST if row["state"] == RequestState.INTERRUPTED.value else FlightState.SENT,
        created=created,
        expires=created + timedelta(seconds=ADOPTION_S),
        is_stream=bool(row["stream"]),
        is_here=False,
    )


def _same_key(entry: Entry) -> ColumnElement[bool]:
    return (
        (flights.c.scope == entry.scope)
        & (flights.c.endpoint == entry.endpoint)
        & (flights.c.key_hash == entry.key_hash)
    )


def _entry(row: RowMapping, here: str) -> Entry:
    entry = Entry(
        flight_id=FlightId(row["flight_id"]),
        scope=row["scope"],
        endpoint=row["endpoint"],
        request_id=row["request_id"],
        key_hash=row["key_hash"],
        body_hash=row["body_hash"],
        looks=row["looks"],
        state=FlightState(row["state"]),
        created=from_epoch_us(row["created_us"]),
        expires=from_epoch_us(row["expires_us"]),
        is_stream=bool(row["is_stream"]),
        is_here=row["server_id"] == here,
        answer=None if row["answer"] is None else _written(row["answer"]),
    )
    return entry if entry.is_here or not entry.state.is_aloft else replace(entry, state=_truth(row))


def _truth(row: RowMapping) -> FlightState:
    """Say how a flight of another server stands that has not filed its end."""
    began = row["request_state"]
    if row["alive"] is not None and began != RequestState.INTERRUPTED.value:  # a settled one is about to be filed
        return FlightState.HELD if began is None else FlightState.SENT
    return FlightState.REFUSED if began is None else FlightState.LOST


def _text(answer: Written) -> str:
    parts: list[JsonValue] = [
        part if isinstance(part, str) else {"sha256": part.sha256, "bytes": part.bytes, "encoded": part.encoded}
        for part in answer.parts
    ]
    return encode(
        {
            "status": answer.status,
            "content_type": answer.content_type,
            "head": [list(pair) for pair in answer.head],
            "parts": parts,
            "pictures": answer.pictures,
            "cost_micro": answer.cost_micro,
            "currency": answer.currency,
        }
    ).decode()


def _written(text: str) -> Written:
    document: Mapping[str, object] = orjson.loads(text)
    return Written(
        status=int(str(document["status"])),
        content_type=str(document["content_type"]),
        head=tuple((str(pair[0]), str(pair[1])) for pair in _items(document["head"]) if isinstance(pair, list)),
        parts=[part if isinstance(part, str) else _kept(part) for part in _items(document["parts"])],
        pictures=int(str(document["pictures"])),
        cost_micro=_whole(document["cost_micro"]),
        currency=None if document["currency"] is None else str(document["currency"]),
    )


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _items(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _kept(part: object) -> Kept:
    found: Mapping[str, object] = part if isinstance(part, dict) else {}
    return Kept(sha256=str(found["sha256"]), bytes=int(str(found["bytes"])), encoded=bool(found["encoded"]))


def open_journal(database_url: str, write: Write, server_id: str) -> SqlJournal:
    """Give the flights of a ledger that was opened, and upgraded before. Raises ``LedgerRefused`` for a bad URL."""
    return SqlJournal(open_engine(database_url, Access.READ, busy_ms=BUSY_MS), write, server_id)
