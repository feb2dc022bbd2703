"""The spool: bounded memory, then private files, given back as often as needed."""

import asyncio
import os
import resource
import signal
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.bodies.spool import DISK_CAP, LARGE_FILE, PIECE, Spool, SpooledBody, SpoolFull, spliced
from gateway.core.types import Splice
from gateway.ports import Replayable


async def whole(body: Replayable, start: int = 0, end: int | None = None) -> bytes:
    pieces = [piece async for piece in body.read(start, end)]
    assert all(len(piece) <= PIECE for piece in pieces)
    return b"".join(pieces)


def filled(spool: Spool, data: bytes, memory_item: int = 64, step: int = 50) -> SpooledBody:
    body = SpooledBody(spool, memory_item)
    for at in range(0, len(data), step):
        body.append(memoryview(data)[at : at + step])
    body.seal()
    return body


async def test_a_small_body_stays_in_memory(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", memory_total=1000)
    body = filled(spool, b"x" * 60)
    assert body.in_memory == b"x" * 60
    assert list((tmp_path / "spool").iterdir()) == []
    assert spool.memory_left == 940
    body.close()
    body.close()
    assert spool.memory_left == 1000


async def test_a_larger_body_goes_to_a_private_file_that_goes_with_it(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    data = os.urandom(3 * PIECE + 17)
    body = filled(spool, data, step=70_000)
    (file,) = (tmp_path / "spool").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "spool").stat().st_mode) == 0o700
    assert body.in_memory is None
    first, second = await asyncio.gather(whole(body), whole(body, 5, PIECE + 9))
    assert first == data
    assert second == data[5 : PIECE + 9]
    body.close()
    assert list((tmp_path / "spool").iterdir()) == []
    with pytest.raises(ValueError, match="closed"):
        list(body.pieces(0, 1))


async def test_memory_over_all_bodies_is_bounded(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", memory_total=100)
    first, second = filled(spool, b"a" * 60), filled(spool, b"b" * 60)
    assert first.in_memory is not None
    assert second.in_memory is None
    assert await whole(second) == b"b" * 60
    first.close()
    assert filled(spool, b"c" * 60).in_memory is not None


async def test_what_is_expected_has_its_memory_at_once_or_goes_to_disk_at_once(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", memory_total=1000)
    first, second, third = (SpooledBody(spool, 0, leaves=100) for _ in range(3))
    first.expect(600, most=700)
    assert spool.memory_left == 400
    second.expect(600, most=700)
    third.expect(800, most=700)
    assert spool.memory_left == 400
    for body in (first, second, third):
        body.append(b"x" * 250)
        body.append(b"y" * 250)
        body.seal()
        assert await whole(body, 200, 300) == b"x" * 50 + b"y" * 50
    assert spool.memory_left == 500  # what did not come is given back
    assert [body.path is None for body in (first, second, third)] == [True, False, False]
    for body in (first, second, third):
        body.close()
    assert (spool.memory_left, list((tmp_path / "spool").iterdir())) == (1000, [])


async def test_what_comes_beyond_the_expected_is_kept_too(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", memory_total=1000)
    body = SpooledBody(spool, 0)
    body.expect(100, most=200)
    body.append(b"x" * 90)
    body.append(b"y" * 90)
    assert body.path is not None
    assert await whole(body) == b"x" * 90 + b"y" * 90
    assert spool.memory_left == 1000
    body.close()


def test_the_disk_cap_is_a_full_spool_and_leaves_the_books_right(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", disk_cap=200)
    body = SpooledBody(spool, 64)
    body.append(b"x" * 150)
    with pytest.raises(SpoolFull):
        body.append(b"x" * 100)
    body.append(b"x" * 50)
    assert spool.disk_left == 0
    body.close()
    assert spool.disk_left == 200


def test_a_spool_whose_directory_vanished_is_full(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    (tmp_path / "spool").rmdir()
    with pytest.raises(SpoolFull):
        SpooledBody(spool, 1).append(b"xx")
    assert spool.disk_left == Spool(tmp_path / "other").disk_left


def test_what_an_earlier_process_left_is_removed_at_start_and_at_close(tmp_path: Path) -> None:
    directory = tmp_path / "spool"
    directory.mkdir()
    (directory / "old").write_bytes(b"x")
    (directory / "link").symlink_to(tmp_path)
    spool = Spool(directory)
    assert list(directory.iterdir()) == []
    filled(spool, b"x" * 500)
    spool.close()
    assert list(directory.iterdir()) == []


async def test_what_a_refused_write_left_is_written_over(tmp_path: Path) -> None:
    body = SpooledBody(Spool(tmp_path / "spool"), 0)
    body.append(b"first")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8, limits[1]))
    try:
        with pytest.raises(SpoolFull):
            body.append(b"xxxxxx")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    body.append(b"last")
    assert await whole(body) == b"firstlast"
    body.close()


def test_a_body_that_was_sealed_or_closed_takes_no_more(tmp_path: Path) -> None:
    body = filled(Spool(tmp_path / "spool"), b"x" * 60)
    with pytest.raises(ValueError, match="no more"):
        body.append(b"y")
    body.close()
    with pytest.raises(ValueError, match="no more"):
        body.append(b"y")


@pytest.mark.parametrize("pieces", [3, 5])  # joined, and too large for that
async def test_a_spliced_body_in_memory_is_read_in_pieces_too(tmp_path: Path, pieces: int) -> None:
    data = os.urandom(pieces * PIECE)
    body = filled(Spool(tmp_path / "spool"), data, memory_item=len(data), step=100_000)
    body.seal()
    assert body.path is None
    made = spliced(body, [Splice(start=1, end=2, text=b"abc")])
    wanted = data[:1] + b"abc" + data[2:]
    assert await whole(made) == wanted
    assert await whole(made, 5, PIECE + 9) == wanted[5 : PIECE + 9]
    assert spliced(body, []) is body


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.binary(max_size=300),
    cuts=st.lists(st.integers(0, 300), max_size=6, unique=True),
    texts=st.lists(st.binary(max_size=9), min_size=3, max_size=3),
    memory_item=st.sampled_from([0, 1000]),
    window=st.tuples(st.integers(0, 320), st.integers(0, 320)),
)
def test_a_spliced_body_reads_as_the_splices_say(
    tmp_path: Path, data: bytes, cuts: list[int], texts: list[bytes], memory_item: int, window: tuple[int, int]
) -> None:
    edges = sorted(min(cut, len(data)) for cut in cuts)
    edges = edges[: len(edges) // 2 * 2]
    splices = [
        Splice(start=edges[at], end=edges[at + 1], text=text)
        for at, text in zip(range(0, len(edges), 2), texts, strict=False)
    ]
    wanted, done = b"", 0
    for splice in splices:
        wanted += data[done : splice.start] + splice.text
        done = splice.end
    wanted += data[done:]
    body = filled(Spool(tmp_path / "spool"), data, memory_item)
    made = spliced(body, splices)
    assert made.length == len(wanted)
    assert asyncio.run(whole(made)) == wanted
    assert asyncio.run(whole(made, *window)) == wanted[window[0] : window[1]]
    assert asyncio.run(whole(body)) == data
    body.close()


async def test_a_large_file_is_removed_beside_the_loop(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    for closes_first in (False, True):
        body = filled(spool, bytes(LARGE_FILE), step=PIECE)
        if closes_first:
            spool.close()
        body.close()
        assert spool.disk_left == DISK_CAP
        async with asyncio.timeout(5):
            while any((tmp_path / "spool").iterdir()):  # noqa: ASYNC110 - a thread does it
                await asyncio.sleep(0.005)
    spool.close()
