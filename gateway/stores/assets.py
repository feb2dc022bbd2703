"""Opens the store of pictures that a routes file names: a directory, or an object store with the extra ``s3``."""

from importlib import import_module
from pathlib import Path
from typing import Final, Protocol

from gateway.core.table import AssetSettings
from gateway.ports import Blobs
from gateway.stores.assets_file import FileBlobs
from gateway.stores.refusals import LedgerRefused

OBJECTS: Final = "gateway.stores.assets_object"


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
        raise LedgerRefused("storage.assets needs the extra s3: pip install 'waybill-gateway[s3]'") from missing
    return opened
