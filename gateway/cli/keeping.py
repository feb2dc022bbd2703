"""Kept pictures for a command: their store and their books, beside a running server or without one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.cli import terminal
from gateway.clock import SystemClock
from gateway.core.table import Settings
from gateway.core.types import JsonObject
from gateway.pictures.gallery import Gallery, open_gallery
from gateway.ports import LedgerUnavailable, StoreUnavailable
from gateway.stores.ledger_sql import upgrade_ledger
from gateway.stores.refusals import LedgerRefused


class _Silence:
    """Nobody logs: what is done is printed."""

    def emit(self, _event: JsonObject) -> None:
        """Say nothing."""


@contextmanager
def kept_pictures(settings: Settings, data_dir: Path, *, lost: str = "", code: int = 2) -> Iterator[Gallery]:
    """Open store and books for one command; what cannot be opened or read ends it with a sentence.

    ``lost`` stands before the sentence, and ``code`` is the exit code, when ledger or store do not answer.
    """
    try:
        upgrade_ledger(settings.database)
        opened = open_gallery(settings, data_dir, SystemClock(), _Silence())
        try:
            yield opened
        finally:
            opened.close()
    except LedgerRefused as error:
        terminal.stop(str(error))
    except (LedgerUnavailable, StoreUnavailable) as error:
        terminal.stop(f"{lost}{error}", code)
