"""Opens the store of pictures that a routes file names: a directory, or an object store with the extra ``s3``."""

from importlib import import_module
from pathlib import Path
from typing import Final, Protocol

from gateway.core.table import AssetSettings
from gateway.extras import how_to_install
from gateway.ports import Blobs
from gateway.stores.assets_file import FileBlobs
from gateway.stores.refusals import LedgerRefused

OBJECTS: Final = "gateway.stores.assets_object"
NO_CLIENT: Final = (
    "storage.assets names an object store, and this installation has no client for one: "
    f"install the extra, {how_to_install('s3')}"
)


class OpenBlobs(Blobs, Protocol):
    """A store that was opened, and is to be closed."""

    def close(self) -> None:
        """End its threads; idempotent."""
        ...


def open_blobs(settings: AssetSettings) -> OpenBlobs:
    """Give the store. Raises ``LedgerRefused`` with a sentence when what it needs is not installed."""
    where = settings.store
    if isinstance(where, str):
        return FileBlobs(Path(where))
    try:
        opened: OpenBlobs = import_module(OBJECTS).open_objects(where)
    except ImportError as missing:
        raise LedgerRefused(NO_CLIENT) from missing
    return opened
