"""The bindings on SQL: written with the ledger's transactions, read beside them.

What an id is bound to never changes while it is bound, so what was read once is kept in memory, up to a bound. An id
that is not there is looked up each time: it may come with the next answer. Reads run in threads of their own
and never wait for the writer; one that takes too long is not waited for.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from functools import partial

from cachetools import LRUCache
from sqlalchemy import ColumnElement, Engine, select
from sqlalchemy.exc import SQLAlchemyError

from gateway.core.bindings import Binding
from gateway.ports import LedgerUnavailable
from gateway.stores.commands import Command, binds, unbinds
from gateway.stores.engine import open_engine
from gateway.stores.place import Access
from gateway.stores.room import Room
from gateway.stores.schema import bindings

CACHED = 10_000  # ids; some 4 MB
IDS_PER_QUERY = 500
BUSY_MS = 2_000
POOL = 4  # requests that look something up at the same time
_UNREADABLE = "the bindings could not be read"

Write = Callable[[Command], Awaitable[object]]


class SqlBindings:
    """Implements ``ports.Bindings`` for one event loop; ``write`` commits a command."""

    def __init__(self, engine: Engine, write: Write, *, cached: int = CACHED) -> None:
        self._engine = engine
        self._write = write
        self._reading = Room("bindings", POOL, _UNREADABLE)
        self._known: LRUCache[tuple[str, str], Binding] = LRUCache(cached)

    async def find(self, key: str, ids: Sequence[str]) -> Mapping[str, Binding]:
        """Give what is bound to ``key``; an id that is not has no entry. Raises ``LedgerUnavailable``."""
        found = {name: known for name in ids if (known := self._known.get((name, key))) is not None}
        missing = [name for name in dict.fromkeys(ids) if name not in found]
        if missing:
            read = await self._reading.ask(partial(self._read, key, missing))
            self._known.update({(name, key): owner for name, owner in read.items()})
            found.update(read)
        return found

    async def held(self, ids: Sequence[str]) -> frozenset[str]:
        """Give those of ``ids`` that are bound to any key. Raises ``LedgerUnavailable``."""
        return frozenset(await self._reading.ask(partial(self._read, None, ids)))

    async def bind(self, key: str, ids: Sequence[str], binding: Binding, at: datetime) -> None:
        """Commit that ``ids`` belong together; one that is bound stays as it is. Raises ``LedgerUnavailable``."""
        fresh = [name for name in dict.fromkeys(ids) if (name, key) not in self._known]
        if fresh:
            await self._write(binds(key, fresh, binding, at))

    async def unbind(self, key: str, name: str) -> None:
        """Commit that ``key`` has this id no more. Raises ``LedgerUnavailable``."""
        self._known.pop((name, key), None)
        await self._write(unbinds(key, name))
        self._known.pop((name, key), None)  # a request may have read it in between

    def close(self) -> None:
        """Close the connections that are kept; idempotent."""
        self._reading.close()
        self._engine.dispose()

    def _read(self, key: str | None, ids: Sequence[str]) -> dict[str, Binding]:
        statement = select(bindings.c.bound_id, bindings.c.channel, bindings.c.fingerprint)
        if key is not None:
            statement = statement.where(bindings.c.key_id == key)
        asked = [name for name in ids if "\0" not in name]  # nothing has such an id, and a server would not be asked
        pages = [asked[start : start + IDS_PER_QUERY] for start in range(0, len(asked), IDS_PER_QUERY)]
        try:
            with self._engine.begin() as connection:
                rows = [row for page in pages for row in connection.execute(statement.where(_is_one_of(page)))]
        except SQLAlchemyError as error:
            raise LedgerUnavailable(_UNREADABLE) from error
        return {name: Binding(channel=channel, fingerprint=account) for name, channel, account in rows}


def _is_one_of(ids: Sequence[str]) -> ColumnElement[bool]:
    return bindings.c.bound_id.in_(ids)


def open_bindings(database_url: str, write: Write) -> SqlBindings:
    """Give the bindings of a ledger that was opened, and upgraded before. Raises ``LedgerRefused`` for a bad URL."""
    return SqlBindings(open_engine(database_url, Access.READ, busy_ms=BUSY_MS, pool=POOL), write)
