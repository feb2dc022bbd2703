"""Pictures in a directory of this machine: each in a file named by its hash, ``ab/cd/<sha256>``.

Rules: a blob is there whole or not at all: a temporary file is written and synced, linked to its name if that is not
taken, and unlinked; the directory is synced. A body that lies in a file of the same file system already *is* the
temporary file: it is synced and linked, never copied. Everything that touches the disk is done by threads. A blob that
is kept again is touched, and one is deleted only by moving it aside first and looking whether it was touched: so a
deletion cannot take away what somebody keeps at the same moment, in this process or another. Files are written only
while the disk has more than its reserve, which is the ledger's. Names never come from input but as checked digits.
"""

import asyncio
import contextlib
import errno
import itertools
import os
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from msgspec import Struct

from gateway.ports import Blob, NoRoom, Replayable, StoreUnavailable, file_of, held_of
from gateway.stores.crew import Crew

PIECE: Final = 256 * 1024
BATCH: Final = 16  # pieces that a thread writes at once: up to 4 MiB are held for it
THREADS: Final = 4
STALE_S: Final = 3_600.0
RESERVE_BYTES: Final = 512 * 1024 * 1024  # of the disk, for the ledger

_HASH: Final = re.compile(r"[0-9a-f]{64}")
_ASIDE: Final = ".aside"  # a blob on its way out
_FRESH: Final = ".new-"  # a blob on its way in
_MAKE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_LINK: Final = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP})

T = TypeVar("T")


class FileBlobs:
    """Implements ``ports.Blobs`` below ``root``. ``reserve``: bytes of its disk that are left alone.

    ``stale_s``: a file under a temporary name that is this old belongs to nobody any more.
    """

    def __init__(self, root: Path, *, reserve: int = RESERVE_BYTES, stale_s: float = STALE_S) -> None:
        self._root = root
        self._stale_s = stale_s
        self._reserve = reserve
        self._own = f"{secrets.token_hex(12)}-"  # no other process has it, so a count tells its files apart
        self._made = itertools.count()
        self._crew = Crew(THREADS, "assets")

    def place(self, sha256: str) -> str:
        """Say where a blob lies: a path."""
        return self._name(sha256)

    def body(self, sha256: str) -> "FileBody":
        """Give a blob as a body. Raises ``StoreUnavailable`` when there is none."""
        path = self._path(sha256)
        try:
            return FileBody(path, path.stat().st_size)
        except OSError as error:
            raise StoreUnavailable(_reason(error)) from error

    def keep(self, sha256: str, body: Replayable, media_type: str) -> Awaitable[None]:  # noqa: ARG002 - a file has none
        """Store ``body`` whole, or nothing; one that is there already is touched. Raises ``StoreUnavailable``."""
        path, held = self._name(sha256), held_of(body)
        if held is None:
            return self._keep_long(path, body)
        return self._crew.do(partial(self._put, path, held, body.length))

    async def size(self, sha256: str) -> int | None:
        """Give the bytes of a blob; ``None``: there is none. Raises ``StoreUnavailable``."""
        path = self._path(sha256)
        return await self._do(lambda: _size(path))

    async def read(self, sha256: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield the bytes ``start:end`` in pieces of at most 256 KiB. Raises ``StoreUnavailable``."""
        path = self._path(sha256)
        handle = await self._do(lambda: os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC))
        try:
            at = start
            while end is None or at < end:
                want = PIECE if end is None else min(PIECE, end - at)
                piece = await self._do(partial(os.pread, handle, want, at))
                if not piece:
                    return
                yield piece
                at += len(piece)
        finally:
            os.close(handle)

    async def delete(self, sha256: str, before: datetime | None = None) -> bool:
        """Remove a blob, unless it was kept since ``before``; whether there is none. Raises ``StoreUnavailable``."""
        path = self._path(sha256)
        return await self._do(lambda: _delete(path, before))

    async def found(self, prefix: str) -> AsyncIterator[Blob]:
        """Yield all blobs whose hash begins with ``prefix``; what a crash left behind is cleared away on the way."""
        for folder in await self._do(lambda: list(self._folders(prefix))):
            for blob in await self._do(partial(_blobs, folder, prefix, self._stale_s)):
                yield blob

    def close(self) -> None:
        """End the threads, once they have done what they are at."""
        self._crew.close()

    def _path(self, sha256: str) -> Path:
        return Path(self._name(sha256))

    def _name(self, sha256: str) -> str:
        """Give the path as text: for every picture that is kept, ``Path`` would cost more than all else here."""
        if _HASH.fullmatch(sha256) is None:
            raise ValueError("not a hash")
        return f"{self._root}/{sha256[:2]}/{sha256[2:4]}/{sha256}"

    async def _do(self, work: Callable[[], T]) -> T:
        """Have a thread do it; it is done to its end also when nobody waits any more."""
        future = self._crew.do(work)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            with contextlib.suppress(OSError, NoRoom):
                await future
            raise
        except OSError as error:
            raise StoreUnavailable(_reason(error)) from error

    def _look_for_room(self, wanted: int) -> None:
        try:
            disk = os.statvfs(self._root)
        except FileNotFoundError:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            disk = os.statvfs(self._root)
        if disk.f_bavail * disk.f_frsize < self._reserve + wanted:
            raise NoRoom("the rest of the disk is the ledger's")

    def _folders(self, prefix: str) -> Iterator[Path]:
        for outer in _listed(self._root):
            if outer.name.startswith(prefix[:2]):
                yield from (inner for inner in _listed(outer) if inner.name.startswith(prefix[2:4]))

    def _adopt(self, source: Path, path: str, length: int) -> bool:
        """Give the file of a body the blob's name; ``False`` when it lies where it cannot be linked from."""
        if _touch(path):
            return True
        self._look_for_room(length)
        return _link(source, path)

    def _put(self, path: str, pieces: Sequence[bytes], length: int) -> None:
        """Store what lies in memory, in one go. Raises ``StoreUnavailable``."""
        try:
            fresh = self._fresh(path)
            handle = self._begin(fresh, path, length)
            if handle is not None:
                try:
                    _finish(handle, pieces, fresh, path)
                finally:
                    _give_up(handle, fresh)
        except OSError as error:
            raise StoreUnavailable(_reason(error)) from error

    async def _keep_long(self, path: str, body: Replayable) -> None:
        """Store what is to be read piece by piece, unless its file can be adopted."""
        source = file_of(body)
        if source is None or not await self._do(lambda: self._adopt(source, path, body.length)):
            await self._write(path, body)

    async def _write(self, path: str, body: Replayable) -> None:
        """Write a body to a file of its own, in as few steps of a thread as its pieces can be held for."""
        fresh = self._fresh(path)
        handle = await self._do(lambda: self._begin(fresh, path, body.length))
        if handle is None:
            return
        try:
            held: list[bytes] = []
            async for piece in body.read():
                held.append(piece)
                if len(held) == BATCH:
                    await self._do(partial(_write_all, handle, held))
                    held = []
            await self._do(partial(_finish, handle, held, fresh, path))
        finally:
            _give_up(handle, fresh)

    def _fresh(self, path: str) -> str:
        """Give a name beside ``path`` that no other file has."""
        return f"{path.rpartition('/')[0]}/{_FRESH}{self._own}{next(self._made)}"

    def _begin(self, fresh: str, path: str, length: int) -> int | None:
        """Make a file to write to; ``None``: the blob is there."""
        if _touch(path):
            return None
        self._look_for_room(length)
        try:
            return os.open(fresh, _MAKE, 0o600)
        except FileNotFoundError:  # the first one in its folder
            Path(fresh).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            return os.open(fresh, _MAKE, 0o600)


class FileBody(Struct, frozen=True):
    """A file as a body; implements ``ports.Replayable``; it has the file to itself. It is not removed when closed."""

    path: Path
    length: int

    async def read(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield the bytes ``start:end`` in pieces of at most 256 KiB. Raises ``StoreUnavailable``."""
        stop = self.length if end is None else min(end, self.length)
        for at in range(start, stop, PIECE):
            yield await asyncio.to_thread(_piece, self.path, at, min(stop, at + PIECE))

    def close(self) -> None:
        """Nothing is held."""


def _piece(path: Path, start: int, end: int) -> bytes:
    try:
        with path.open("rb") as handle:
            return os.pread(handle.fileno(), end - start, start)
    except OSError as error:
        raise StoreUnavailable(_reason(error)) from error


def _touch(path: str) -> bool:
    """Note that a blob is wanted; whether it is there."""
    try:
        os.utime(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _size(path: Path) -> int | None:
    try:
        return path.stat(follow_symlinks=False).st_size
    except FileNotFoundError:
        return None


def _link(source: Path, path: str) -> bool:
    """Sync a file and give it a second name; ``False`` when it lies where that cannot be done from."""
    Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(handle)
        os.link(source, path, follow_symlinks=False)
    except FileExistsError:
        _touch(path)
    except OSError as error:
        if error.errno in _NO_LINK:
            return False
        raise
    finally:
        os.close(handle)
    _sync(Path(path).parent)
    return True


def _write_all(handle: int, pieces: Sequence[bytes]) -> None:
    for piece in pieces:
        view = memoryview(piece)
        while view:
            view = view[os.write(handle, view) :]


def _finish(handle: int, rest: Sequence[bytes], fresh: str, path: str) -> None:
    _write_all(handle, rest)
    os.fsync(handle)
    try:
        os.link(fresh, path, follow_symlinks=False)
    except FileExistsError:
        _touch(path)
    _sync(Path(path).parent)


def _give_up(handle: int, fresh: str) -> None:
    """Let go of a file under its temporary name, whether it has another one by now or not."""
    os.close(handle)
    with contextlib.suppress(OSError):
        Path(fresh).unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    """Bring names to the disk: of the folder, and of the two above it, which may be new."""
    for one in (folder, folder.parent, folder.parent.parent):
        handle = os.open(one, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _delete(path: Path, before: datetime | None) -> bool:
    aside = path.with_name(path.name + _ASIDE)
    try:
        path.rename(aside)
    except FileNotFoundError:
        return True
    return _decide(aside, path, before)


def _decide(aside: Path, path: Path, before: datetime | None) -> bool:
    """Remove what was moved aside, or put it back when somebody kept it in the meantime."""
    is_wanted = before is not None and aside.stat(follow_symlinks=False).st_mtime >= before.timestamp()
    if is_wanted:
        with contextlib.suppress(FileExistsError):  # kept anew already
            os.link(aside, path, follow_symlinks=False)
    aside.unlink(missing_ok=True)
    return not is_wanted


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(one for one in folder.iterdir() if len(one.name) == 2)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _blobs(folder: Path, prefix: str, stale_s: float) -> list[Blob]:
    found = []
    for path in folder.iterdir():
        if _HASH.fullmatch(path.name) is None:
            _clear(path, stale_s)
        elif path.name.startswith(prefix):
            told = path.stat(follow_symlinks=False)
            touched = datetime.fromtimestamp(told.st_mtime, UTC)
            found.append(Blob(sha256=path.name, bytes=told.st_size, touched=touched))
    return found


def _clear(path: Path, stale_s: float) -> None:
    """Put right what a crash left: a file that was being written goes, one that was moved aside comes back."""
    with contextlib.suppress(FileNotFoundError):
        moved_at = path.stat(follow_symlinks=False).st_ctime
        if moved_at > datetime.now(UTC).timestamp() - stale_s:  # somebody is at it
            return
        if path.name.endswith(_ASIDE):
            with contextlib.suppress(FileExistsError):
                os.link(path, path.with_name(path.name.removesuffix(_ASIDE)), follow_symlinks=False)
        if path.name.endswith(_ASIDE) or path.name.startswith(_FRESH):
            path.unlink()


def _reason(error: OSError) -> str:
    return error.strerror or "input/output error"
