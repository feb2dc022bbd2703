"""The ledger as the command line reads it: newest first, by key, beside a running server or without one.

Each call is one short read transaction on its own connection, so it sees one moment and never keeps the server's
write-ahead log from being folded back. Nothing is created or written: a data directory without a database reads as
empty.
"""

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby

import orjson
from msgspec import Struct
from sqlalchemy import Connection, RowMapping, Select, select
from sqlalchemy.exc import DBAPIError

from gateway.core.money import Cost, CostState
from gateway.core.types import AttemptId, JsonObject, RequestId
from gateway.ports import LogQuery
from gateway.stores.commands import from_epoch_us
from gateway.stores.engine import open_engine
from gateway.stores.place import Access, Place, place
from gateway.stores.refusals import LedgerRefused
from gateway.stores.schema import (
    FAILED,
    HEAD,
    AttemptState,
    RequestState,
    attempts,
    refuse_newer,
    requests,
    stored_revision,
)

BUSY_MS = 5_000
IDS_PER_QUERY = 500  # well below the number of parameters a statement may have


class AttemptRow(Struct, frozen=True, kw_only=True):
    """One attempt as committed; ``outcome`` and what follows are absent while its state is ``sent``."""

    attempt_id: AttemptId
    n: int
    channel: str
    owner: str
    row: str
    surface: str
    region: str | None
    sent_model: str
    started: datetime
    state: AttemptState
    outcome: str | None
    failure: str | None
    detail: str | None
    status: int | None
    duration_ms: int | None
    cost: Cost | None  # while it is under way: what it may cost at most


class LogRow(Struct, frozen=True, kw_only=True):
    """One request. ``record`` is absent while it is open, and for ever when it was interrupted.

    ``owner`` and ``channel`` of a request that is not done are those of its last attempt.
    """

    request_id: RequestId
    time: datetime
    endpoint: str
    asked_model: str | None
    owner: str | None
    channel: str | None
    status: int | None
    failure: str | None
    state: RequestState
    config_version: str | None
    key_id: str | None
    team: str | None
    stream: bool | None  # absent in the rows of older versions
    record: JsonObject | None
    attempts: tuple[AttemptRow, ...]


class Reader:
    """Reads one ledger; made by ``open_reader``. Safe to use from any thread."""

    def __init__(self, where: Place) -> None:
        self._place = where
        self._engine = open_engine(where, Access.READ, busy_ms=BUSY_MS)

    def page(self, query: LogQuery) -> list[LogRow]:
        """Give at most ``query.limit`` requests, newest first. Raises ``LedgerRefused``.

        ``failed`` takes failed and refused requests (status 400 and more) and interrupted ones.
        """
        return self._read(_page(query))

    def find(self, request_id: str) -> LogRow | None:
        """Give one request, or nothing. Raises ``LedgerRefused``."""
        rows = self._read(select(requests).where(requests.c.request_id == request_id))
        return rows[0] if rows else None

    def _read(self, statement: Select[*tuple[object, ...]]) -> list[LogRow]:
        if not self._place.is_there:
            return []
        try:
            with self._engine.begin() as connection:
                return rows_of(connection, statement) if has_ledger(connection) else []
        except DBAPIError as error:
            raise LedgerRefused(f"the ledger {self._place} cannot be read: {error.orig}") from error


def open_reader(database_url: str) -> Reader:
    """Give a reader of the ledger at ``database_url``, which need not exist. Raises ``LedgerRefused`` for a bad URL."""
    return Reader(place(database_url))


def has_ledger(connection: Connection) -> bool:
    """Whether an open database holds a ledger of this version. Raises ``LedgerRefused`` for another version's."""
    revision = stored_revision(connection)
    refuse_newer(revision)
    if revision not in {None, HEAD}:
        raise LedgerRefused(f"the ledger has the older schema {revision}: start the server once to upgrade it")
    return revision is not None


def _page(query: LogQuery) -> Select[*tuple[object, ...]]:
    statement = select(requests).order_by(requests.c.request_id.desc()).limit(query.limit)
    if query.before is not None:
        statement = statement.where(requests.c.request_id < query.before)
    if query.after is not None:
        statement = statement.where(requests.c.request_id > query.after)
    if query.owner is not None:
        statement = statement.where(requests.c.owner == query.owner)
    if query.model is not None:
        statement = statement.where(requests.c.asked_model == query.model)
    if query.failed:
        statement = statement.where(FAILED)
    return statement


def rows_of(connection: Connection, statement: Select[*tuple[object, ...]]) -> list[LogRow]:
    """Give the requests that ``statement`` selects, whole, with their attempts. Raises SQLAlchemy's errors."""
    found = connection.execute(statement).mappings().all()
    tried = _attempts(connection, [row["request_id"] for row in found])
    return [_log_row(row, tried.get(row["request_id"], ())) for row in found]


def _attempts(connection: Connection, request_ids: Sequence[str]) -> dict[str, tuple[AttemptRow, ...]]:
    tried: dict[str, tuple[AttemptRow, ...]] = {}
    for start in range(0, len(request_ids), IDS_PER_QUERY):
        statement = (
            select(attempts)
            .where(attempts.c.request_id.in_(request_ids[start : start + IDS_PER_QUERY]))
            .order_by(attempts.c.request_id, attempts.c.n)
        )
        rows = connection.execute(statement).mappings().all()
        for request_id, group in groupby(rows, key=lambda row: str(row["request_id"])):
            tried[request_id] = tuple(_attempt_row(row) for row in group)
    return tried


def _log_row(cell: RowMapping, tried: tuple[AttemptRow, ...]) -> LogRow:
    return LogRow(
        request_id=RequestId(cell["request_id"]),
        time=from_epoch_us(cell["time_us"]),
        endpoint=cell["endpoint"],
        asked_model=cell["asked_model"],
        owner=cell["owner"],
        channel=cell["channel"],
        status=cell["status"],
        failure=cell["failure"],
        state=RequestState(cell["state"]),
        config_version=cell["config_version"],
        key_id=cell["key_id"],
        team=cell["team"],
        stream=None if cell["stream"] is None else bool(cell["stream"]),
        record=None if cell["record"] is None else _judged(orjson.loads(cell["record"]), cell["verdict"]),
        attempts=tried,
    )


def _judged(record: JsonObject, verdict: str | None) -> JsonObject:
    """Put the verdict on a record, which was written before there could be one."""
    return record if verdict is None else {**record, "verdict": verdict}


def _attempt_row(cell: RowMapping) -> AttemptRow:
    return AttemptRow(
        attempt_id=AttemptId(cell["attempt_id"]),
        n=cell["n"],
        channel=cell["channel"],
        owner=cell["owner"],
        row=cell["row"],
        surface=cell["surface"],
        region=cell["region"],
        sent_model=cell["sent_model"],
        started=from_epoch_us(cell["started_us"]),
        state=AttemptState(cell["state"]),
        outcome=cell["outcome"],
        failure=cell["failure"],
        detail=cell["detail"],
        status=cell["status"],
        duration_ms=cell["duration_ms"],
        cost=None if cell["cost_state"] is None else _cost(cell),
    )


def _cost(cell: RowMapping) -> Cost:
    return Cost(
        state=CostState(cell["cost_state"]),
        unit=cell["cost_unit"],
        amount_micro=cell["cost_micro"],
        currency=cell["cost_currency"],
        exposure_micro=cell["exposure_micro"],
        price_id=cell["price_id"],
    )
