"""A request body out of a file, read by the same intake as the server's: the same facts, the same refusals."""

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

from gateway.bodies.spool import Spool
from gateway.core.table import Settings
from gateway.core.types import Facts, Refusal, RequestId, Surface
from gateway.intake import Incoming, Intake

_KEY = bytes(32)  # prompts are hashed, and the hash is shown to nobody


def read_body(file: Path) -> bytes:
    """Read a body; ``-`` is standard input. Raises ``OSError`` when the file cannot be read."""
    return sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()


def read_facts(data: bytes, surface: Surface, settings: Settings) -> Facts | Refusal:
    """Read a JSON body as the server does."""
    with tempfile.TemporaryDirectory(prefix="waybill-") as directory:
        return asyncio.run(_read(data, surface, settings, Path(directory)))


async def _read(data: bytes, surface: Surface, settings: Settings, directory: Path) -> Facts | Refusal:
    spool = Spool(directory)
    try:
        job = await Intake(spool, settings, _KEY).read(
            Incoming(
                surface=surface,
                request_id=RequestId("req_0"),
                time=datetime.now(UTC),
                started=time.monotonic(),
                headers={"content-type": "application/json", "content-length": str(len(data))},
                chunks=_once(data),
            )
        )
    finally:
        spool.close()
    if isinstance(job, Refusal):
        return job
    job.body.close()
    return job.facts


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
