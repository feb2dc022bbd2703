"""Pictures in a directory: whole or not at all, linked where possible, and safe between who keeps and who deletes."""

import asyncio
import contextlib
import hashlib
import os
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.bodies.spool import Held, Spool, SpooledBody
from gateway.ports import NoRoom, StoreUnavailable
from gateway.stores.assets_file import BATCH, PIECE, FileBlobs

DATA = os.urandom(3 * PIECE + 17)
SHA = hashlib.sha256(DATA).hexdigest()
LATER = timedelta(hours=1)


@pytest.fixture
def blobs(tmp_path: Path) -> FileBlobs:
    return FileBlobs(tmp_path / "assets")


def on_disk(spool: Spool, data: bytes) -> SpooledBody:
    body = SpooledBody(spool, 64)
    body.append(data)
    body.seal()
    return body


async def read(blobs: FileBlobs, sha256: str = SHA, start: int = 0, end: int | None = None) -> bytes:
    pieces = [piece async for piece in blobs.read(sha256, start, end)]
    assert all(len(piece) <= PIECE for piece in pieces)
    return b"".join(pieces)


def all_files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


async def test_a_body_on_disk_is_linked_and_outlives_the_spool(tmp_path: Path, blobs: FileBlobs) -> None:
    spool = Spool(tmp_path / "spool")
    body = on_disk(spool, DATA)
    assert body.path is not None
    inode = body.path.stat().st_ino
    lease = body.lease()
    body.close()
    await blobs.keep(SHA, lease, "image/png")
    assert Path(blobs.place(SHA)).stat().st_ino == inode
    lease.close()
    assert all_files(tmp_path / "spool") == []
    assert spool.disk_left == Spool(tmp_path / "other").disk_left
    assert await read(blobs) == DATA
    assert await read(blobs, start=5, end=PIECE + 9) == DATA[5 : PIECE + 9]
    assert await blobs.size(SHA) == len(DATA)


async def test_a_body_in_memory_is_written_whole_and_leaves_nothing_beside_it(tmp_path: Path, blobs: FileBlobs) -> None:
    await asyncio.gather(*(blobs.keep(SHA, Held(DATA), "image/png") for _ in range(5)))
    assert all_files(tmp_path) == [SHA]
    assert await read(blobs) == DATA


async def test_a_body_of_many_pieces_is_written_in_batches(tmp_path: Path) -> None:
    data = os.urandom(2 * BATCH * PIECE + 17)
    sha256 = hashlib.sha256(data).hexdigest()
    blobs = FileBlobs(tmp_path / "assets")
    await blobs.keep(sha256, Held(data), "image/png")
    await blobs.keep(sha256, Held(b"it is there already"), "image/png")
    assert all_files(tmp_path) == [sha256]
    assert await read(blobs, sha256) == data


class Failing:
    """A body that breaks half way."""

    length = 10

    async def read(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        yield b"half"
        raise StoreUnavailable("the other store went away")

    def close(self) -> None:
        """Nothing is held."""


async def test_a_body_that_breaks_half_way_is_not_there_at_all(tmp_path: Path, blobs: FileBlobs) -> None:
    with pytest.raises(StoreUnavailable):
        await blobs.keep(SHA, Failing(), "image/png")
    assert all_files(tmp_path) == []
    assert await blobs.size(SHA) is None


async def test_what_is_kept_since_is_not_deleted(blobs: FileBlobs) -> None:
    now = datetime.now(UTC)
    await blobs.keep(SHA, Held(DATA), "image/png")
    assert not await blobs.delete(SHA, before=now - LATER)
    assert await read(blobs) == DATA
    os.utime(blobs.place(SHA), (0, 0))
    await blobs.keep(SHA, Held(DATA), "image/png")  # touched
    assert not await blobs.delete(SHA, before=now - LATER)
    os.utime(blobs.place(SHA), (0, 0))
    assert await blobs.delete(SHA, before=now - LATER)
    assert await blobs.size(SHA) is None
    assert await blobs.delete(SHA)


def test_keeping_and_deleting_at_once_never_loses_what_was_kept_last(tmp_path: Path) -> None:
    """Two processes, as far as the store can tell: one clears up old blobs, the other keeps the same one."""
    keeping, clearing = FileBlobs(tmp_path / "assets"), FileBlobs(tmp_path / "assets")
    path = Path(keeping.place(SHA))
    over = threading.Event()

    def clear() -> None:
        async def work() -> None:
            while not over.is_set():
                await clearing.delete(SHA, before=datetime.now(UTC) - timedelta(seconds=30))

        asyncio.run(work())

    async def keep() -> None:
        for _ in range(300):
            with contextlib.suppress(FileNotFoundError):
                os.utime(path, (0, 0))  # an old one, which may be deleted
            await keeping.keep(SHA, Held(b"x" * 100), "image/png")
            await asyncio.sleep(0)
        await asyncio.sleep(0.05)

    thread = threading.Thread(target=clear)
    thread.start()
    try:
        asyncio.run(keep())
    finally:
        over.set()
        thread.join()
    assert path.read_bytes() == b"x" * 100
    assert all_files(tmp_path) == [SHA]


async def test_the_ledgers_part_of_the_disk_is_left_alone(tmp_path: Path) -> None:
    disk = os.statvfs(tmp_path)
    blobs = FileBlobs(tmp_path / "assets", reserve=disk.f_bavail * disk.f_frsize * 2)
    with pytest.raises(NoRoom):
        await blobs.keep(SHA, Held(DATA), "image/png")
    assert all_files(tmp_path) == []


async def test_what_a_crash_left_is_put_right(tmp_path: Path) -> None:
    blobs = FileBlobs(tmp_path, stale_s=-1)
    await blobs.keep(SHA, Held(DATA), "image/png")
    folder = Path(blobs.place(SHA)).parent
    (folder / ".new-abc").write_bytes(b"half")
    aside = hashlib.sha256(b"other").hexdigest()
    (folder / f"{aside}.aside").write_bytes(b"other")
    found = [blob.sha256 async for blob in blobs.found("")]
    again = {blob.sha256: blob.bytes async for blob in blobs.found("")}
    assert SHA in found
    assert again == {SHA: len(DATA), aside: 5}
    assert all_files(tmp_path) == sorted([SHA, aside])


async def test_names_are_hashes_and_nothing_else(blobs: FileBlobs) -> None:
    for name in ("../../etc/passwd", SHA.upper(), SHA[:-1], SHA + "0", ""):
        with pytest.raises(ValueError, match="not a hash"):
            await blobs.size(name)


async def test_a_directory_that_cannot_be_written_is_a_store_that_is_down(tmp_path: Path) -> None:
    (tmp_path / "assets").write_text("no directory")
    blobs = FileBlobs(tmp_path / "assets")
    with pytest.raises(StoreUnavailable):
        await blobs.keep(SHA, Held(DATA), "image/png")
    with pytest.raises(StoreUnavailable):
        await blobs.size(SHA)


async def test_the_loop_goes_on_while_a_picture_is_stored(tmp_path: Path, blobs: FileBlobs) -> None:
    spool = Spool(tmp_path / "spool")
    steps = 0

    async def tick() -> None:
        nonlocal steps
        while True:
            await asyncio.sleep(0)
            steps += 1

    ticking = asyncio.ensure_future(tick())
    body = on_disk(spool, DATA)
    await blobs.keep(SHA, body.lease(), "image/png")
    ticking.cancel()
    assert steps > 3
