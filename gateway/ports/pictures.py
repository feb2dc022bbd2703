"""The seams to kept pictures: the store of their bytes, and the books of what is known of them."""

from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from gateway.core.assets import Asset, AssetId, Verdict
from gateway.core.types import ImageFacts
from gateway.ports.wires import Replayable


class StoreUnavailable(Exception):
    """The store could not be had, or not in time. What was being kept is not lost: its bytes are still in the spool."""


class NoRoom(StoreUnavailable):
    """The disk has only what is reserved for the ledger: nothing is kept until there is more."""


class Picture(Struct, frozen=True, kw_only=True):
    """One delivered picture on its way to the store. ``body`` is closed by whoever keeps it.

    ``body`` is absent when another picture of the same answer has the same bytes.
    """

    image: ImageFacts
    body: Replayable | None


def file_of(body: Replayable) -> Path | None:
    """Give the file that holds a body and nothing else (its ``path``), while the body is open; most have none."""
    path: object = getattr(body, "path", None)
    return path if isinstance(path, Path) else None


def held_of(body: Replayable) -> Sequence[bytes] | None:
    """Give the pieces of memory that hold a whole body (its ``held``); ``None``: it lies elsewhere."""
    held: object = getattr(body, "held", None)
    return held if isinstance(held, (list, tuple)) else None


class Blob(Struct, frozen=True, kw_only=True):
    """Bytes in a store, and when they came or were last kept again."""

    sha256: str
    bytes: int
    touched: datetime


class Blobs(Protocol):
    """Keeps bytes under their SHA-256 (64 lower-case hexadecimal digits). Every method raises ``StoreUnavailable``."""

    def place(self, sha256: str) -> str:
        """Say where a blob lies, for people; raises nothing."""
        ...

    def keep(self, sha256: str, body: Replayable, media_type: str) -> Awaitable[None]:
        """Store ``body`` whole, or nothing; storing what is there already only notes that it is wanted."""
        ...

    async def size(self, sha256: str) -> int | None:
        """Give the bytes of a blob; ``None``: there is none."""
        ...

    def read(self, sha256: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield the bytes ``start:end`` in pieces of at most 256 KiB."""
        ...

    async def delete(self, sha256: str, before: datetime | None = None) -> bool:
        """Remove a blob; with ``before`` only one that was not kept since. Whether there is none now."""
        ...

    def found(self, prefix: str) -> AsyncIterator[Blob]:
        """Yield all blobs whose hash begins with ``prefix`` (any number of digits)."""
        ...


class AssetQuery(Struct, frozen=True, kw_only=True):
    """A page of assets, newest first. ``before`` is the id after which the page starts (keyset)."""

    request: str | None = None
    scope: str | None = None
    model: str | None = None
    verdict: Verdict | None = None
    sha256: str | None = None
    limit: int = 50
    before: str | None = None


class AssetPage(Struct, frozen=True, kw_only=True):
    """A page of assets. ``next``: the id after which the next one starts; absent: there is none.

    A page may be short although there is a next one: it has looked through as many as it may.
    """

    data: Sequence[Asset]
    next: AssetId | None


class AssetBooks(Protocol):
    """What is known of kept pictures. Every method raises ``LedgerUnavailable``."""

    async def known(self, scope: str, hashes: Sequence[str]) -> Mapping[str, Sequence[AssetId]]:
        """Give the assets of one owner by the hash of their bytes, newest first; a hash without any has no entry."""
        ...

    async def find(self, asset_id: str) -> Asset | None:
        """Give one asset that is still there, with its parents."""
        ...

    async def children(self, ids: Sequence[str]) -> Mapping[str, Sequence[AssetId]]:
        """Give the assets that were made from each, newest first; one without any has no entry."""
        ...

    async def page(self, query: AssetQuery) -> AssetPage:
        """Give a page of assets that are still there, with their parents."""
        ...

    async def judge(self, asset_id: str, verdict: Verdict | None, at: datetime) -> bool:
        """Set the verdict on an asset; whether there is such a one."""
        ...

    async def remove(self, asset_id: str, at: datetime) -> bool:
        """Note that an asset is gone; its bytes go when no other asset has them. Whether there was such a one."""
        ...

    async def stored(self, sha256: str, at: datetime) -> None:
        """Note that bytes have reached the store after all."""
        ...


class Old(Struct, frozen=True, kw_only=True):
    """A picture that may have to go. ``shared``: how many pictures that are still there have its bytes."""

    asset_id: AssetId
    sha256: str
    bytes: int
    shared: int


class AssetEnds(Protocol):
    """The end of pictures. Every method raises ``LedgerUnavailable``."""

    async def expired(self, now: datetime, limit: int) -> Sequence[Old]:
        """Give pictures whose time is over."""
        ...

    async def oldest(self, limit: int, *, accepted: bool) -> Sequence[Old]:
        """Give the oldest pictures, either those that were accepted or the others."""
        ...

    async def end(self, ids: Sequence[AssetId], now: datetime) -> int:
        """Note that pictures are gone; bytes that no other picture has are doomed. How many there were."""
        ...

    async def total(self) -> int:
        """Add up the bytes of all pictures, shared ones once."""
        ...

    async def doomed(self, before: datetime, limit: int) -> Mapping[str, int]:
        """Give bytes that no picture has had since: hash and length."""
        ...

    async def release(self, sha256: str) -> bool:
        """Forget bytes, unless a picture has them again. Whether they may be deleted."""
        ...

    async def unknown(self, hashes: Sequence[str]) -> Sequence[str]:
        """Give those of ``hashes`` that nothing is known of."""
        ...
