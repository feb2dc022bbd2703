"""Requests for the intake, made of bytes: in any slices, with or without a client that leaves."""

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from gateway.bodies.spool import Spool
from gateway.core.errand import Errand
from gateway.core.table import BodyLimits, PromptPrivacy, ServerSettings, Settings
from gateway.core.types import Refusal, RequestId, Surface
from gateway.intake import ClientGone, Incoming, Intake
from gateway.ports import Job

KEY = b"k" * 32
BOUNDARY = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
FORM = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
JSON = {"content-type": "application/json"}
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x10\x00\x00\x00\x08\x08\x06\x00\x00\x00\x00\x00\x00\x00"


def slices(body: bytes, size: int) -> list[bytes]:
    """The body in slices of one size."""
    return [body[start : start + size] for start in range(0, len(body), size)]


def cut(body: bytes, places: Iterable[int]) -> list[bytes]:
    """The body cut at places, given in any order; empty slices included."""
    ends = sorted(min(place, len(body)) for place in places)
    return [body[start:end] for start, end in zip([0, *ends], [*ends, len(body)], strict=True)]


async def chunks_of(pieces: Iterable[bytes], *, leaves: bool) -> AsyncIterator[bytes]:
    """Yield the pieces; then, perhaps, leave."""
    for piece in pieces:
        yield piece
    if leaves:
        raise ClientGone


def part(name: str, value: bytes | str, *, filename: str | None = None, more: str = "") -> bytes:
    """One part of a form, with its delimiter before it."""
    named = f'Content-Disposition: form-data; name="{name}"' + (f'; filename="{filename}"' if filename else "")
    head = f"--{BOUNDARY}\r\n{named}\r\n{more}\r\n".encode()
    return head + (value.encode() if isinstance(value, str) else value) + b"\r\n"


def form(*parts: bytes) -> bytes:
    """A whole form."""
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


@dataclass
class Door:
    """An intake over its own spool."""

    directory: Path
    limits: BodyLimits = field(default_factory=BodyLimits)
    prompts: PromptPrivacy = PromptPrivacy.HASH
    disk_cap: int = 2_000_000_000
    spool: Spool = field(init=False)
    intake: Intake = field(init=False)
    taken: int = 0
    errand: Errand = Errand.CREATE

    def __post_init__(self) -> None:
        self.spool = Spool(self.directory / "spool", disk_cap=self.disk_cap)
        settings = Settings(database="sqlite://", server=ServerSettings(body=self.limits), prompts=self.prompts)
        self.intake = Intake(self.spool, settings, KEY)

    async def read(
        self,
        surface: Surface,
        body: bytes | Iterable[bytes],
        headers: Mapping[str, str] = JSON,
        query: str = "",
        *,
        leaves: bool = False,
    ) -> Job | Refusal:
        """Read one request."""
        incoming = Incoming(
            surface=surface,
            request_id=RequestId("req_" + "0" * 32),
            time=datetime(2026, 11, 21, tzinfo=UTC),
            started=1.0,
            headers=headers,
            chunks=self._counted(chunks_of([body] if isinstance(body, bytes) else body, leaves=leaves)),
            query=query,
            errand=self.errand,
        )
        return await self.intake.read(incoming)

    async def _counted(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for chunk in chunks:
            self.taken += len(chunk)
            yield chunk

    async def job(self, surface: Surface, body: bytes | Iterable[bytes], headers: Mapping[str, str] = JSON) -> Job:
        """Read one request that is accepted."""
        read = await self.read(surface, body, headers)
        assert isinstance(read, Job), read
        return read

    async def refusal(
        self, surface: Surface, body: bytes | Iterable[bytes], headers: Mapping[str, str] = JSON
    ) -> Refusal:
        """Read one request that is refused."""
        read = await self.read(surface, body, headers)
        assert isinstance(read, Refusal), read.facts
        return read


async def bytes_of(job: Job) -> bytes:
    """The body a job carries."""
    return b"".join([piece async for piece in job.body.read()])
