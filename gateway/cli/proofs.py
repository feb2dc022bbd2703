"""What smoke runs have proven, for the commands that tell of rows which demand it.

The ledger is opened only when a row does; one that is not there yet proves nothing. What reads it is imported by its
name then, for a tenth of a second that nearly every call would pay for nothing.
"""

from importlib import import_module

from gateway.cli import terminal
from gateway.config import Loaded
from gateway.core.table import Channel, RouteTable, Row
from gateway.core.types import Surface
from gateway.core.verification import Proof, proof_of
from gateway.stores.refusals import LedgerRefused

READER = "gateway.stores.verified_sql"


def proofs(loaded: Loaded) -> frozenset[Proof]:
    """Give what is proven; ends the command when the database setting leads nowhere."""
    if not _is_asked_for(loaded.table):
        return frozenset()
    reader = import_module(READER)
    try:
        known: frozenset[Proof] = reader.proven(reader.read_verifications(loaded.settings.database))
    except LedgerRefused as refused:
        terminal.stop(str(refused))
    return known


def unproven(channel: Channel, row: Row, known: frozenset[Proof]) -> list[Surface]:
    """Give the surfaces on which a row gets no traffic, for want of a smoke run."""
    if not row.must_be_verified:
        return []
    return [surface for surface in Surface if surface in row.serves and proof_of(channel, row, surface) not in known]


def _is_asked_for(table: RouteTable) -> bool:
    return any(row.must_be_verified for channel in table.channels.values() for row in channel.rows.values())
