"""Jobs and channels for the tests of codecs: bodies in memory, their maps found the naive way."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

from gateway.core.errand import Errand
from gateway.core.table import Api, Channel, ChannelKind, Secret
from gateway.core.types import BodyMap, Directives, Facts, RequestId, Surface, ToolFacts
from gateway.ports import Job


class Body:
    """A body in memory."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    @property
    def length(self) -> int:
        return len(self.data)

    async def read(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        yield self.data[start:end]

    def close(self) -> None:
        self.data = b""


def job(
    data: bytes,
    *,
    surface: Surface = Surface.GENERATIONS,
    asked: str | None = "a",
    tool: str | None = None,
    boundary: str | None = None,
    query: str = "",
    errand: Errand = Errand.CREATE,
    subject: str | None = None,
    forwarded: tuple[tuple[str, str], ...] = (),
) -> Job:
    """A job whose body map is found the naive way: the first and the later quoted words after ``"model":``."""
    marker = b'name="model"\r\n\r\n' if boundary else b'"model":'
    places: list[tuple[int, int]] = []
    at = data.find(marker)
    while at >= 0:
        start = at + len(marker)
        end = data.index(b"\r\n", start) if boundary else data.index(b'"', start + 1) + 1
        places.append((start, end))
        at = data.find(marker, end)
    return Job(
        request_id=RequestId("req_0"),
        time=datetime(2026, 11, 20, tzinfo=UTC),
        started=0.0,
        facts=Facts(
            surface=surface,
            asked_model=asked,
            tool=ToolFacts(asked_model=tool, forced=False) if tool else None,
            errand=errand,
        ),
        directives=Directives(),
        body=Body(data),
        body_map=BodyMap(
            content_type=f"multipart/form-data; boundary={boundary}" if boundary else "application/json",
            length=len(data),
            model=places[0] if asked is not None else None,
            insert_at=0 if boundary else data.index(b"{") + 1,
            tool_models=tuple(places[1:]),
            boundary=boundary,
        ),
        prompt="",
        query=query,
        forwarded=forwarded,
        subject=subject,
    )


def channel(key: str | None = "sk-test") -> Channel:
    return Channel(
        name="openai",
        owner="openai",
        kind=ChannelKind.DIRECT,
        api=Api.OPENAI,
        base_url="https://api.openai.com/v1",
        host="api.openai.com",
        rows={},
        api_key=Secret(key) if key else None,
    )
