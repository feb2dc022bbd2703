"""The ledger's writing threads: each takes all waiting commands, runs them in one transaction, answers them together.

One thread on SQLite, where only one transaction writes at a time; several on a server. The same rules for both:
- A command that the database refuses for its own sake (a duplicate, an unknown request) fails alone: the batch is
  rolled back and run again with a savepoint around each command.
- While another transaction is in the way, commands wait; each caller decides how long.
- A begin nobody waits for any more is dropped while it waits; once it has been committed, a ``Void`` follows it. So it
  does when the connection broke and nobody can tell whether it was committed. A flight's filing goes the same way.
- A settlement is told to its caller as failed and *kept*: it is tried again until it is written or the writer closes,
  then once more.
- While settlements are kept no begin is accepted: what cannot be recorded is not bought.
- While little is under way a command is written at once. When much is, a batch is let grow for a moment first.
- The queue is bounded, with what is kept and in hand. A settlement of what was begun always has a place: of those there
  are no more than requests under way. No thread dies silently (what comes after the last is refused).
"""

import asyncio
import math
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

from msgspec import Struct, field
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from gateway.ports import LedgerUnavailable
from gateway.stores.commands import Begin, Command, Passing, Reply, is_owed, run, undoing
from gateway.stores.engine import REFUSALS, is_busy, is_refusal
from gateway.stores.line import Line, Trunk, is_cut
from gateway.stores.statement import together

QUEUE_LIMIT = 4_096
RETRY_S = 1.0
BUSY = 8  # commands under way that make a thread let more come
GATHER_S = 0.002  # for how long
CLOSED = "the ledger is closed"


class Ticket(Struct, kw_only=True, eq=False):
    """A command on its way; what it went through changes only under the writer's lock."""

    command: Command
    done: asyncio.Future[Reply] | None
    taken: bool = field(default=False)
    written: bool = field(default=False)
    had_last: bool = field(default=False)  # was tried once more when the writer closed
    given_up: bool = field(default=False)


class Failure(Struct, frozen=True):
    """Why a command was not written, in a sentence."""

    sentence: str


Verdict = tuple[Ticket, Reply | Failure]


class Writer:
    """Owns the threads and their connections. ``put`` and ``give_up`` belong to the event loop; one loop per writer."""

    def __init__(
        self, engine: Engine, *, threads: int = 1, queue_limit: int = QUEUE_LIMIT, retry_s: float = RETRY_S
    ) -> None:
        self._trunk = Trunk(engine)
        self._limit = queue_limit
        self._retry_s = retry_s
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._waiting: list[Ticket] = []
        self._kept: list[Ticket] = []
        self._in_hand: set[Ticket] = set()
        self._stop_at: float | None = None
        self._gathering = False
        self._alive = threads
        self.accepted = 0
        self.commits = 0
        self.committed_at = -math.inf  # time.monotonic() of the last commit, unless one failed since
        names = [f"ledger-writer-{number}" for number in range(threads)]
        self._threads = [threading.Thread(target=self._live, name=name, daemon=True) for name in names]
        for thread in self._threads:
            thread.start()

    @property
    def unwritten(self) -> int:
        """Settlements that failed, or still wait, and are not in the database yet."""
        with self._lock:
            tickets = [*self._kept, *self._in_hand, *self._waiting]
        return sum(not isinstance(ticket.command, Passing) for ticket in tickets)

    @property
    def depth(self) -> int:
        """Commands that wait or are being written."""
        with self._lock:
            return len(self._kept) + len(self._in_hand) + len(self._waiting)

    def put(self, command: Command, done: asyncio.Future[Reply] | None) -> Ticket:
        """Queue one command; ``done``, if anybody waits, is resolved on its loop. Raises ``LedgerUnavailable``."""
        ticket = Ticket(command=command, done=done)
        with self._lock:
            if self._stop_at is not None or not self._alive:
                raise LedgerUnavailable(CLOSED)
            if self._kept and isinstance(command, Begin):
                raise LedgerUnavailable("the ledger has settlements it could not write yet")
            if len(self._waiting) + len(self._kept) + len(self._in_hand) >= self._limit and not is_owed(command):
                raise LedgerUnavailable("the ledger's queue is full")
            self.accepted += 1
            self._waiting.append(ticket)
            if len(self._waiting) == 1:  # who was woken for the first one takes all that wait
                self._changed.notify()
        return ticket

    def give_up(self, ticket: Ticket) -> None:
        """Say that nobody waits for this command: it is dropped, or undone when it is being committed already."""
        if not isinstance(ticket.command, Passing):
            return
        with self._lock:
            ticket.given_up = True
            if ticket.written and self._alive:
                self._waiting += _undoings([ticket])
                self._changed.notify()

    def close(self, grace_s: float) -> int:
        """Write what waits, for at most ``grace_s``, and end; how many settlements could not be written."""
        with self._lock:
            if self._stop_at is None:
                self._stop_at = time.monotonic() + grace_s
            self._changed.notify_all()
        until = time.monotonic() + grace_s + RETRY_S
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        return self.unwritten

    # --- everything below runs in the threads ---

    def _live(self) -> None:
        line = Line(self._trunk)
        batch: list[Ticket] = []
        try:
            while batch := self._next():
                self._write(line, batch)
        finally:
            line.drop()
            self._end(batch)

    def _end(self, batch: list[Ticket]) -> None:
        """Leave nobody waiting: what this thread had in hand, and with the last thread whatever waits."""
        with self._lock:
            self._alive -= 1
            left = [ticket for ticket in batch if ticket in self._in_hand]
            self._in_hand.difference_update(left)
            if not self._alive:
                left, self._waiting = left + self._waiting, []
            self._keep(left)
        self._answer([(ticket, Failure(CLOSED)) for ticket in left])

    def _next(self) -> list[Ticket]:
        """Give what is to be written next, once there is something; nothing: the writer closes."""
        with self._lock:
            while True:
                retry = False
                while not ((self._waiting and not self._gathering) or retry or self._stop_at is not None):
                    woken = self._changed.wait(self._retry_s if self._kept else None)
                    retry = bool(self._kept) and not woken
                self._gather()
                batch = self._take_all()  # another thread may have been quicker
                if batch or self._stop_at is not None:
                    return batch

    def _take_all(self) -> list[Ticket]:
        """Take what is kept and what waits; when the writer closes, each of what is kept once more."""
        due, self._kept = self._kept, []
        if self._stop_at is not None:
            self._kept = [ticket for ticket in due if ticket.had_last]
            due = [ticket for ticket in due if not ticket.had_last]
            for ticket in due:
                ticket.had_last = True
        batch, self._waiting = due + self._waiting, []
        self._in_hand.update(batch)
        return batch

    def _gather(self) -> None:
        """Let more come when it is busy, with the lock held: most of what a transaction costs it costs but once."""
        if len(self._waiting) + len(self._in_hand) < BUSY:
            return
        self._gathering = True
        self._changed.wait_for(lambda: self._stop_at is not None, GATHER_S)
        self._gathering = False

    def _write(self, line: Line, batch: list[Ticket]) -> None:
        wanted: list[Ticket] = []
        replies: Sequence[Reply] = ()
        try:
            connection = line.connection()
            with connection.begin(), together(connection):
                wanted = self._take(batch)
                replies = run(connection, [ticket.command for ticket in wanted])
        except REFUSALS as error:
            if is_refusal(error):
                self._write_singly(line, wanted)
            else:
                self._fail(line, wanted or batch, error)
        else:
            self._committed(wanted)
            self._answer(list(zip(wanted, replies, strict=True)))

    def _write_singly(self, line: Line, batch: list[Ticket]) -> None:
        try:
            connection = line.connection()
            with connection.begin():
                verdicts = [(ticket, _attempt(connection, ticket)) for ticket in batch]
        except SQLAlchemyError as error:
            self._fail(line, batch, error)
        else:
            self._committed([ticket for ticket, reply in verdicts if not isinstance(reply, Failure)])
            self._answer(verdicts)

    def _committed(self, batch: list[Ticket]) -> None:
        with self._lock:
            self.commits += 1
            self.committed_at = time.monotonic()
            for ticket in batch:
                ticket.written = True
            self._waiting += _undoings([ticket for ticket in batch if ticket.given_up])

    def _take(self, batch: list[Ticket]) -> list[Ticket]:
        with self._lock:
            wanted = [ticket for ticket in batch if not ticket.given_up]
            self._in_hand.difference_update(ticket for ticket in batch if ticket.given_up)
            for ticket in wanted:
                ticket.taken = True
        return wanted

    def _fail(self, line: Line, batch: list[Ticket], error: Exception) -> None:
        if isinstance(error, SQLAlchemyError) and is_busy(error) and not self._is_overdue():
            with self._lock:
                self._waiting = [ticket for ticket in batch if not ticket.given_up] + self._waiting
                self._in_hand.difference_update(batch)
            return
        was_cut = isinstance(error, SQLAlchemyError) and is_cut(error)
        if was_cut:
            line.cut()
        line.drop()  # the next batch opens a new connection: no state of this transaction survives
        with self._lock:
            self._keep(batch)
            if was_cut:
                self._kept += _undoings([ticket for ticket in batch if ticket.taken])
            self.committed_at = -math.inf
        failure = Failure(f"the ledger could not commit: {_cause(error)}")
        self._answer([(ticket, failure) for ticket in batch])

    def _keep(self, batch: list[Ticket]) -> None:
        self._kept += [ticket for ticket in batch if not isinstance(ticket.command, Passing)]

    def _is_overdue(self) -> bool:
        return self._stop_at is not None and time.monotonic() > self._stop_at

    def _answer(self, verdicts: Sequence[Verdict]) -> None:
        with self._lock:
            self._in_hand.difference_update(ticket for ticket, _ in verdicts)
        waited = [verdict for verdict in verdicts if verdict[0].done is not None]
        if waited and waited[0][0].done is not None:
            with suppress(RuntimeError):  # the loop is closed: nobody is left to tell
                waited[0][0].done.get_loop().call_soon_threadsafe(_tell, waited)


def _undoings(tickets: Sequence[Ticket]) -> list[Ticket]:
    """Give what takes back what was committed, perhaps, for nobody."""
    found = (undoing(ticket.command) for ticket in tickets)
    return [Ticket(command=command, done=None) for command in found if command is not None]


def _attempt(connection: Connection, ticket: Ticket) -> Reply | Failure:
    try:
        with connection.begin_nested():
            return run(connection, [ticket.command])[0]
    except REFUSALS as error:
        if not is_refusal(error):
            raise
        return Failure(f"the ledger refused the row: {_cause(error)}")


def _cause(error: BaseException) -> str:
    return str(error.orig if isinstance(error, DBAPIError) else error)


def _tell(verdicts: Sequence[Verdict]) -> None:
    for ticket, reply in verdicts:
        if ticket.done is None or ticket.done.done():
            continue
        if isinstance(reply, Failure):
            ticket.done.set_exception(LedgerUnavailable(reply.sentence))
        else:
            ticket.done.set_result(reply)
