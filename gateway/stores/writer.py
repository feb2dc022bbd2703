"""The ledger's one writing thread: it takes all waiting commands, runs them in one transaction, answers them together.

Rules:
- A command that the database refuses for its own sake (a duplicate, an unknown request) fails alone: the batch is
  rolled back and run again with a savepoint around each command.
- While another process holds the lock, commands wait; each caller decides how long.
- A begin nobody waits for any more is dropped while it waits; once it is being committed, a ``Void`` follows it.
- A settlement is told to its caller as failed and *kept*: it is tried again until it is written or the writer closes.
- While settlements are kept no begin is accepted: what cannot be recorded is not bought.
- The queue is bounded, kept settlements included; the thread never dies silently (what comes later is refused).
"""

import asyncio
import math
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

from gateway.ports import LedgerUnavailable
from gateway.stores.commands import Begin, Command, Passing, run, voiding
from gateway.stores.sqlite import is_busy

QUEUE_LIMIT = 4_096
RETRY_S = 1.0
CLOSED = "the ledger is closed"

# What one command's own values can make the database or its driver raise.
REFUSALS = (SQLAlchemyError, ArithmeticError, TypeError, ValueError)


@dataclass(slots=True, kw_only=True, eq=False)
class Ticket:
    """A command on its way; ``taken`` and ``given_up`` change only under the writer's lock."""

    command: Command
    done: asyncio.Future[None] | None
    taken: bool = field(default=False)
    given_up: bool = field(default=False)


Verdict = tuple[Ticket, str | None]  # the sentence of a failure, or None


class Writer:
    """Owns the thread and its connection. ``put`` and ``give_up`` belong to the event loop; one loop per writer."""

    def __init__(self, engine: Engine, *, queue_limit: int = QUEUE_LIMIT, retry_s: float = RETRY_S) -> None:
        self._engine = engine
        self._limit = queue_limit
        self._retry_s = retry_s
        self._changed = threading.Condition()
        self._waiting: list[Ticket] = []
        self._kept: list[Ticket] = []
        self._in_hand: list[Ticket] = []
        self._stop_at: float | None = None
        self._tried_last = False
        self._alive = True
        self.accepted = 0
        self.commits = 0
        self.committed_at = -math.inf  # time.monotonic() of the last commit, unless one failed since
        self._thread = threading.Thread(target=self._live, name="ledger-writer", daemon=True)
        self._thread.start()

    @property
    def unwritten(self) -> int:
        """Settlements that failed, or still wait, and are not in the database yet."""
        with self._changed:
            tickets = [*self._kept, *self._in_hand, *self._waiting]
        return sum(not isinstance(ticket.command, Passing) for ticket in tickets)

    @property
    def depth(self) -> int:
        """Commands that wait or are being written."""
        with self._changed:
            return len(self._kept) + len(self._in_hand) + len(self._waiting)

    def put(self, command: Command, done: asyncio.Future[None]) -> Ticket:
        """Queue one command; ``done`` is resolved on its loop. Raises ``LedgerUnavailable`` when full or closed."""
        ticket = Ticket(command=command, done=done)
        with self._changed:
            if self._stop_at is not None or not self._alive:
                raise LedgerUnavailable(CLOSED)
            if self._kept and isinstance(command, Begin):
                raise LedgerUnavailable("the ledger has settlements it could not write yet")
            if len(self._waiting) + len(self._kept) >= self._limit:
                raise LedgerUnavailable("the ledger's queue is full")
            self.accepted += 1
            self._waiting.append(ticket)
            self._changed.notify()
        return ticket

    def give_up(self, ticket: Ticket) -> None:
        """Say that nobody waits for this begin: it is dropped, or voided when it is being committed already."""
        if not isinstance(ticket.command, Passing):
            return
        with self._changed:
            ticket.given_up = True
            if isinstance(ticket.command, Begin) and ticket.taken and self._alive:
                self._waiting.append(Ticket(command=voiding(ticket.command.attempt_id), done=None))
                self._changed.notify()

    def close(self, grace_s: float) -> int:
        """Write what waits, for at most ``grace_s``, and end; how many settlements could not be written."""
        with self._changed:
            if self._stop_at is None:
                self._stop_at = time.monotonic() + grace_s
            self._changed.notify()
        self._thread.join(grace_s + RETRY_S)
        return self.unwritten

    # --- everything below runs in the thread ---

    def _live(self) -> None:
        try:
            with self._engine.connect() as connection:
                while batch := self._next():
                    self._write(connection, batch)
        finally:
            with self._changed:
                self._alive = False
                left, self._in_hand, self._waiting = self._in_hand + self._waiting, [], []
                self._keep(left)
            self._answer([(ticket, CLOSED) for ticket in left])

    def _next(self) -> list[Ticket]:
        with self._changed:
            retry = False
            while not (self._waiting or retry or self._stop_at is not None):
                woken = self._changed.wait(self._retry_s if self._kept else None)
                retry = bool(self._kept) and not woken
            if self._stop_at is not None and not self._waiting:
                if self._tried_last:
                    return []
                self._tried_last = True
            self._in_hand, self._kept, self._waiting = self._kept + self._waiting, [], []
            return self._in_hand

    def _write(self, connection: Connection, batch: list[Ticket]) -> None:
        try:
            with connection.begin():
                batch = self._take(batch)
                run(connection, [ticket.command for ticket in batch])
        except OperationalError as error:
            self._fail(connection, batch, error)
        except REFUSALS:
            self._write_singly(connection, batch)
        else:
            self._committed()
            self._answer([(ticket, None) for ticket in batch])

    def _write_singly(self, connection: Connection, batch: list[Ticket]) -> None:
        try:
            with connection.begin():
                verdicts = [(ticket, _attempt(connection, ticket)) for ticket in batch]
        except SQLAlchemyError as error:
            self._fail(connection, batch, error)
        else:
            self._committed()
            self._answer(verdicts)

    def _committed(self) -> None:
        self.commits += 1
        self.committed_at = time.monotonic()

    def _take(self, batch: list[Ticket]) -> list[Ticket]:
        with self._changed:
            wanted = [ticket for ticket in batch if not ticket.given_up]
            for ticket in wanted:
                ticket.taken = True
        return wanted

    def _fail(self, connection: Connection, batch: list[Ticket], error: SQLAlchemyError) -> None:
        if is_busy(error) and not self._is_overdue():
            with self._changed:
                self._waiting = [ticket for ticket in batch if not ticket.given_up] + self._waiting
                self._in_hand = []
            return
        with suppress(SQLAlchemyError):
            connection.invalidate()  # the next begin opens a new connection: no state of this transaction survives
        with self._changed:
            self._keep(batch)
            self._in_hand = []
        self.committed_at = -math.inf
        self._answer([(ticket, f"the ledger could not commit: {_cause(error)}") for ticket in batch])

    def _keep(self, batch: list[Ticket]) -> None:
        self._kept += [ticket for ticket in batch if not isinstance(ticket.command, Passing)]

    def _is_overdue(self) -> bool:
        return self._stop_at is not None and time.monotonic() > self._stop_at

    def _answer(self, verdicts: Sequence[Verdict]) -> None:
        with self._changed:
            self._in_hand = []
        waited = [verdict for verdict in verdicts if verdict[0].done is not None]
        if waited and waited[0][0].done is not None:
            with suppress(RuntimeError):  # the loop is closed: nobody is left to tell
                waited[0][0].done.get_loop().call_soon_threadsafe(_tell, waited)


def _attempt(connection: Connection, ticket: Ticket) -> str | None:
    try:
        with connection.begin_nested():
            run(connection, [ticket.command])
    except OperationalError:
        raise
    except REFUSALS as error:
        return f"the ledger refused the row: {_cause(error)}"
    return None


def _cause(error: BaseException) -> str:
    return str(error.orig if isinstance(error, DBAPIError) else error)


def _tell(verdicts: Sequence[Verdict]) -> None:
    for ticket, failure in verdicts:
        if ticket.done is None or ticket.done.done():
            continue
        if failure is None:
            ticket.done.set_result(None)
        else:
            ticket.done.set_exception(LedgerUnavailable(failure))
