"""One server per SQLite file: an advisory lock on ``<database>.lock``, which the kernel drops when its holder dies.

The file carries the holder's process id for the message only; the lock itself decides. It is never deleted: two
processes could then hold locks on two files of one name.
"""

import fcntl
import os
from pathlib import Path

from gateway.stores.refusals import LedgerBusy


class ServerLock:
    """The lock, held from construction until ``release``. Raises ``LedgerBusy`` when another server has it."""

    def __init__(self, database: Path) -> None:
        self._descriptor = os.open(f"{database}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError:
            pid = os.pread(self._descriptor, 32, 0).strip()
            self.release()
            raise LedgerBusy(database, int(pid) if pid.isdigit() else None) from None
        except OSError:
            self.release()
            raise

    def release(self) -> None:
        """Give the lock back; idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
