"""The ledger on SQL: an intent is on the disk before a byte of its attempt leaves, a settlement before the answer ends.

What a caller may rely on:
- ``begin`` returned: the attempt is committed. It stays visible through kill -9, as ``interrupted`` with outcome
  ``unknown`` after the next start.
- ``begin`` raised ``LedgerUnavailable`` or was cancelled: the caller must not send. Nothing is written, but for one
  case: the commit was under way when the caller left. That row is corrected to ``ended``, ``not_sent``, detail
  ``ledger_timeout`` by the next transaction; should the process die between the two, it is recovered as
  ``unknown``. The ledger may so claim too much, never too little.
- ``settle`` raised: the settlement is kept and tried again until it is written or the ledger closes (``close`` says how
  many were not). Only one that ends nothing that was begun is let go of, when thousands wait already. Settling twice
  changes nothing; settling a request that never began writes its row.

A server of a SQLite file holds the lock file next to it; other processes read, or write short transactions, without.
"""

import asyncio
import math
import time
from contextlib import ExitStack

from sqlalchemy.exc import SQLAlchemyError

from gateway.ports import LEDGER_WAIT_S, AttemptIntent, Hold, LedgerUnavailable, Refused, RequestIntent, Settlement
from gateway.stores import holds, migrate
from gateway.stores.commands import Command, Probe, Reply, Sweep, beginning, settling
from gateway.stores.engine import open_engine, writing_threads
from gateway.stores.fleet_sql import SqlFleet, open_fleet
from gateway.stores.lockfile import ServerLock
from gateway.stores.place import Access, Place, place
from gateway.stores.recovery import recover_all
from gateway.stores.refusals import LedgerRefused
from gateway.stores.sqlite import create_private
from gateway.stores.writer import Writer

COMMIT_TIMEOUT_S = LEDGER_WAIT_S  # how long a request waits for its commit
CLOSE_GRACE_S = 5.0
FRESH_S = 5.0  # a commit this young shows that the ledger can be written
PROBE_TIMEOUT_S = 1.0
SWEEP_S = 10.0  # how often holds whose time is over are looked for
OPENING_BUSY_MS = 10_000  # at start another process's short transaction is waited for
WRITER_BUSY_MS = 250  # the writer wakes this often to see who has given up


class SqlLedger:
    """Implements ``ports.Ledger`` for one event loop; made by ``open_ledger``."""

    def __init__(
        self,
        where: Place,
        *,
        lock: ServerLock | None = None,
        fleet: SqlFleet | None = None,
        commit_timeout_s: float = COMMIT_TIMEOUT_S,
    ) -> None:
        self._place = where
        self._lock = lock
        self.fleet = fleet  # of a server whose ledger others may share
        self._commit_timeout_s = commit_timeout_s
        self._swept = -math.inf
        engine = open_engine(where, Access.WRITE, busy_ms=WRITER_BUSY_MS)
        self._writer = Writer(engine, threads=writing_threads(where))

    @property
    def commits(self) -> int:
        """Transactions committed by this process so far."""
        return self._writer.commits

    @property
    def unwritten(self) -> int:
        """Settlements that could not be written yet; they are tried again."""
        return self._writer.unwritten

    @property
    def queued(self) -> int:
        """Commands that wait or are being written."""
        return self._writer.depth

    async def fault(self) -> str | None:
        """Say why the ledger cannot be written; ``None``: it can, as a commit of just now shows."""
        if time.monotonic() - self._writer.committed_at < FRESH_S:
            return None
        try:
            await self.write(Probe(), PROBE_TIMEOUT_S)
        except LedgerUnavailable as lost:
            return str(lost)
        return None

    async def begin(
        self,
        intent: RequestIntent | None,
        attempt: AttemptIntent,
        hold: Hold | None = None,
        within_s: float = LEDGER_WAIT_S,
    ) -> Refused | None:
        """Commit the intent (with the request on its first attempt), and what it holds of its key, or neither.

        Raises ``LedgerUnavailable``.
        """
        self._sweep(hold)
        if self.fleet is not None and self.fleet.has_lapsed:
            raise LedgerUnavailable("the ledger has not heard of this server for too long")
        server_id = None if self.fleet is None else self.fleet.server_id
        command = beginning(intent, attempt, hold, server_id=server_id)
        return await self.write(command, min(within_s, self._commit_timeout_s))

    async def settle(self, settlement: Settlement, within_s: float = LEDGER_WAIT_S) -> None:
        """Commit the end of a request, whether or not it ever began; idempotent. Raises ``LedgerUnavailable``."""
        await self.write(settling(settlement), min(within_s, self._commit_timeout_s))

    def recover(self) -> int:
        """Mark as interrupted what runs that ended left open; how many requests. Blocks; before the first ``begin``.

        Whose ledger others share leaves theirs alone: see ``fleet_sql``. Raises ``LedgerRefused`` when it cannot be
        written.
        """
        if (self._lock is None and self.fleet is None) or self._writer.accepted:
            raise RuntimeError("only a server recovers, and before its first request")
        try:
            if self.fleet is not None:
                return self.fleet.enlist()
            with open_engine(self._place, Access.WRITE, busy_ms=OPENING_BUSY_MS).begin() as connection:
                left = recover_all(connection)
                holds.expire(connection, time.time_ns() // 1000, only_overdue=False)
                return left
        except SQLAlchemyError as error:
            raise LedgerRefused(f"the ledger {self._place} cannot be recovered: {_reason(error)}") from error

    def _sweep(self, hold: Hold | None) -> None:
        """Close overdue holds now and then, beside a begin that takes one; nobody waits for it."""
        if hold is None or time.monotonic() - self._swept < SWEEP_S:
            return
        self._swept = time.monotonic()
        self._writer.put(Sweep(now_us=time.time_ns() // 1000), None)

    def close(self) -> int:
        """Write what waits, end the thread, give the lock back; how many settlements stay unwritten. Idempotent."""
        unwritten = self._writer.close(CLOSE_GRACE_S)
        if self.fleet is not None:
            self.fleet.close()
        if self._lock is not None:
            self._lock.release()
        return unwritten

    async def write(self, command: Command, timeout_s: float | None = None) -> Reply:
        """Commit one command, together with all that wait with it; what the books say. Raises ``LedgerUnavailable``."""
        timeout_s = self._commit_timeout_s if timeout_s is None else timeout_s
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Reply] = loop.create_future()
        ticket = self._writer.put(command, done)
        overdue = loop.call_later(timeout_s, _expire, done)  # cheaper than asyncio.timeout, twice a request
        try:
            return await done
        except TimeoutError:
            self._writer.give_up(ticket)
            raise LedgerUnavailable(f"the ledger did not commit within {timeout_s:g} s") from None
        except asyncio.CancelledError:
            self._writer.give_up(ticket)
            raise
        finally:
            overdue.cancel()


def open_ledger(database_url: str, *, serve: bool, commit_timeout_s: float = COMMIT_TIMEOUT_S) -> SqlLedger:
    """Open the ledger, creating or upgrading it. ``serve`` takes the server's lock; ``recover`` is a separate step.

    Raises ``LedgerRefused`` (``LedgerBusy``, ``SchemaTooNew``) with a sentence for the operator.
    """
    where = place(database_url)
    try:
        with ExitStack() as undo:
            lock = None
            if where.file is not None:
                create_private(where.file)
                lock = ServerLock(where.file) if serve else None
            if lock is not None:
                undo.callback(lock.release)
            migrate.upgrade(open_engine(where, Access.WRITE, busy_ms=OPENING_BUSY_MS))
            fleet = open_fleet(where) if serve and where.is_shared else None
            ledger = SqlLedger(where, lock=lock, fleet=fleet, commit_timeout_s=commit_timeout_s)
            undo.pop_all()
            return ledger
    except (OSError, SQLAlchemyError) as error:
        raise LedgerRefused(f"the ledger {where} cannot be opened for writing: {_reason(error)}") from error


def upgrade_ledger(database_url: str) -> None:
    """Create or upgrade the ledger for who writes to it without serving. Raises ``LedgerRefused``."""
    where = place(database_url)
    try:
        if where.file is not None:
            create_private(where.file)
        migrate.upgrade(open_engine(where, Access.WRITE, busy_ms=OPENING_BUSY_MS))
    except (OSError, SQLAlchemyError) as error:
        raise LedgerRefused(f"the ledger {where} cannot be opened for writing: {_reason(error)}") from error


def _expire(done: asyncio.Future[Reply]) -> None:
    if not done.done():
        done.set_exception(TimeoutError())


def _reason(error: OSError | SQLAlchemyError) -> str:
    if isinstance(error, OSError):
        return error.strerror or "input/output error"
    return str(getattr(error, "orig", None) or error)
