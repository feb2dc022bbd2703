"""``logs``: a real ledger, read by the real program; and ``--follow`` over a ledger that grows late."""

import asyncio
import json
import os
import signal
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

from msgspec.structs import replace

from gateway.cli.logs import LATE_S, PAGE, Follower
from gateway.core.ids import new_id
from gateway.core.types import AttemptId, JsonObject, RequestId
from gateway.ports import AttemptIntent, AttemptResult, LogQuery, RequestIntent, Settlement
from gateway.stores.ledger_sql import SqlLedger, open_ledger
from gateway.stores.reader import LogRow
from gateway.stores.schema import RequestState
from tests.cli.program import Program

START = datetime(2026, 11, 20, 14, 3, 22, tzinfo=UTC)


def request_id(number: int, at: datetime = START) -> RequestId:
    return RequestId(new_id("req", round(at.timestamp() * 1000) + 40_000 * number, bytes([number] * 10)))


async def begin(ledger: SqlLedger, number: int, *owners: str, model: str = "gpt-image-2") -> list[AttemptId]:
    attempts = []
    for n, owner in enumerate(owners, start=1):
        attempts.append(AttemptId(f"att_{number:016x}{n:016x}"))
        intent = RequestIntent(
            request_id=request_id(number), time=START, endpoint="images/edits", asked_model=model, config_version="c"
        )
        attempt = AttemptIntent(
            request_id=request_id(number),
            attempt_id=attempts[-1],
            n=n,
            channel=owner,
            owner=owner,
            row=model,
            surface="images/edits",
            region=None,
            sent_model=model,
            started=START,
        )
        await ledger.begin(intent if n == 1 else None, attempt)
    return attempts


async def settle(
    ledger: SqlLedger, number: int, attempts: list[AttemptId], failures: list[tuple[str, str] | None], status: int
) -> None:
    last = failures[-1] if failures else None
    result: JsonObject = {"status": status, "code": "model_not_found"}
    if status == 200:
        result = {"status": 200, "images": [{"width": 1024, "height": 1536, "format": "png"}] * 2}
    await ledger.settle(
        Settlement(
            request_id=request_id(number),
            time=START + timedelta(seconds=40 * number),
            endpoint="images/edits",
            asked_model="gpt-image-2" if attempts else "nobody",
            owner="laozhang.ai" if attempts else None,
            channel="laozhang" if attempts else None,
            status=status,
            failure=last[0] if last else None,
            record={"request_id": request_id(number), "latency_ms": 48_211, "result": result},
            attempts=[
                AttemptResult(
                    attempt_id=attempt,
                    outcome="delivered" if failure is None else "refused",
                    failure=failure[0] if failure else None,
                    detail=failure[1] if failure else None,
                    status=status,
                    duration_ms=9,
                )
                for attempt, failure in zip(attempts, failures, strict=True)
            ],
        )
    )


async def filled(directory: Path) -> None:
    """One delivery after a failure, one policy refusal, one unknown model, one cut short by the server's end."""
    directory.mkdir()
    url = f"sqlite:///{directory / 'waybill.db'}"
    ledger = open_ledger(url, serve=True)
    attempts = await begin(ledger, 0, "openai", "laozhang.ai")
    await settle(ledger, 0, attempts, [("server_error", "500"), None], 200)
    attempts = await begin(ledger, 1, "openai")
    await settle(ledger, 1, attempts, [("content_policy", "moderation_blocked")], 400)
    await settle(ledger, 2, [], [], 404)
    await begin(ledger, 3, "openai")
    ledger.close()
    ledger = open_ledger(url, serve=True)
    assert ledger.recover() == 1
    ledger.close()


async def test_logs(program: Program) -> None:
    await filled(program.directory / "data")

    wide = program.run("logs", COLUMNS="200")
    assert (wide.code, wide.err) == (0, "")
    lines = [" ".join(line.split()) for line in wide.out.splitlines()[2:]]
    assert [line.split()[2] for line in lines if line.startswith("11-20")] == ["200", "400", "404", "cut"]
    assert lines[0].startswith(
        "11-20 14:03:22 200 edits gpt-image-2 laozhang.ai 48.2 s 2 2 of 1024x1536 png after server_error: 500"
    )
    assert "model_not_found" in wide.out
    assert request_id(0) in wide.out

    for columns in (60, 80, 100):
        narrow = program.run("logs", COLUMNS=str(columns)).out.splitlines()
        assert max(len(line) for line in narrow) <= columns
        assert [line.strip() for line in narrow if line.strip().startswith("req_")] == [*map(request_id, range(4))]
    middle = program.run("logs", COLUMNS="120").out
    assert max(len(line) for line in middle.splitlines()) <= 120
    assert (request_id(0) in middle, "gpt-image-2" in middle) == (True, True)

    records = [json.loads(line) for line in program.run("logs", "--json").out.splitlines()]
    assert [record["request_id"] for record in records] == [request_id(number) for number in range(4)]
    assert (records[3]["state"], records[3]["attempts"][0]["outcome"]) == ("interrupted", "unknown")

    def ids(*arguments: str) -> list[str]:
        return [json.loads(line)["request_id"] for line in program.run("logs", "--json", *arguments).out.splitlines()]

    assert ids("--failed") == [request_id(1), request_id(2), request_id(3)]
    assert ids("--owner", "laozhang.ai", "--limit", "1") == [request_id(1)]
    assert ids("--model", "nobody") == [request_id(2)]


async def test_an_answer_that_no_call_was_made_for_is_said_to_be_that(program: Program) -> None:
    (program.directory / "data").mkdir()
    ledger = open_ledger(f"sqlite:///{program.directory / 'data' / 'waybill.db'}", serve=True)
    records: list[JsonObject] = [{"flight_id": "fl_1"}, {}, {"flight_id": "fl_1", "result": {"code": "in_progress"}}]
    for number, record in enumerate(records):
        await ledger.settle(
            Settlement(
                request_id=request_id(number),
                time=START,
                endpoint="images/generations",
                asked_model="gpt-image-2",
                owner=None,
                channel=None,
                status=503 if "result" in record else 200,
                failure=None,
                record=record,
                attempts=(),
            )
        )
    ledger.close()
    lines = [" ".join(line.split()) for line in program.run("logs", COLUMNS="140").out.splitlines()[2:]]
    said = [line.partition(" 0 ")[2].rpartition(" req_")[0] for line in lines]
    assert said == ["given again", "answered here", "in_progress"]


async def test_one_request_is_shown_with_its_attempts(program: Program) -> None:
    await filled(program.directory / "data")
    for columns in (80, 140):
        ran = program.run("logs", request_id(0), COLUMNS=str(columns))
        assert (ran.code, ran.err) == (0, "")
        assert max(len(line) for line in ran.out.splitlines()) <= columns
        said = " ".join(ran.out.split())
        for piece in (request_id(0), "1024x1536, png", "took 48.2 s", "answer 200"):
            assert piece in said
    lost = " ".join(program.run("logs", request_id(3)).out.split())
    assert "answer interrupted: its server ended before it did" in lost
    assert "attempt 1 openai/gpt-image-2 - - unknown" in lost
    assert json.loads(program.run("logs", request_id(1), "--json").out)["request_id"] == request_id(1)
    nobody = program.run("logs", "req_1")
    assert (nobody.code, nobody.out, nobody.err) == (1, "", "waybill: the ledger has no request req_1\n")
    both = program.run("logs", request_id(0), "--failed")
    assert (both.code, both.out) == (2, "")


async def test_an_empty_directory_has_no_requests(program: Program) -> None:
    ran = program.run("logs")
    assert (ran.code, ran.out) == (0, "No requests in the ledger match.\n")
    assert (await asyncio.to_thread(program.run, "logs", "--json")).out == ""
    assert not (program.directory / "data").exists()


def test_a_ledger_that_cannot_be_read_is_2(program: Program) -> None:
    (program.directory / "data").mkdir()
    (program.directory / "data" / "waybill.db").write_text("not a database, but long enough to be taken for one" * 99)
    ran = program.run("logs")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("waybill: the ledger ")


async def test_follow_shows_what_ends(program: Program) -> None:
    await filled(program.directory / "data")
    process = await asyncio.create_subprocess_exec(
        *program.argv("logs", "--follow", "--json", "--limit", "1"),
        cwd=program.directory,
        env=program.environment(),
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        assert json.loads(await process.stdout.readline())["request_id"] == request_id(3)
        ledger = open_ledger(f"sqlite:///{program.directory / 'data' / 'waybill.db'}", serve=True)
        late = RequestId(new_id("req", round(datetime.now(UTC).timestamp() * 1000), os.urandom(10)))
        settlement = Settlement(
            request_id=late,
            time=START,
            endpoint="responses",
            asked_model=None,
            owner=None,
            channel=None,
            status=400,
            failure=None,
            record={"request_id": late},
        )
        await ledger.settle(settlement)
        ledger.close()
        async with asyncio.timeout(20):
            assert json.loads(await process.stdout.readline())["request_id"] == late
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 130
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


NOW = START.timestamp()
DONE = LogRow(
    request_id=request_id(0),
    time=START,
    endpoint="responses",
    asked_model=None,
    owner=None,
    channel=None,
    status=200,
    failure=None,
    state=RequestState.DONE,
    config_version=None,
    key_id=None,
    team=None,
    stream=None,
    record=None,
    attempts=(),
)


def row(age_s: float, state: RequestState = RequestState.DONE, salt: int = 0) -> LogRow:
    identity = RequestId(new_id("req", round((NOW - age_s) * 1000), bytes(9) + bytes([salt])))
    return replace(DONE, request_id=identity, state=state)


class Book:
    """A ledger in memory that pages as the real one does."""

    def __init__(self, *rows: LogRow) -> None:
        self.rows = list(rows)

    def page(self, query: LogQuery) -> list[LogRow]:
        ids = sorted(self.rows, key=lambda one: one.request_id, reverse=True)
        after, before = query.after or "", query.before or "s"
        return [one for one in ids if after < one.request_id < before][: query.limit]


def follower(book: Book, limit: int = 2) -> Follower:
    return Follower(read=book.page, query=LogQuery(limit=limit), now=lambda: NOW)


def test_follow_starts_with_the_newest_and_repeats_nothing() -> None:
    book = Book(row(30), row(20), row(10))
    following = follower(book)
    assert following.first() == [row(20), row(10)]
    assert following.fresh() == []
    book.rows.append(row(5))
    assert following.fresh() == [row(5)]
    assert following.fresh() == []


def test_follow_waits_for_open_requests_and_takes_late_ones() -> None:
    book = Book(row(500, RequestState.OPEN), row(10))
    following = follower(book)
    assert following.first() == [row(10)]
    book.rows[0] = row(500)  # ended long after a younger one
    book.rows.append(row(400))  # its row is written only now
    assert following.fresh() == [row(500), row(400)]
    assert following.fresh() == []


def test_follow_reads_a_busy_ledger_whole() -> None:
    book = Book()
    following = follower(book)
    assert following.first() == []
    book.rows = [row(number / 10) for number in range(2 * PAGE + 1)]
    assert len(following.fresh()) == 2 * PAGE + 1
    assert following.fresh() == []
    assert (2 * PAGE + 1) / 10 < LATE_S
