"""Requests about a Response that is kept: an id, a query and headers, and no body."""

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.bodies.spool import Spool
from gateway.core.errand import Errand
from gateway.core.table import Settings
from gateway.core.types import Refusal, RequestId, Surface
from gateway.intake import Incoming, Intake
from gateway.ports import Job


async def unread() -> AsyncIterator[bytes]:
    yield b"a body that nobody asked for"
    raise AssertionError("the body is not read")


async def read(directory: Path, query: str = "", headers: Mapping[str, str] | None = None) -> Job | Refusal:
    incoming = Incoming(
        surface=Surface.RESPONSES,
        errand=Errand.RETRIEVE,
        subject="resp_1",
        request_id=RequestId("req_1"),
        time=datetime(2026, 11, 21, tzinfo=UTC),
        started=1.0,
        headers=headers or {},
        chunks=unread(),
        query=query,
    )
    return await Intake(Spool(directory / "spool"), Settings(database="sqlite://"), b"key").read(incoming)


@pytest.mark.parametrize(
    "query", ["", "include[]=a&include[]=b", "stream=false", "stream=", "starting_after=3", "%ff=%zz"]
)
async def test_a_query_travels(tmp_path: Path, query: str) -> None:
    job = await read(tmp_path, query, {"x-route-pin": "A", "openai-beta": "x"})
    assert isinstance(job, Job)
    assert (job.subject, job.query, job.body.length, job.facts.endpoint) == ("resp_1", query, 0, "responses/retrieve")
    assert (job.directives.pin, job.forwarded) == ("A", (("openai-beta", "x"),))


@pytest.mark.parametrize("query", ["stream=true", "stream=True&starting_after=1", "a=1&stream=1", "str%65am=true"])
async def test_a_stream_is_refused(tmp_path: Path, query: str) -> None:
    refusal = await read(tmp_path, query)
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.code, refusal.param) == (400, "unsupported_parameter", "stream")


async def test_what_headers_ask_is_followed_or_refused(tmp_path: Path) -> None:
    for headers in ({"idempotency-key": "k"}, {"x-route-fallback": "on"}, {"openai-beta": "\n"}):
        assert isinstance(await read(tmp_path, headers=headers), Refusal)
