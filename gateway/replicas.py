"""The other servers of the same ledger: who ended with work open, and who runs another routes file.

A server that ended without a word is said once, with how many requests it left open. One that runs another version of
the routes file is said once per version, and shown for as long as it does: replicas are meant to run one file, and for
the moments of a roll-out they do not. Nothing is decided by it.
"""

from collections.abc import Callable, Sequence

from gateway.core.record import timestamp
from gateway.ports import Clock, Events, Fleet, Peer


class Replicas:
    """Watches the fleet, if there is one. Called by the fleet's thread, read by the event loop."""

    def __init__(self, fleet: Fleet | None, version: Callable[[], str], events: Events, clock: Clock) -> None:
        self._fleet = fleet
        self._version = version
        self._events = events
        self._clock = clock
        self._said: frozenset[tuple[str, str]] = frozenset()

    @property
    def peers(self) -> Sequence[Peer]:
        """The other servers that live, as of the last look."""
        return () if self._fleet is None else self._fleet.peers

    @property
    def differing(self) -> Sequence[Peer]:
        """Those of them that run another version of the routes file."""
        mine = self._version()
        return [peer for peer in self.peers if peer.config_version not in {"", mine}]  # "": it has not said yet

    def start(self) -> None:
        """Watch from now on."""
        if self._fleet is not None:
            self._fleet.start(self)

    def version(self) -> str:
        """Give the version of the routes file in force here."""
        return self._version()

    def looked(self) -> None:
        """Take in that the others were looked at."""
        differing = {(peer.server_id, peer.config_version): peer for peer in self.differing}
        for pair in differing.keys() - self._said:
            self._events.emit(
                {
                    "event": "replica.differs",
                    "time": timestamp(self._clock.now()),
                    "server": differing[pair].name,
                    "config_version": differing[pair].config_version,
                    "config_version_here": self._version(),
                }
            )
        self._said = frozenset(differing)

    def ended(self, peer: Peer, left: int) -> None:
        """Take in that a server is gone, and that what it left open was interrupted."""
        self._events.emit(
            {
                "event": "replica.ended",
                "time": timestamp(self._clock.now()),
                "server": peer.name,
                "interrupted_requests": left,
            }
        )
