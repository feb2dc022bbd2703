"""Pictures in an object store, over a socket, by the API that all such stores speak."""

import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest
from moto.server import ThreadedMotoServer
from msgspec.structs import replace
from obstore.store import S3Store

from gateway.bodies.spool import Held, Spool, SpooledBody
from gateway.core.table import AssetSettings, ObjectStore, Secret
from gateway.ports import StoreUnavailable
from gateway.stores.assets import open_blobs
from gateway.stores.assets_object import PIECE, ObjectBlobs
from tests.fakes.upstream import closed_port

DATA = os.urandom(3 * PIECE + 17)
SHA = hashlib.sha256(DATA).hexdigest()
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def place(server: str) -> ObjectStore:
    return ObjectStore(
        bucket="pictures",
        prefix="waybill/test",
        endpoint=server,
        region="us-east-1",
        access_key=Secret("testing"),
        secret_key=Secret("testing"),
    )


@pytest.fixture
async def blobs(place: ObjectStore) -> AsyncIterator[ObjectBlobs]:
    async with httpx2.AsyncClient() as client:
        await client.put(f"{place.endpoint}/{place.bucket}")
    opened = open_blobs(AssetSettings(store=place))
    assert isinstance(opened, ObjectBlobs)
    yield opened
    await opened.delete(SHA)


async def read(blobs: ObjectBlobs, start: int = 0, end: int | None = None) -> bytes:
    pieces = [piece async for piece in blobs.read(SHA, start, end)]
    assert all(len(piece) <= PIECE for piece in pieces)
    return b"".join(pieces)


async def test_a_picture_is_kept_read_in_parts_and_deleted(blobs: ObjectBlobs) -> None:
    assert await blobs.size(SHA) is None
    await blobs.keep(SHA, Held(DATA), "image/png")
    await blobs.keep(SHA, Held(DATA), "image/png")
    assert await blobs.size(SHA) == len(DATA)
    assert await read(blobs) == DATA
    assert await read(blobs, 5, PIECE + 9) == DATA[5 : PIECE + 9]
    assert await read(blobs, 7) == DATA[7:]
    assert await read(blobs, 7, 7) == b""
    assert blobs.place(SHA) == f"s3://pictures/waybill/test/{SHA[:2]}/{SHA[2:4]}/{SHA}"
    assert await blobs.delete(SHA)
    assert await blobs.delete(SHA)
    assert await blobs.size(SHA) is None


async def test_a_body_on_disk_is_uploaded_from_there(blobs: ObjectBlobs, tmp_path: Path) -> None:
    body = SpooledBody(Spool(tmp_path), 64)
    body.append(DATA)
    body.seal()
    await blobs.keep(SHA, body.lease(), "image/png")
    assert await read(blobs) == DATA


async def test_what_was_kept_since_is_not_deleted(blobs: ObjectBlobs) -> None:
    await blobs.keep(SHA, Held(DATA), "image/png")
    assert not await blobs.delete(SHA, before=datetime.now(UTC) - HOUR)
    assert await blobs.delete(SHA, before=datetime.now(UTC) + HOUR)


async def test_what_is_there_can_be_listed(blobs: ObjectBlobs) -> None:
    await blobs.keep(SHA, Held(DATA), "image/png")
    for prefix in ("", SHA[:1], SHA[:2], SHA[:4], SHA[:9]):
        assert [(one.sha256, one.bytes) async for one in blobs.found(prefix)] == [(SHA, len(DATA))], prefix
    other = "0" if SHA[0] != "0" else "1"
    assert [one async for one in blobs.found(other * 2)] == []


async def test_a_store_that_cannot_be_had_is_down_and_says_no_more(place: ObjectStore) -> None:
    wrong = (
        replace(place, endpoint=f"http://127.0.0.1:{closed_port()}"),
        replace(place, bucket="no-such-bucket"),
    )
    for where in wrong:
        blobs = ObjectBlobs(where, retry_for=timedelta(milliseconds=100))
        with pytest.raises(StoreUnavailable) as told:
            await blobs.keep(SHA, Held(DATA), "image/png")
        assert "testing" not in str(told.value)
        assert "127.0.0.1" not in str(told.value)
        with pytest.raises(StoreUnavailable):
            await read(blobs)


def test_names_are_hashes_and_nothing_else(place: ObjectStore) -> None:
    assert isinstance(ObjectBlobs(place)._store, S3Store)
    for name in ("../../etc/passwd", SHA.upper(), SHA[:-1], ""):
        with pytest.raises(ValueError, match="not a hash"):
            ObjectBlobs(place).place(name)
