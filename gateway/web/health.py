"""What the process says of itself to whoever restarts it or sends it requests.

Alive: the event loop answers. Ready: requests can be taken, which is so when the ledger is open and the process is not
on its way out. Readiness does not hang on channels: all replicas share one routes file, so a missing key would take all
of them out at once and turn a clear error into a refused connection. Which channels are ready, and why others are not,
is shown instead.
"""

from gateway.core.table import RouteTable
from gateway.core.types import JsonObject
from gateway.web.models import model_json

READY = "ready"


def alive() -> JsonObject:
    """Say that the process answers."""
    return {"status": "ok"}


def readiness(table: RouteTable, *, ready: bool) -> JsonObject:
    """Say whether requests are taken, with which configuration, and how each channel stands."""
    return {
        "status": "ok" if ready else "unavailable",
        "config_version": table.version,
        "routes_ready": sum(model_json(table, route) is not None for route in table.routes.values()),
        "channels": {name: channel.unready or READY for name, channel in table.channels.items()},
    }
