"""Which rows a smoke run has proven, on SQL: read again every second, so that a server sees what the command wrote.

``current`` never blocks. While the database cannot be read what was known holds. Of each row, surface and account the
last run counts, whichever way it ended.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, Engine, select
from sqlalchemy.exc import SQLAlchemyError

from gateway.core.types import Surface
from gateway.core.verification import Proof, Verification
from gateway.ports import LedgerUnavailable
from gateway.stores.commands import epoch_us, from_epoch_us
from gateway.stores.engine import open_engine
from gateway.stores.place import Access, place
from gateway.stores.polled import Polled
from gateway.stores.schema import verifications
from gateway.stores.statement import replacing

POLL_S = 0.9
BUSY_MS = 5_000
_NOTHING: frozenset[Proof] = frozenset()

VERIFIED = replacing(verifications, ("channel", "row", "surface", "fingerprint", "model", "time_us", "passed"))


class SqlVerifications:
    """Implements ``ports.Verifications``; made by ``open_verifications``, ended by ``close``."""

    def __init__(self, reading: Engine, *, poll_s: float = POLL_S) -> None:
        self._polled = Polled("verifications", reading, lambda connection: proven(_read(connection)), _NOTHING, poll_s)

    def current(self) -> frozenset[Proof]:
        """Give what is proven, as it was read at most ``poll_s`` ago."""
        return self._polled.known

    def close(self) -> None:
        """Read no more; idempotent."""
        self._polled.close()


def open_verifications(database_url: str) -> SqlVerifications:
    """Give those of a ledger that was opened (and so upgraded) before. Raises ``LedgerRefused`` for a bad URL."""
    return SqlVerifications(open_engine(database_url, Access.READ, busy_ms=BUSY_MS))


def record_verification(database_url: str, found: Verification) -> None:
    """Write how a smoke run ended, in a ledger that was opened before. Blocks. Raises ``LedgerUnavailable``."""
    proof = found.proof
    row = (proof.channel, proof.row, proof.surface.value, proof.fingerprint, proof.model)
    engine = open_engine(database_url, Access.WRITE, busy_ms=BUSY_MS)
    try:
        with engine.begin() as connection:
            VERIFIED.one(connection, (*row, epoch_us(found.at), int(found.passed)))
    except SQLAlchemyError as error:
        raise LedgerUnavailable("the verification could not be written") from error
    finally:
        engine.dispose()


def read_verifications(database_url: str) -> Sequence[Verification]:
    """Give the last run of each row, surface and account, oldest first.

    None of a ledger that is not there yet, or that no version of the program has upgraded so far. Raises
    ``LedgerRefused`` for a bad URL.
    """
    where = place(database_url)
    if not where.is_there:
        return ()
    engine = open_engine(where, Access.READ, busy_ms=BUSY_MS)
    try:
        with engine.begin() as connection:
            return _read(connection)
    except SQLAlchemyError:
        return ()
    finally:
        engine.dispose()


def proven(found: Sequence[Verification]) -> frozenset[Proof]:
    """Give what the runs that passed have proven."""
    return frozenset(one.proof for one in found if one.passed)


def _read(connection: Connection) -> Sequence[Verification]:
    rows = connection.execute(select(verifications).order_by(verifications.c.time_us)).mappings().all()
    return [
        Verification(
            proof=Proof(
                channel=row["channel"],
                row=row["row"],
                surface=Surface(row["surface"]),
                fingerprint=row["fingerprint"],
                model=row["model"],
            ),
            at=from_epoch_us(row["time_us"]),
            passed=bool(row["passed"]),
        )
        for row in rows
    ]
