"""What keeping a picture costs: processor time of the process, and the longest turn of the event loop.

``python -m bench.pictures [--count N] [--directory DIR]``: pictures of 3 MB out of the spool into a directory, the
facts into a SQLite ledger with the settlement; once with pictures kept and once without, the same otherwise. A turn of
the loop is measured in processor time of its thread, so that other programs of the machine are not counted.
"""

import argparse
import asyncio
import base64
import gc
import json
import os
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gateway.bodies.answer import AnswerSpool
from gateway.bodies.spool import Held, Spool
from gateway.core.assets import PREFIX, AssetId
from gateway.core.ids import RANDOM_BYTES, new_id
from gateway.core.signing import KEY_BYTES, Signer
from gateway.core.types import BodyMap, Directives, Facts, JsonObject, RequestId, Surface
from gateway.pictures.keeper import Keeper, KeeperMeans
from gateway.ports import Job, Picture, Settlement
from gateway.stores.assets_file import FileBlobs
from gateway.stores.assets_sql import open_assets
from gateway.stores.ledger_sql import SqlLedger, open_ledger

PICTURE_BYTES = 3_000_000
CHUNK = 64 * 1024


class Clock:
    def monotonic(self) -> float:
        return time.monotonic()

    def now(self) -> datetime:
        return datetime.now(UTC)


class Silence:
    def emit(self, _event: JsonObject) -> None:
        pass


class Watch:
    """Looks how long the loop is busy between two of its turns."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        self._is_over = False

    async def run(self) -> None:
        before = time.thread_time()
        while not self._is_over:
            await asyncio.sleep(0)
            now = time.thread_time()
            self.longest_s = max(self.longest_s, now - before)
            before = now

    def stop(self) -> None:
        self._is_over = True


def answer_of(spool: Spool) -> AnswerSpool:
    body = json.dumps({"created": 1, "data": [{"b64_json": base64.b64encode(os.urandom(PICTURE_BYTES)).decode()}]})
    answer = AnswerSpool(spool)
    for at in range(0, len(body), CHUNK):
        answer.feed(body[at : at + CHUNK].encode())
    answer.finish()
    return answer


def job_of(number: int) -> Job:
    return Job(
        request_id=RequestId(new_id("req", number, os.urandom(RANDOM_BYTES))),
        time=datetime.now(UTC),
        started=0.0,
        facts=Facts(surface=Surface.GENERATIONS, asked_model="gpt-image-2"),
        directives=Directives(),
        body=Held(b""),
        body_map=BodyMap(content_type="application/json", length=0, model=None, insert_at=0),
        prompt="",
        origin="http://127.0.0.1:8484",
    )


async def settle(ledger: SqlLedger, job: Job, kept: tuple[object, ...]) -> None:
    await ledger.settle(
        Settlement(
            request_id=job.request_id,
            time=job.time,
            endpoint="images/generations",
            asked_model="gpt-image-2",
            owner="o",
            channel="c",
            status=200,
            failure=None,
            record={},
            assets=kept,  # type: ignore[arg-type]
        )
    )


async def measure(directory: Path, count: int, *, keeps: bool, watches: bool) -> tuple[float, float]:
    """Give the processor time of one picture and the longest turn, both in seconds."""
    url = f"sqlite:///{directory}/waybill.db"
    ledger = open_ledger(url, serve=True)
    books, blobs, spool = open_assets(url), FileBlobs(directory / "assets"), Spool(directory / "spool")
    signer = Signer([b"k" * KEY_BYTES])
    means = KeeperMeans(
        blobs=blobs,
        shelf=FileBlobs(directory / "late"),
        books=books,
        signer=lambda: signer,
        clock=Clock(),
        events=Silence(),
        new_asset_id=lambda: AssetId(new_id(PREFIX, 0, os.urandom(RANDOM_BYTES))),
        ttl=timedelta(days=30),
    )
    keeper, watch = Keeper(means), Watch()
    answers = [answer_of(spool) for _ in range(count)]
    gc.collect()
    gc.freeze()  # as the server does once it has started
    watching = asyncio.ensure_future(watch.run()) if watches else None
    before = time.process_time()
    for number, answer in enumerate(answers):
        job = job_of(number)
        pictures = [Picture(image=image, body=lease()) for image, lease in answer.pictures()] if keeps else []
        await settle(ledger, job, (await keeper.keep(job, pictures)).assets)
        answer.close()
    used_s = time.process_time() - before
    watch.stop()
    if watching is not None:
        await watching
    books.close()
    blobs.close()
    ledger.close()
    return used_s / count, watch.longest_s


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--count", type=int, default=100)
    words.add_argument("--directory", type=Path, default=None)
    asked = words.parse_args()

    def run(*, keeps: bool, watches: bool) -> tuple[float, float]:
        with tempfile.TemporaryDirectory(dir=asked.directory) as directory:
            return asyncio.run(measure(Path(directory), asked.count, keeps=keeps, watches=watches))

    without = min(run(keeps=False, watches=False)[0] for _ in range(3))
    kept = min(run(keeps=True, watches=False)[0] for _ in range(3))
    longest = max(run(keeps=True, watches=True)[1] for _ in range(3))
    print(f"added processor time of a picture of {PICTURE_BYTES} bytes: {1000 * (kept - without):.2f} ms")
    print(f"longest turn of the event loop: {1000 * longest:.2f} ms")


if __name__ == "__main__":
    main()
