"""Which rows are proven: a smoke run of one has passed, on this surface and through this very account.

A proof names what was tried: channel, row, surface, and a fingerprint of the channel's address, its key and the model
that was sent. So whatever is changed about them has to be proven again. Pure.
"""

from datetime import datetime

from msgspec import Struct

from gateway.core.bindings import fingerprint
from gateway.core.table import Channel, Row
from gateway.core.types import Surface


class Proof(Struct, frozen=True, kw_only=True):
    """What was tried. ``fingerprint`` tells neither the address nor the key."""

    channel: str
    row: str
    surface: Surface
    fingerprint: str
    model: str


class Verification(Struct, frozen=True, kw_only=True):
    """How a smoke run of one row on one surface ended; the last one counts. ``at`` is aware."""

    proof: Proof
    at: datetime
    passed: bool


def proof_of(channel: Channel, row: Row, surface: Surface) -> Proof:
    """Give what a smoke run of a row proves when it passes."""
    return Proof(channel=channel.name, row=row.name, surface=surface, fingerprint=fingerprint(channel), model=row.model)
