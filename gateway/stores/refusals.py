"""Why a ledger cannot be opened: one exception tree, each message a sentence an operator can act on.

``LedgerRefused`` is everything that stops a start; its subclasses exist where a caller may want to tell them apart.
Once a ledger is open only ``ports.LedgerUnavailable`` leaves it.
"""

from pathlib import Path


class LedgerRefused(Exception):
    """The ledger cannot be opened; ``str()`` says why and what to do."""


class LedgerBusy(LedgerRefused):
    """Another server has this ledger; ``pid`` is the one it wrote into the lock file, if it could be read."""

    def __init__(self, database: Path, pid: int | None) -> None:
        holder = "another process" if pid is None else f"process {pid}"
        super().__init__(f"{database} is in use by a server ({holder}); one server per ledger: stop it first")
        self.pid = pid


class SchemaTooNew(LedgerRefused):
    """The ledger was written by a newer version of the program than this one."""

    def __init__(self, revision: str, known: str) -> None:
        super().__init__(
            f"the ledger has schema {revision}, this version knows up to {known}: start the newer version again"
        )
        self.revision = revision
