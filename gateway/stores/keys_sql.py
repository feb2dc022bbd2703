"""Virtual keys on SQL: what the door knows of them in memory, and the desk where they are made and changed.

The door asks with every request. What was found is kept in memory, and so is what was not, both up to a bound; a
thread asks four times a second which keys have changed and forgets those, so that what any process did is known within
a second. What is older than that is never believed: then the next reading is waited for, and when none comes in time
nobody is let in. A database that does not answer holds up two threads of this room and no other. Balances are not kept
at all.

The desk writes short transactions beside a running server. ``changed`` numbers every change of what the door must
know, in the order in which they are committed.
"""

import asyncio
import math
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from functools import partial
from typing import Final

from cachetools import LRUCache
from msgspec import Struct
from sqlalchemy import Connection, Engine, and_, case, func, or_, select, update
from sqlalchemy.exc import SQLAlchemyError

from gateway.core.keys import KeyFacts, KeyRow, NewKey
from gateway.core.ledger import CREDITS, Kind
from gateway.ports import LedgerUnavailable
from gateway.stores.commands import epoch_us
from gateway.stores.engine import only_one, open_engine
from gateway.stores.holds import ENTERED
from gateway.stores.key_rows import facts_of, new_row, row_of
from gateway.stores.place import Access
from gateway.stores.room import Room
from gateway.stores.schema import keys
from gateway.stores.statement import adding

POLL_S: Final = 0.25
FRESH_S: Final = 0.9
WAIT_S: Final = 2.0  # for a reading and one key, together
LOOK_AGAIN_S: Final = 0.02
LOOKING: Final = 2  # threads that look up single keys
CACHED: Final = 10_000
BUSY_MS: Final = 2_000
WRITE_BUSY_MS: Final = 10_000

_UNREADABLE: Final = "the keys could not be read"

CREATED = adding(
    keys,
    (
        "key_id", "digest", "hint", "changed", "terms", "is_admin", "created_us", "expires_us", "credits",
        "credits_held", "budget_micro", "window_no", "spent_micro", "held_micro",
    ),
)  # fmt: skip


class _Known(Struct, frozen=True, kw_only=True):
    """How all keys stand: the number of the last change, and whether one of them opens the operator's calls."""

    changed: int
    rule: bool
    read_at: float


class SqlKeys:
    """Implements ``ports.Keys``; made by ``open_keys``, ended by ``close``."""

    def __init__(self, engine: Engine, *, poll_s: float = POLL_S) -> None:
        self._engine = engine
        self._poll_s = poll_s
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._found: LRUCache[str, KeyFacts] = LRUCache(CACHED)
        self._absent: LRUCache[str, bool] = LRUCache(CACHED)
        self._known: _Known | None = None
        self._failed_at = -math.inf
        self._looking = Room("key", LOOKING, _UNREADABLE, WAIT_S)
        self._thread = threading.Thread(target=self._watch, name="keys", daemon=True)
        self._thread.start()

    async def exist(self) -> bool:
        """Whether a key was ever made. Raises ``LedgerUnavailable``."""
        return (await self._standing()).changed > 0

    async def rule(self) -> bool:
        """Whether there is a key that opens the operator's calls. Raises ``LedgerUnavailable``."""
        return (await self._standing()).rule

    async def find(self, digest: str) -> KeyFacts | None:
        """Give the key of this digest; ``None``: there is none. Raises ``LedgerUnavailable``."""
        asked_at = time.monotonic()
        await self._standing()
        with self._lock:
            if digest in self._absent:
                return None
            known = self._found.get(digest)
        if known is not None:
            return known
        return await self._looking.ask(partial(self._look, digest), asked_at + WAIT_S - time.monotonic())

    def close(self) -> None:
        """End the thread; idempotent."""
        self._ended.set()
        self._looking.close()
        self._thread.join(WAIT_S)
        self._engine.dispose()

    async def _standing(self) -> _Known:
        asked_at = time.monotonic()
        while True:
            known, now = self._known, time.monotonic()
            if known is not None and now - known.read_at <= FRESH_S:
                return known
            if self._failed_at >= asked_at or now - asked_at > WAIT_S:
                raise LedgerUnavailable(_UNREADABLE)
            await asyncio.sleep(LOOK_AGAIN_S)

    def _watch(self) -> None:
        while True:
            try:
                self._reread()
            except LedgerUnavailable:
                self._failed_at = time.monotonic()  # who waits for a reading is told
            if self._ended.wait(self._poll_s):
                return

    def _reread(self) -> None:
        """Forget the keys that have changed."""
        before = self._known
        seen = before.changed if before else 0
        asked_at = time.monotonic()
        with self._reading() as connection:
            changed = connection.execute(select(func.max(keys.c.changed))).scalar() or 0
            if before is not None and changed == seen:
                known = _Known(changed=changed, rule=before.rule, read_at=asked_at)
                fresh: Sequence[str] = ()
            else:
                fresh = connection.execute(select(keys.c.digest).where(keys.c.changed > seen)).scalars().all()
                known = _Known(changed=changed, rule=_rules(connection), read_at=asked_at)
        with self._lock:
            for digest in fresh:
                self._found.pop(digest, None)
                self._absent.pop(digest, None)
            if self._known is None or self._known.read_at <= asked_at:
                self._known = known

    def _look(self, digest: str) -> KeyFacts | None:
        before = self._known
        with self._reading() as connection:
            cell = connection.execute(select(keys).where(keys.c.digest == digest)).mappings().first()
        found = None if cell is None else facts_of(cell)
        with self._lock:
            if before is not None and self._known is not None and self._known.changed == before.changed:
                if found is None:
                    self._absent[digest] = True
                else:
                    self._found[digest] = found
        return found

    def _reading(self) -> AbstractContextManager[Connection]:
        return _transaction(self._engine, _UNREADABLE)


class SqlKeyDesk:
    """Implements ``ports.KeyOffice``; made by ``open_key_desk``."""

    def __init__(self, reading: Engine, writing: Engine) -> None:
        self._reading = reading
        self._writing = writing

    def create(self, key_id: str, text: str, terms: NewKey, now: datetime) -> None:
        """Keep a new key; of ``text``, the key itself, only the digest is kept. Raises ``LedgerUnavailable``."""
        with self._change() as connection:
            CREATED.one(connection, new_row(key_id, text, terms, now, _next_change(connection)))
            if terms.credits:
                _grant(connection, key_id, key_id, terms.credits, now)

    def listed(self, now: datetime) -> Sequence[KeyRow]:
        """Give all keys, newest first. Raises ``LedgerUnavailable``."""
        with _transaction(self._reading, "the keys could not be read") as connection:
            cells = connection.execute(select(keys).order_by(keys.c.key_id.desc())).mappings().all()
        return [row_of(cell, now) for cell in cells]

    def revoke(self, key_id: str, now: datetime) -> bool:
        """End a key for ever; ``False``: there is none of this id. Raises ``LedgerUnavailable``."""
        with self._change() as connection:
            live = update(keys).where(keys.c.key_id == key_id, keys.c.revoked_us.is_(None))
            ended = connection.execute(live.values(revoked_us=epoch_us(now), changed=_next_change(connection)))
            if ended.rowcount:
                return True
            return connection.execute(select(keys.c.key_id).where(keys.c.key_id == key_id)).first() is not None

    def credit(self, key_id: str, grant_id: str, amount: int, now: datetime) -> KeyRow | None:
        """Add to a key's balance; ``None``: no such key, or it was revoked. Raises ``LedgerUnavailable``."""
        with self._change() as connection:
            live = update(keys).where(keys.c.key_id == key_id, keys.c.revoked_us.is_(None))
            added = connection.execute(live.values(credits=func.coalesce(keys.c.credits, 0) + amount))
            if not added.rowcount:
                return None
            _grant(connection, grant_id, key_id, amount, now)
            cell = connection.execute(select(keys).where(keys.c.key_id == key_id)).mappings().one()
            return row_of(cell, now)

    def _change(self) -> AbstractContextManager[Connection]:
        return _transaction(self._writing, "the keys could not be written")


def open_keys(database_url: str) -> SqlKeys:
    """Give what the door asks, of a ledger that was opened before. Raises ``LedgerRefused`` for a bad URL."""
    return SqlKeys(open_engine(database_url, Access.READ, busy_ms=BUSY_MS, pool=LOOKING + 1))


def open_key_desk(database_url: str) -> SqlKeyDesk:
    """Give the desk of a ledger that was opened, and so upgraded, before. Raises ``LedgerRefused`` for a bad URL."""
    return SqlKeyDesk(
        open_engine(database_url, Access.READ, busy_ms=BUSY_MS),
        open_engine(database_url, Access.WRITE, busy_ms=WRITE_BUSY_MS),
    )


class KeyCount(Struct, frozen=True, kw_only=True):
    """How many keys were ever made, and how many of them open anything at this moment."""

    made: int
    good: int


def count_keys(database_url: str, now: datetime) -> KeyCount:
    """Count the keys of a ledger. Raises ``LedgerRefused`` for a bad URL, and ``LedgerUnavailable``."""
    engine = open_engine(database_url, Access.READ, busy_ms=BUSY_MS)
    is_live = and_(keys.c.revoked_us.is_(None), or_(keys.c.expires_us.is_(None), keys.c.expires_us > epoch_us(now)))
    counted = select(func.count(), func.coalesce(func.sum(case((is_live, 1), else_=0)), 0)).select_from(keys)
    with _transaction(engine, "the keys could not be read") as connection:
        made, good = connection.execute(counted).one()
        return KeyCount(made=made, good=int(good))


@contextmanager
def _transaction(engine: Engine, fault: str) -> Iterator[Connection]:
    try:
        with engine.begin() as connection:
            yield connection
    except SQLAlchemyError as error:
        raise LedgerUnavailable(fault) from error


def _next_change(connection: Connection) -> int:
    """Number a change; whoever has a number commits before the next one is given."""
    only_one(connection)
    last: int = connection.execute(select(func.coalesce(func.max(keys.c.changed), 0))).scalar_one()
    return last + 1


def _rules(connection: Connection) -> bool:
    ruling = select(keys.c.key_id).where(keys.c.is_admin == 1, keys.c.revoked_us.is_(None)).limit(1)
    return connection.execute(ruling).first() is not None


def _grant(connection: Connection, name: str, key_id: str, amount: int, now: datetime) -> None:
    ENTERED.one(connection, (name, Kind.GRANT.value, 0, CREDITS, key_id, amount, epoch_us(now)))
