"""The servers that share one ledger: each lists itself, shows that it lives, and clears up after those that do not.

Every server lets a number grow in its row. One whose number stood still for ``LEASE_S``, by the clock of who looks and
while the looking worked, is taken for dead: its row is removed and its open requests are interrupted, in one
transaction that only one of the others wins. No two clocks are ever compared. A server that was only paused lists
itself again and settles what it still has in hand. While a server has not been able to show that it lives for so long,
it begins nothing: the others may have cleared up after it.
"""

import os
import secrets
import socket
import threading
import time
from contextlib import suppress

from msgspec import Struct
from sqlalchemy import Connection, Engine, delete, select
from sqlalchemy.exc import SQLAlchemyError

from gateway.core.ids import RANDOM_BYTES, new_id
from gateway.ports import Peer, Watcher
from gateway.stores.engine import only_one, open_engine
from gateway.stores.place import Access, Place
from gateway.stores.recovery import recover_from, recover_orphans
from gateway.stores.schema import servers
from gateway.stores.statement import Row, replacing

BEAT_S = 2.0
LEASE_S = 20.0
CLOSE_S = 5.0
BUSY_MS = 5_000

LISTED = replacing(servers, ("server_id", "name", "started_us", "beat", "config_version"))


class _Seen(Struct, frozen=True):
    """How far another server had come when it was last seen to move."""

    beat: int
    at: float


class SqlFleet:
    """One server among those of a ledger. Implements ``ports.Fleet``; ``enlist`` before the first request."""

    def __init__(
        self, engine: Engine, me: Peer, started_us: int, *, beat_s: float = BEAT_S, lease_s: float = LEASE_S
    ) -> None:
        self._engine = engine
        self._me = me
        self._started_us = started_us
        self._beat_s = beat_s
        self._lease_s = lease_s
        self._config_version = me.config_version
        self._beat = 0
        self._shown_at = time.monotonic()
        self._seen: dict[str, _Seen] = {}
        self._peers: tuple[Peer, ...] = ()
        self._ended = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None

    @property
    def server_id(self) -> str:
        """The id of this server, new with each start."""
        return self._me.server_id

    @property
    def peers(self) -> tuple[Peer, ...]:
        """The other servers that live, as of the last look."""
        return self._peers

    @property
    def has_lapsed(self) -> bool:
        """Whether the others may take this server for dead."""
        return time.monotonic() - self._shown_at > self._lease_s

    def enlist(self) -> int:
        """List this server, and clear up what belongs to none; how many requests. Raises SQLAlchemy's errors."""
        self._show()
        self._look(time.monotonic())
        with self._engine.begin() as connection:
            only_one(connection)
            return recover_orphans(connection)

    def start(self, watcher: Watcher) -> None:
        """Look at the others from now on, in a thread, and say there what is to be seen."""
        self._thread = threading.Thread(target=self._watch, args=(watcher,), name="fleet", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take this server off the list; what it left open is then anybody's to clear up. Idempotent."""
        self._ended.set()
        if self._closed:
            return
        self._closed = True
        if self._thread is not None:
            self._thread.join(CLOSE_S)
        with suppress(SQLAlchemyError), self._engine.begin() as connection:
            connection.execute(delete(servers).where(servers.c.server_id == self.server_id))
        self._engine.dispose()

    # --- everything below runs in the thread, but for what ``enlist`` does first ---

    def _watch(self, watcher: Watcher) -> None:
        looked_at = -self._lease_s
        while not self._ended.wait(self._beat_s):
            now = time.monotonic()
            if now - looked_at > 3 * self._beat_s:
                self._seen = {}  # nobody looked for a while: what stood still meanwhile is not known
            with suppress(SQLAlchemyError):
                self._config_version = watcher.version()
                self._show()
                for dead in self._look(now):
                    self._clear_up(dead, watcher)
                looked_at = now
                watcher.looked()

    def _show(self) -> None:
        shown_at = time.monotonic()
        self._beat += 1
        row: Row = (self.server_id, self._me.name, self._started_us, self._beat, self._config_version)
        with self._engine.begin() as connection:
            LISTED.one(connection, row)
        self._shown_at = shown_at

    def _look(self, now: float) -> list[Peer]:
        with self._engine.begin() as connection:
            found = _listed(connection)
        found.pop(self.server_id, None)
        for server_id, (_, beat) in found.items():
            seen = self._seen.get(server_id)
            if seen is None or seen.beat != beat:
                self._seen[server_id] = _Seen(beat, now)
        self._seen = {server_id: seen for server_id, seen in self._seen.items() if server_id in found}
        dead = {server_id for server_id, seen in self._seen.items() if now - seen.at > self._lease_s}
        self._peers = tuple(peer for server_id, (peer, _) in found.items() if server_id not in dead)
        return [found[server_id][0] for server_id in sorted(dead)]

    def _clear_up(self, dead: Peer, watcher: Watcher) -> None:
        stood_at = self._seen[dead.server_id].beat
        gone = delete(servers).where(servers.c.server_id == dead.server_id, servers.c.beat == stood_at)
        with self._engine.begin() as connection:
            if connection.execute(gone).rowcount == 0:
                return  # another was faster, or it lives
            left = recover_from(connection, dead.server_id)
        watcher.ended(dead, left)


def open_fleet(where: Place) -> SqlFleet:
    """Give this server's place among those of a ledger that was opened, and upgraded before."""
    now_us = time.time_ns() // 1000
    server_id = new_id("srv", now_us // 1000, secrets.token_bytes(RANDOM_BYTES))
    me = Peer(server_id=server_id, name=f"{socket.gethostname()}:{os.getpid()}", config_version="")
    return SqlFleet(open_engine(where, Access.WRITE, busy_ms=BUSY_MS, pool=1), me, now_us)


def _listed(connection: Connection) -> dict[str, tuple[Peer, int]]:
    return {
        row.server_id: (Peer(server_id=row.server_id, name=row.name, config_version=row.config_version), row.beat)
        for row in connection.execute(select(servers))
    }
