"""Pictures in an object store that speaks S3: ``<prefix>/ab/cd/<sha256>``, shared by all replicas.

Rules: an upload replaces the object whole or does nothing, and gives it a new time; so one that is kept again is
uploaded again, and a deletion spares what was kept since. Every call is bounded in time and tried again by the client
only as far as that allows; what fails then is ``StoreUnavailable``, told without address, bucket or credentials. Needs
the extra ``s3``: imported by its name, when a routes file names such a store.
"""

import re
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import S3Store

from gateway.core.table import ObjectStore
from gateway.ports import Blob, Replayable, StoreUnavailable, file_of

if TYPE_CHECKING:
    from obstore import GetOptions, ObjectMeta
    from obstore.store import S3Config

PIECE: Final = 256 * 1024
RETRIES: Final = 2
RETRY_FOR: Final = timedelta(seconds=10)
CONNECT_S: Final = 3
REQUEST_S: Final = 60

_HASH: Final = re.compile(r"[0-9a-f]{64}")
_DOWN: Final = (BaseError, OSError, TimeoutError)


class ObjectBlobs:
    """Implements ``ports.Blobs`` in a bucket."""

    def __init__(self, where: ObjectStore, *, retry_for: timedelta = RETRY_FOR) -> None:
        self._where = where
        self._store = S3Store(
            where.bucket,
            prefix=where.prefix or None,
            config=_config(where),
            client_options={
                "allow_http": (where.endpoint or "").startswith("http://"),
                "connect_timeout": timedelta(seconds=CONNECT_S),
                "timeout": timedelta(seconds=REQUEST_S),
            },
            retry_config={"max_retries": RETRIES, "retry_timeout": retry_for},
        )

    def place(self, sha256: str) -> str:
        """Say where a blob lies: ``s3://bucket/…``."""
        prefix = f"{self._where.prefix}/" if self._where.prefix else ""
        return f"s3://{self._where.bucket}/{prefix}{_path(sha256)}"

    async def keep(self, sha256: str, body: Replayable, media_type: str) -> None:
        """Upload ``body``. Raises ``StoreUnavailable``."""
        path = file_of(body)
        data = b"".join([piece async for piece in body.read()]) if path is None else path
        try:
            await obstore.put_async(self._store, _path(sha256), data, attributes={"Content-Type": media_type})
        except _DOWN as error:
            raise StoreUnavailable(_reason(error)) from error

    async def size(self, sha256: str) -> int | None:
        """Give the bytes of a blob; ``None``: there is none. Raises ``StoreUnavailable``."""
        told = await self._told(sha256)
        return None if told is None else told[0]

    async def read(self, sha256: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield the bytes ``start:end`` in pieces of at most 256 KiB. Raises ``StoreUnavailable``."""
        if end is not None and end <= start:
            return
        options: GetOptions = {"range": {"offset": start} if end is None else (start, end)}
        try:
            got = await obstore.get_async(self._store, _path(sha256), options=options if start or end else None)
            async for chunk in got.stream(min_chunk_size=PIECE):
                view = memoryview(chunk)
                for at in range(0, len(view), PIECE):
                    yield bytes(view[at : at + PIECE])
        except _DOWN as error:
            raise StoreUnavailable(_reason(error)) from error

    async def delete(self, sha256: str, before: datetime | None = None) -> bool:
        """Remove a blob, unless it was kept since ``before``; whether there is none. Raises ``StoreUnavailable``."""
        told = await self._told(sha256)
        if told is None:
            return True
        if before is not None and told[1] >= before:
            return False
        try:
            await obstore.delete_async(self._store, _path(sha256))
        except NotFoundError:
            return True
        except _DOWN as error:
            raise StoreUnavailable(_reason(error)) from error
        return True

    async def found(self, prefix: str) -> AsyncIterator[Blob]:
        """Yield all blobs whose hash begins with ``prefix``. Raises ``StoreUnavailable``."""
        folders = "/".join(part for part in (prefix[:2], prefix[2:4]) if len(part) == 2)
        try:
            async for page in obstore.list(self._store, folders or None):
                for blob in _blobs(page, prefix):
                    yield blob
        except _DOWN as error:
            raise StoreUnavailable(_reason(error)) from error

    def close(self) -> None:
        """Nothing is held."""

    async def _told(self, sha256: str) -> tuple[int, datetime] | None:
        try:
            told = await obstore.head_async(self._store, _path(sha256))
        except (NotFoundError, FileNotFoundError):
            return None
        except _DOWN as error:
            raise StoreUnavailable(_reason(error)) from error
        return told["size"], told["last_modified"]


def open_objects(where: ObjectStore) -> ObjectBlobs:
    """Give the store that a routes file names; nothing is connected yet."""
    return ObjectBlobs(where)


def _blobs(page: "Sequence[ObjectMeta]", prefix: str) -> Iterator[Blob]:
    for one in page:
        name = one["path"].rpartition("/")[2]
        if _HASH.fullmatch(name) is not None and name.startswith(prefix):
            yield Blob(sha256=name, bytes=one["size"], touched=one["last_modified"])


def _config(where: ObjectStore) -> "S3Config":
    config: S3Config = {}
    if where.region is not None:
        config["region"] = where.region
    if where.endpoint is not None:
        config["endpoint"] = where.endpoint
    if where.access_key is not None:
        config["access_key_id"] = where.access_key.reveal()
    if where.secret_key is not None:
        config["secret_access_key"] = where.secret_key.reveal()
    if where.session_token is not None:
        config["session_token"] = where.session_token.reveal()
    return config


def _path(sha256: str) -> str:
    if _HASH.fullmatch(sha256) is None:
        raise ValueError("not a hash")
    return f"{sha256[:2]}/{sha256[2:4]}/{sha256}"


def _reason(error: Exception) -> str:
    """Say what kind of trouble it is: a client's own words name addresses."""
    return f"the object store failed: {type(error).__name__}"
