"""What the process says of itself to whoever restarts it or sends it requests.

Alive: the event loop answers. Ready: requests can be taken, which is so when the ledger can be written and the process
is not on its way out. Readiness hangs neither on channels nor on a routes file that was not taken: all replicas share
one file, so a missing key or a mistake would take all of them out at once and turn a clear error into a refused
connection. Both are shown instead.
"""

from collections.abc import Mapping, Sequence

from msgspec import Struct, field

from gateway.core.record import timestamp
from gateway.core.table import RouteTable
from gateway.core.types import JsonObject, JsonValue
from gateway.ports import Peer
from gateway.reload import Rejected
from gateway.web.models import model_json

READY = "ready"
IN_MEMORY = "memory"


class State(Struct, frozen=True, kw_only=True):
    """How the process stands. ``ledger_fault``: why it cannot be written; ``rejected``: a routes file not taken.

    ``channels``: those that are held back although they have credentials, and why. ``others``: the servers of the same
    ledger; ``differing``: those of them that run another routes file. ``shared``: how the store stands that health and
    limits are shared through.
    """

    draining: bool = False
    ledger_fault: str | None = None
    rejected: Rejected | None = None
    channels: Mapping[str, str] = field(default_factory=dict)
    others: int = 0
    differing: Sequence[Peer] = ()
    shared: str = IN_MEMORY

    @property
    def is_ready(self) -> bool:
        """Whether requests can be taken."""
        return not self.draining and self.ledger_fault is None


def alive() -> JsonObject:
    """Say that the process answers."""
    return {"status": "ok"}


def readiness(table: RouteTable, state: State) -> JsonObject:
    """Say whether requests are taken, with which configuration, and how each channel stands."""
    status = "ok" if state.is_ready else "draining" if state.draining else "unavailable"
    return {
        "status": status,
        "config_version": table.version,
        "config": _config_json(state.rejected),
        "ledger": state.ledger_fault or "ok",
        "shared": state.shared,
        "replicas": {
            "others": state.others,
            "differing": [{"server": peer.name, "config_version": peer.config_version} for peer in state.differing],
        },
        "routes_ready": sum(model_json(table, route) is not None for route in table.routes.values()),
        "channels": {
            name: channel.unready or state.channels.get(name, READY) for name, channel in table.channels.items()
        },
    }


def _config_json(rejected: Rejected | None) -> JsonValue:
    """Say whether the file on the disk is the one in force; of one that is not, the first mistake."""
    if rejected is None:
        return {"state": "ok"}
    return {
        "state": "reload_failed",
        "time": timestamp(rejected.time),
        "mistakes": rejected.count,
        "first": rejected.mistakes[0] if rejected.mistakes else None,
    }
