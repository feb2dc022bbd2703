"""A small house behind the web layer: an intake and a relay that do what a test says, and a server on a socket."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import orjson
from starlette.types import ASGIApp

from gateway.core.record import AttemptRecord, Record, ResultRecord
from gateway.core.table import (
    Api,
    Channel,
    ChannelKind,
    FailureCodes,
    Patience,
    Route,
    RouteTable,
    RouteTarget,
    Row,
    ServerSettings,
    Settings,
)
from gateway.core.types import (
    AttemptId,
    BodyMap,
    Directives,
    Facts,
    JsonObject,
    Outcome,
    Refusal,
    RequestId,
    Surface,
)
from gateway.exchange import Presence
from gateway.inspection import Checked
from gateway.intake.incoming import Incoming
from gateway.outlet import Outlet
from gateway.ports import Job
from gateway.relay import Refused, Result
from gateway.web.admin import Control
from gateway.web.app import build_app
from gateway.web.health import State
from gateway.web.receipt import DEFAULT_RECEIPT, Receipt
from gateway.web.server import Drain, build_server
from gateway.web.services import Load, Services

MOMENT = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)
CAP = 1_000_000


class Ticking:
    def __init__(self) -> None:
        self.at = 0.0

    def monotonic(self) -> float:
        self.at += 0.001
        return self.at

    def now(self) -> datetime:
        return MOMENT


class Kept:
    """A body in memory, given in pieces; counts how it was treated."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces
        self.closed = 0
        self.given = 0

    @property
    def length(self) -> int:
        return sum(map(len, self.pieces))

    async def chunks(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            self.given += 1
            yield piece

    async def read(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        yield b"".join(self.pieces)[start:end]

    def close(self) -> None:
        self.closed += 1


def record_of(
    request_id: str = "req_1", status: int = 200, attempts: tuple[AttemptRecord, ...] = (), code: str | None = None
) -> Record:
    return Record(
        time=MOMENT,
        request_id=RequestId(request_id),
        endpoint="images/generations",
        stream=False,
        result=ResultRecord(status=status, code=code),
        latency_ms=12,
        upstream_ms=10 if attempts else 0,
        attempts=attempts,
    )


def attempt_of(n: int = 1, outcome: Outcome = Outcome.DELIVERED) -> AttemptRecord:
    return AttemptRecord(
        n=n,
        attempt_id=AttemptId("att_1"),
        channel="openai",
        owner="openai",
        row="gpt-image-2",
        surface="images/generations",
        sent_model="gpt-image-2",
        started_ms=0,
        duration_ms=10,
        outcome=outcome,
        status=200,
        upstream_request_id="req_up",
    )


@dataclass
class Desk:
    """An intake: takes bodies up to ``CAP``; ``verdict`` may refuse them after they were read."""

    seen: list[Incoming] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    verdict: Refusal | None = None
    stream: bool = False
    spooled: list[Kept] = field(default_factory=list)

    async def read(self, incoming: Incoming) -> Job | Refusal:
        self.seen.append(incoming)
        taken = bytearray()
        async for chunk in incoming.chunks:
            taken += chunk
            if len(taken) > CAP:
                return Refusal(status=413, code="request_too_large", message="Too large.")
        self.bodies.append(bytes(taken))
        if self.verdict is not None:
            return self.verdict
        body = Kept(bytes(taken))
        self.spooled.append(body)
        return Job(
            request_id=incoming.request_id,
            time=incoming.time,
            started=incoming.started,
            facts=Facts(surface=incoming.surface, asked_model="gpt-image-2", stream=self.stream),
            directives=Directives(),
            body=body,
            body_map=BodyMap(content_type="application/json", length=body.length, model=None, insert_at=1),
            prompt="a cat",
            query=incoming.query,
        )


Serve = Callable[[Job, Presence], Awaitable[Result]]


async def deliver(job: Job, _presence: Presence) -> Result:
    answer = orjson.dumps({"data": [], "endpoint": job.facts.surface.value})
    return Result(status=200, record=record_of(job.request_id, attempts=(attempt_of(),)), body=Kept(answer))


@dataclass
class Line:
    """A relay: ``serve`` makes the result; keeps what it was asked."""

    serve: Serve = deliver
    jobs: list[Job] = field(default_factory=list)
    presences: list[Presence] = field(default_factory=list)
    outlets: list[Outlet] = field(default_factory=list)
    refusals: list[Refused] = field(default_factory=list)

    async def run(self, job: Job, presence: Presence, outlet: Outlet | None = None) -> Result:
        self.jobs.append(job)
        self.presences.append(presence)
        if outlet is not None:
            self.outlets.append(outlet)
        try:
            return await self.serve(job, presence)
        finally:
            job.body.close()

    async def check(self, job: Job) -> Checked:
        self.jobs.append(job)
        job.body.close()
        return Checked(document={"object": "images.check"}, record=record_of(job.request_id))

    async def refuse(self, refused: Refused) -> Record:
        self.refusals.append(refused)
        return record_of(refused.request_id, status=refused.refusal.status, code=refused.refusal.code)


@dataclass
class Log:
    lines: list[JsonObject] = field(default_factory=list)

    def emit(self, event: JsonObject) -> None:
        self.lines.append(event)


@dataclass
class Books:
    """Keeps the records that end at the edge: ``rows`` would be in the ledger, ``notes`` only in the log."""

    rows: list[Record] = field(default_factory=list)
    notes: list[Record] = field(default_factory=list)

    async def settle(self, record: Record) -> None:
        await asyncio.sleep(0)
        self.rows.append(record)

    def note(self, record: Record) -> None:
        self.notes.append(record)


def channel(name: str, unready: str | None = None, *serves: Surface) -> Channel:
    row = Row(name="gpt-image-2", model="gpt-image-2", serves=frozenset(serves or (Surface.GENERATIONS, Surface.EDITS)))
    return Channel(
        name=name,
        owner=f"{name}.example",
        kind=ChannelKind.DIRECT,
        api=Api.OPENAI,
        base_url="http://127.0.0.1",
        host="127.0.0.1",
        rows={"gpt-image-2": row},
        unready=unready,
    )


def table_of(channels: tuple[Channel, ...] | None = None, routes: tuple[Route, ...] | None = None) -> RouteTable:
    known = channels or (channel("openai"), channel("azure", "AZURE_KEY is not set", Surface.RESPONSES))
    targets = tuple(RouteTarget(channel=c.name, row="gpt-image-2", unusable=c.unready) for c in known)
    return RouteTable(
        version="v1",
        channels={c.name: c for c in known},
        routes={r.name: r for r in routes or (Route(name="gpt-image-2", targets=targets),)},
        patience=Patience(by_quality={}, default_s=1, heavy_s=1, heavy_pixels=1, heavy_inputs=1, responses_s=1),
        codes=FailureCodes(codes={}, code_prefixes=(), types={}, statuses={}, phrases=()),
    )


@dataclass
class House:
    desk: Desk = field(default_factory=Desk)
    line: Line = field(default_factory=Line)
    log: Log = field(default_factory=Log)
    table: RouteTable = field(default_factory=table_of)
    max_in_flight: int = 100
    state: State = field(default_factory=State)
    books: Books = field(default_factory=Books)
    load: Load = field(default_factory=Load)
    control: Control | None = None
    ids: int = 0

    def new_id(self) -> RequestId:
        self.ids += 1
        return RequestId(f"req_{self.ids:032x}")

    async def look(self) -> State:
        return self.state

    def app(self) -> ASGIApp:
        return build_app(
            Services(
                relay=self.line,
                kept=self.line,
                inspector=self.line,
                intake=self.desk,
                table=lambda: self.table,
                settings=Settings(database="", server=ServerSettings(max_in_flight=self.max_in_flight)),
                clock=Ticking(),
                new_request_id=self.new_id,
                events=self.log,
                books=self.books,
                state=self.look,
                load=self.load,
            ),
            self.control,
        )


async def until(condition: Callable[[], object]) -> None:
    """Wait until something outside of the test's reach has happened."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what is waited for happens behind a socket
            await asyncio.sleep(0.005)


def bound() -> socket.socket:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    return listener


@contextlib.asynccontextmanager
async def serving(app: ASGIApp, receipt: Receipt = DEFAULT_RECEIPT) -> AsyncIterator[int]:
    """Serve on the loop of the test; gives the port."""
    listening = asyncio.Event()
    listener = bound()
    port: int = listener.getsockname()[1]
    server = build_server(app, on_ready=listening.set, receipt=receipt, drain=Drain(grace_s=1))
    async with asyncio.TaskGroup() as group:
        group.create_task(server.serve(sockets=[listener]))
        await listening.wait()
        try:
            yield port
        finally:
            server.should_exit = True


@contextlib.contextmanager
def serving_apart(app: ASGIApp, receipt: Receipt = DEFAULT_RECEIPT) -> Iterator[int]:
    """Serve on a thread of its own, for tests that talk with blocking sockets; gives the port."""
    listening = threading.Event()
    listener = bound()
    port: int = listener.getsockname()[1]
    server = build_server(app, on_ready=listening.set, receipt=receipt, drain=Drain(grace_s=1))
    thread = threading.Thread(target=lambda: server.run(sockets=[listener]))
    thread.start()
    try:
        assert listening.wait(5)
        yield port
    finally:
        server.should_exit = True
        thread.join(5)


@dataclass(frozen=True)
class Reply:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def __getitem__(self, name: str) -> str | None:
        """The value of a header that may stand at most once."""
        values = [value for key, value in self.headers if key == name]
        assert len(values) < 2, f"{name} stands twice"
        return values[0] if values else None

    @property
    def json(self) -> JsonObject:
        document = orjson.loads(self.body)
        assert isinstance(document, dict)
        return document

    @property
    def error(self) -> JsonObject:
        error = self.json["error"]
        assert isinstance(error, dict)
        return error


async def ask(port: int, request: bytes, *, head_only: bool = False) -> Reply:
    """Send raw bytes on a fresh connection and read one answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        return await read_reply(reader, head_only=head_only)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def read_reply(reader: asyncio.StreamReader, *, head_only: bool = False) -> Reply:
    async with asyncio.timeout(10):
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines[1:-2])]
        length = int(dict(headers)["content-length"])
        body = b"" if head_only else await reader.readexactly(length)
    return Reply(status=int(lines[0].split(" ")[1]), headers=headers, body=body)


def get(path: str, *headers: str, method: str = "GET") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: gateway.test", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def post(path: str, body: bytes = b"{}", *headers: str) -> bytes:
    lines = ("Content-Type: application/json", f"Content-Length: {len(body)}", *headers)
    return get(path, *lines, method="POST") + body
