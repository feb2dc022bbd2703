"""The ledger as the operator's calls read it: in threads and on connections of its own, beside the writer.

Each call is one short read transaction, so it sees one moment. At most ``THREADS`` run at once; others wait their turn,
and requests are served meanwhile: neither the event loop nor the writer is ever held up by a reader.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from msgspec.structs import replace
from sqlalchemy import Connection, Engine, select
from sqlalchemy.exc import SQLAlchemyError

from gateway.core.spend import Usage, UsageQuery
from gateway.core.types import JsonObject
from gateway.ports import LedgerUnavailable
from gateway.ports.readings import RequestPage, RequestQuery
from gateway.stores.engine import open_engine
from gateway.stores.listing import find_ids
from gateway.stores.place import Access
from gateway.stores.reader import rows_of
from gateway.stores.schema import requests
from gateway.stores.unsettled import record_of
from gateway.stores.usage import sums

THREADS = 4
BUSY_MS = 2_000
MOST_ROWS = 500  # of a page; well below the number of parameters a statement may have

T = TypeVar("T")


class SqlReadings:
    """Implements ``ports.Readings``; made by ``open_readings``, ended by ``close``."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="readings")

    async def requests(self, query: RequestQuery) -> RequestPage:
        """Give a page of at most ``MOST_ROWS`` records. Raises ``LedgerUnavailable``."""
        return await self._read(
            lambda connection: page_in(connection, replace(query, limit=min(query.limit, MOST_ROWS)))
        )

    async def request(self, request_id: str) -> JsonObject | None:
        """Give one record, or nothing. Raises ``LedgerUnavailable``."""
        return await self._read(lambda connection: next(iter(_records(connection, [request_id])), None))

    async def usage(self, query: UsageQuery) -> Sequence[Usage]:
        """Sum up requests and attempts. Raises ``LedgerUnavailable``."""
        return await self._read(lambda connection: sums(connection, query))

    def close(self) -> None:
        """End the threads once they are done; idempotent."""
        self._threads.shutdown(cancel_futures=True)
        self._engine.dispose()

    async def _read(self, what: Callable[[Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._in_thread, what)

    def _in_thread(self, what: Callable[[Connection], T]) -> T:
        try:
            with self._engine.begin() as connection:
                return what(connection)
        except SQLAlchemyError as error:
            raise LedgerUnavailable("the ledger could not be read") from error


def open_readings(database_url: str) -> SqlReadings:
    """Give the readings of a ledger that was opened, and upgraded before. Raises ``LedgerRefused`` for a bad URL."""
    return SqlReadings(open_engine(database_url, Access.READ, busy_ms=BUSY_MS, pool=THREADS))


def page_in(connection: Connection, query: RequestQuery) -> RequestPage:
    """Give a page of records from an open ledger. Raises SQLAlchemy's errors."""
    ids, after = find_ids(connection, query)
    return RequestPage(data=_records(connection, ids), next=after)


def _records(connection: Connection, ids: Sequence[str]) -> list[JsonObject]:
    if not ids:
        return []
    wanted = select(requests).where(requests.c.request_id.in_(ids)).order_by(requests.c.request_id.desc())
    return [record_of(row) for row in rows_of(connection, wanted)]
