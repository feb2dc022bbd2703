"""Bodies on their way through: a bounded amount of memory, then files, given back byte for byte as often as needed.

Rules: the directory belongs to one process, is private (0700) and is emptied at start; names never come from input; a
file is unlinked when its body is closed. Memory over all bodies and disk over all bodies are capped; over the disk cap
``SpoolFull`` is raised, which the caller turns into an answer. Reads and writes happen on the event loop, in pieces of
at most 256 KiB: they meet the page cache, and a hop to a thread for each piece costs more than the piece. Removing a
large file takes the file system tens of milliseconds, so that is done by a thread.
"""

import os
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from msgspec import Struct

from gateway.bodies.lease import Lease
from gateway.bodies.pile import Pile
from gateway.core.splices import in_order, length_after
from gateway.core.types import Cause, Splice
from gateway.ports import Replayable

PIECE: Final = 256 * 1024
# What is sent of a body in one go, or a piece more; calls of half a MiB and above were measured to cost a third more.
AT_ONCE: Final = 128 * 1024
MEMORY_ITEM: Final = 1024 * 1024
MEMORY_TOTAL: Final = 80 * 1024 * 1024
DISK_CAP: Final = 20_000_000_000
LARGE_FILE: Final = 4 * 1024 * 1024  # a smaller one is removed in half a millisecond


class SpoolFull(Exception):
    """No room for this body: the disk cap is reached or the disk is full, or (``TOO_LARGE``) it is over its own cap."""

    def __init__(self, reason: str, cause: Cause = Cause.SPOOL_FULL) -> None:
        super().__init__(reason)
        self.cause = cause


class Spool:
    """The process's spool. ``memory_total`` and ``disk_cap`` are bytes over all open bodies."""

    def __init__(self, directory: Path, *, memory_total: int = MEMORY_TOTAL, disk_cap: int = DISK_CAP) -> None:
        self._directory = directory
        self._memory_left = memory_total
        self._disk_left = disk_cap
        self._remover = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spool")
        self._closed = False
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
        self._empty()

    @property
    def memory_left(self) -> int:
        """Bytes of memory that bodies may still take."""
        return self._memory_left

    @property
    def disk_left(self) -> int:
        """Bytes of disk that bodies may still take."""
        return self._disk_left

    def close(self) -> None:
        """Remove what is left; bodies still open lose their files."""
        self._closed = True
        self._remover.shutdown()
        self._empty()

    def take_memory(self, amount: int, leaves: int = 0) -> bool:
        """Reserve memory; ``False`` when less than ``leaves`` would be left of the total."""
        if amount + leaves > self._memory_left:
            return False
        self._memory_left -= amount
        return True

    def take_disk(self, amount: int) -> None:
        """Reserve disk. Raises ``SpoolFull``."""
        if amount > self._disk_left:
            raise SpoolFull("the spool's disk cap is reached")
        self._disk_left -= amount

    def give_back(self, memory: int, disk: int) -> None:
        """Return what was reserved."""
        self._memory_left += memory
        self._disk_left += disk

    def create(self) -> tuple[int, Path]:
        """Make an empty private file. Raises ``SpoolFull`` when the disk will not have it."""
        path = self._directory / secrets.token_hex(12)
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), path
        except OSError as error:
            raise SpoolFull("the spool cannot make a file") from error

    def remove(self, path: Path, size: int) -> None:
        """Remove a body's file of ``size`` bytes, a large one soon and beside the loop."""
        if size < LARGE_FILE or self._closed:
            path.unlink(missing_ok=True)
        else:
            self._remover.submit(path.unlink, missing_ok=True)

    def _empty(self) -> None:
        for path in self._directory.iterdir():
            if path.is_file() or path.is_symlink():
                path.unlink(missing_ok=True)


class SpooledBody:
    """Bytes that are appended once and read any number of times; implements ``ports.Replayable``.

    Memory and file are given back when it was closed and so was every lease on it. ``memory_item``: bytes that it may
    have in memory, as long as ``leaves`` bytes of the spool's are left to others.
    """

    __slots__ = (
        *("_closed", "_file", "_gone", "_leases", "_leaves", "_memory_item", "_path", "_pile", "_reserved", "_sealed"),
        *("_spool", "length"),
    )

    def __init__(self, spool: Spool, memory_item: int = MEMORY_ITEM, leaves: int = 0) -> None:
        self._spool = spool
        self._memory_item = memory_item
        self._leaves = leaves
        self._pile = Pile()  # while it is in memory
        self._reserved = 0  # of memory
        self._file = -1
        self._path: Path | None = None
        self._closed = self._gone = self._sealed = False
        self._leases = 0
        self.length = 0

    @property
    def path(self) -> Path | None:
        """The file that holds the body, while it is open; ``None``: it lies in memory."""
        return None if self._gone else self._path

    def lease(self) -> Lease:
        """Give a hold on the body, which stays readable until that is closed, too. It must be sealed."""
        if self._gone:
            raise ValueError("the body is closed")
        self._leases += 1
        return Lease(self)

    def end_lease(self) -> None:
        """Take a hold back; for ``Lease`` only."""
        self._leases -= 1
        self._give_back()

    def expect(self, size: int, most: int) -> None:
        """Say how many bytes will come, at most: all of them stay in memory, or none if ``most`` do not hold them."""
        self._memory_item = size if size <= most and self._spool.take_memory(size, self._leaves) else 0
        self._reserved = self._memory_item

    def append(self, data: bytes | memoryview) -> None:
        """Add bytes at the end. Raises ``SpoolFull``; ``ValueError`` once the body was sealed in memory or closed."""
        if self._closed or self._sealed:
            raise ValueError("the body takes no more")
        size = len(data)
        if self._file < 0 and self._has_memory(size):
            self._pile.put(data)
        else:
            if self._file < 0:
                self._move_to_disk()
            self._write(data)
        self.length += size

    def seal(self) -> None:
        """Say that nothing more comes; memory that it has not used is given back."""
        if self._file < 0 and not self._sealed:
            self._sealed = True
            if self._reserved != self.length:
                self._spool.give_back(self._reserved - self.length, 0)
                self._reserved = self.length

    @property
    def held(self) -> Sequence[bytes] | None:
        """The pieces of memory that hold the whole body, if it is in memory."""
        self.seal()
        return self._pile.pieces() if self._sealed else None

    @property
    def in_memory(self) -> bytes | None:
        """The whole body as one value, if it is in memory."""
        self.seal()
        return self._pile.whole() if self._sealed else None

    def behind(self, start: int, end: int, at: tuple[int, int] = (0, 0)) -> tuple[bytes, tuple[int, int]]:
        """Give some of the bytes ``start:end`` while more are appended, at most 256 KiB; none when the body is closed.

        ``at``: where in memory to look from, as it was given the last time: pieces that were read are passed over.
        """
        if self._gone or start >= end:
            return b"", at
        if self._file >= 0:
            return os.pread(self._file, min(PIECE, end - start), start), at
        return self._pile.behind(start, end, at)

    async def read(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield the bytes ``start:end`` in pieces of at most 256 KiB; several readers may read at once."""
        for piece in self.pieces(start, self.length if end is None else end):
            yield piece

    def pieces(self, start: int, end: int, most: int = PIECE) -> Iterator[bytes]:
        """Yield the bytes ``start:end`` in pieces of at most ``most``; on disk all but the last have just as many."""
        if self._gone:
            raise ValueError("the body is closed")
        self.seal()
        if self._sealed:
            yield from self._pile.read(start, end, most)
            return
        stop = min(end, self.length)
        for at in range(start, stop, most):
            if self._gone:
                raise ValueError("the body is closed")
            yield os.pread(self._file, min(most, stop - at), at)

    def close(self) -> None:
        """Give memory and file back, once every lease has ended; idempotent."""
        if not self._closed:
            self._closed = True
            self._give_back()

    def _give_back(self) -> None:
        if self._gone or self._leases or not self._closed:
            return
        self._gone = True
        on_disk = self.length if self._file >= 0 else 0
        self._spool.give_back(self._reserved, on_disk)
        self._pile.clear()
        if self._path is not None:
            os.close(self._file)
            self._spool.remove(self._path, on_disk)

    def _has_memory(self, size: int) -> bool:
        """Take memory for more bytes, if there is any to be had."""
        missing = self.length + size - self._reserved
        if missing <= 0:
            return True
        if self.length + size > self._memory_item or not self._spool.take_memory(missing, self._leaves):
            return False
        self._reserved += missing
        return True

    def _move_to_disk(self) -> None:
        self._spool.take_disk(self.length)
        try:
            self._file, self._path = self._spool.create()
        except SpoolFull:
            self._spool.give_back(0, self.length)
            raise
        at, held, self._pile = 0, self._pile.pieces(), Pile()
        for piece in held:
            self._write_out(piece, at)
            at += len(piece)
        self._spool.give_back(self._reserved, 0)
        self._reserved = 0

    def _write(self, data: bytes | memoryview) -> None:
        self._spool.take_disk(len(data))
        try:
            self._write_out(data, self.length)
        except SpoolFull:
            self._spool.give_back(0, len(data))
            raise

    def _write_out(self, data: bytes | memoryview, at: int) -> None:
        """Write at a place, so that what a refused write left behind is written over."""
        view = memoryview(data)
        try:
            while view:
                written = os.pwrite(self._file, view[:PIECE], at)
                view, at = view[written:], at + written
        except OSError as error:
            raise SpoolFull("the spool's disk takes no more") from error


class _Spliced:
    """A body with some ranges replaced, read lazily; closing it leaves the original open."""

    def __init__(self, body: Replayable, splices: Sequence[Splice]) -> None:
        self._body = body
        self._splices = in_order(splices)
        self.length = length_after(body.length, splices)

    async def read(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        stop = self.length if end is None else min(end, self.length)
        at = 0  # in the spliced body
        for text, first, last in self._stretches():
            size = last - first
            low, high = max(start - at, 0), min(stop - at, size)
            if low < high and text:
                yield text[low:high]
            elif low < high:
                async for piece in self._body.read(first + low, first + high):
                    yield piece
            at += size
            if at >= stop:
                return

    def _stretches(self) -> Iterator[tuple[bytes, int, int]]:
        """Give what follows each other: a new text, or (without one) a range of the original."""
        done = 0
        for splice in self._splices:
            yield b"", done, splice.start
            yield splice.text, 0, len(splice.text)
            done = splice.end
        yield b"", done, self._body.length

    def close(self) -> None:
        """Nothing is held here."""


def spliced(body: Replayable, splices: Sequence[Splice]) -> Replayable:
    """Give ``body`` with ``splices`` made; they do not overlap. A small body in memory is spliced at once."""
    if not splices:
        return body
    if isinstance(body, SpooledBody) and body.length <= MEMORY_ITEM and (whole := body.in_memory) is not None:
        return Held(_splice(whole, splices))
    return _Spliced(body, splices)


def _splice(whole: bytes, splices: Sequence[Splice]) -> bytes:
    parts, done = [], 0
    for splice in in_order(splices):
        parts += [whole[done : splice.start], splice.text]
        done = splice.end
    return b"".join([*parts, whole[done:]])


class Held(Struct, frozen=True):
    """A small body in memory; implements ``ports.Replayable``."""

    data: bytes

    @property
    def length(self) -> int:
        """Bytes in all."""
        return len(self.data)

    @property
    def held(self) -> Sequence[bytes]:
        """The pieces of memory that hold it."""
        return (self.data,)

    async def read(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield the bytes ``start:end`` in pieces of at most 256 KiB."""
        stop = self.length if end is None else min(end, self.length)
        for at in range(start, stop, PIECE):
            yield self.data[at : min(stop, at + PIECE)]

    def close(self) -> None:
        """Nothing is held but the value itself."""
