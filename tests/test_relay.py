"""The life of a request where the transcripts cannot follow: clients that leave, a ledger out of reach, full channels,
a server that ends in the middle."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.core.types import JsonObject
from gateway.stores.schema import AttemptState, RequestState
from tests.fakes.answers import failed_response, image_answer, responses_answer
from tests.fakes.pair import DRAWING, GENERATION, TURN, Pair, leave, running_pair
from tests.fakes.script import drop_before_status, hang, reply
from tests.web.house import until

PICTURE = reply(200, image_answer())
LATE_PICTURE = reply(200, image_answer(), delay_s=0.3)
OVERLOADED = reply(503, {"error": {"message": "overloaded", "type": "server_error", "code": None, "param": None}})
SOON_S = 0.2  # instead of the five seconds that a commit may take


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    async with running_pair(tmp_path) as pair:
        yield pair


@contextmanager
def locked(pair: Pair) -> Iterator[None]:
    """Keep the ledger's write lock, as another process that hangs in a transaction does."""
    pair.gateway.gateway.ledger._commit_timeout_s = SOON_S
    other = sqlite3.connect(pair.database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


def running_requests() -> list[asyncio.Task[Any]]:
    return [task for task in asyncio.all_tasks() if "run_asgi" in str(task.get_coro())]


# --- clients that leave


async def test_a_client_that_leaves_before_anything_was_sent_buys_nothing(tmp_path: Path) -> None:
    async with running_pair(tmp_path, A={"max_in_flight": 1}, B={"max_in_flight": 1}) as pair:
        pair.a.play(LATE_PICTURE)
        first = asyncio.ensure_future(pair.generate())
        await pair.a.counted(1)
        writer = await pair.send("images/generations", GENERATION)  # waits for a place
        await until(lambda: len(running_requests()) == 2)
        await leave(writer)
        assert (await first).status_code == 200
        pair.a.play(PICTURE)
        assert (await pair.generate()).status_code == 200
        await until(lambda: len(pair.ledger()) == 3)
        gone = next(row for row in pair.ledger() if row.status == 499)
        assert gone.attempts == () or {tried.outcome for tried in gone.attempts} == {"not_sent"}
    assert pair.asked == (2, 0)


async def test_a_picture_that_was_sent_for_is_finished_without_its_client(pair: Pair) -> None:
    pair.a.play(LATE_PICTURE)
    writer = await pair.send("images/generations", GENERATION)
    await pair.a.counted(1)
    await leave(writer)
    record = await pair.only_record()
    assert record["result"]["delivery"] == "none"
    assert [(image["width"], image["height"]) for image in record["result"]["images"]] == [(64, 64)]
    assert [(tried["outcome"], tried["status"]) for tried in record["attempts"]] == [("delivered", 200)]
    [row] = pair.ledger()
    assert (row.state, row.attempts[0].outcome) == (RequestState.DONE, "delivered")


async def test_a_turn_that_draws_is_finished_without_its_client(pair: Pair) -> None:
    pair.a.play(reply(200, responses_answer(), delay_s=0.3))
    writer = await pair.send("responses", DRAWING)
    await pair.a.counted(1)
    await leave(writer)
    record = await pair.only_record()
    assert record["attempts"][0]["outcome"] == "delivered"
    assert (record["result"]["delivery"], len(record["result"]["images"])) == ("none", 1)


async def test_a_plain_turn_ends_with_its_client(pair: Pair) -> None:
    pair.a.play(hang())
    writer = await pair.send("responses", TURN)
    await pair.a.counted(1)
    await leave(writer)
    record = await pair.only_record()
    assert [(tried["class"], tried["detail"]) for tried in record["attempts"]] == [("client_gone", "client_gone")]
    assert record["attempts"][0]["outcome"] == "unknown"
    assert (record["result"]["status"], record["fault"]) == (499, "caller")
    await until(lambda: pair.a.open_connections == 0)
    assert pair.asked == (1, 0)


async def test_nobody_is_asked_after_the_client_has_left(pair: Pair) -> None:
    pair.a.play(reply(503, {"error": {"message": "overloaded"}}, delay_s=0.3))
    writer = await pair.send("images/generations", GENERATION)
    await pair.a.counted(1)
    await leave(writer)
    record = await pair.only_record()
    assert [(tried["class"], tried["action"]) for tried in record["attempts"]] == [("overloaded", "stop")]
    assert pair.asked == (1, 0)


# --- a ledger out of reach


async def test_what_cannot_be_recorded_is_not_bought(pair: Pair) -> None:
    pair.a.play(PICTURE)
    with locked(pair):
        refused = await pair.generate()
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "ledger_unavailable"
    assert (refused.headers["x-should-retry"], refused.headers["retry-after"]) == ("true", "1")
    assert "x-route-channel" not in refused.headers
    assert "attempts" not in refused.json()["error"]
    assert pair.asked == (0, 0)
    served = await until_served(pair)
    assert served == 200


async def until_served(pair: Pair) -> int:
    """Ask until the ledger has caught up; gives the status that is not 503."""
    for _ in range(100):
        status = (await pair.generate()).status_code
        if status != 503:
            return status
        await asyncio.sleep(0.05)
    return 503


async def test_what_was_bought_is_delivered_though_it_cannot_be_recorded_yet(pair: Pair) -> None:
    pair.a.play(reply(200, image_answer(), delay_s=0.2))
    asking = asyncio.ensure_future(pair.generate())
    await pair.a.counted(1)
    with locked(pair):
        answer = await asking
        assert answer.status_code == 200
        assert answer.content == image_answer()
        assert (await pair.record_of(answer))["attempts"][0]["outcome"] == "delivered"
        lost = [event for event in pair.gateway.events() if event["event"] == "ledger.settle_failed"]
        assert [event["request_id"] for event in lost] == [answer.headers["x-request-id"]]
        [row] = pair.ledger()
        assert (row.state, row.attempts[0].state) == (RequestState.OPEN, AttemptState.SENT)
    await until(lambda: pair.ledger()[0].state is RequestState.DONE)  # written as soon as that is possible


async def test_a_ledger_lost_between_two_targets_stops_the_walk(pair: Pair) -> None:
    pair.a.play(reply(503, {"error": {"message": "overloaded"}}, delay_s=0.2))
    asking = asyncio.ensure_future(pair.generate())
    await pair.a.counted(1)
    with locked(pair):
        answer = await asking
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "ledger_unavailable"
    assert answer.headers["x-should-retry"] == "false"  # something was started
    record = await pair.record_of(answer)
    assert [tried["channel"] for tried in record["attempts"]] == ["A"]
    assert pair.asked == (1, 0)


# --- places at a channel


async def test_a_channel_without_a_free_place_is_passed_over(tmp_path: Path) -> None:
    async with running_pair(tmp_path, A={"max_in_flight": 1}) as pair:
        pair.a.play(hang())
        pair.b.play(PICTURE)
        writer = await pair.send("images/generations", GENERATION)
        await pair.a.counted(1)
        answer = await pair.generate()
        assert answer.status_code == 200
        assert answer.headers["x-route-channel"] == "B"
        assert answer.headers["x-route-attempts"] == "1"  # nothing was started at A
        record = await pair.record_of(answer)
        assert record["excluded"] == [{"target": "A/pic", "reason": "channel_limit"}]
        row = next(row for row in pair.ledger() if row.request_id == answer.headers["x-request-id"])
        assert [(tried.n, tried.channel, tried.outcome) for tried in row.attempts] == [(1, "B", "delivered")]
        await leave(writer)
        for task in running_requests():
            task.cancel()


# --- the server ends in the middle


async def test_a_cancelled_request_is_settled_all_the_same(pair: Pair) -> None:
    pair.a.play(hang())
    writer = await pair.send("images/generations", GENERATION)
    await pair.a.counted(1)
    [running] = running_requests()
    running.cancel()
    record = await pair.only_record()
    await leave(writer)
    assert [tried["outcome"] for tried in record["attempts"]] == ["unknown"]
    assert record["result"]["delivery"] == "none"
    assert (record["result"]["status"], record["result"]["code"]) == (502, "upstream_unknown_outcome")  # as it was told
    assert record["attempts"][0]["detail"] == "interrupted"
    [row] = pair.ledger()
    assert (row.state, row.attempts[0].state, row.attempts[0].outcome) == (
        RequestState.DONE,
        AttemptState.ENDED,
        "unknown",
    )


# --- which answer the client gets


async def test_a_response_that_reports_its_failure_is_kept_when_the_next_target_fails_too(pair: Pair) -> None:
    kept = failed_response("server_error", "The model failed.")
    pair.a.play(reply(200, kept))
    pair.b.play(OVERLOADED)
    answer = await pair.post("responses", TURN)
    assert (answer.status_code, answer.content) == (200, kept)
    assert answer.headers["x-route-attempts"] == "2"
    assert answer.headers["x-retry-reason"] == "server_error:server_error"
    record = await pair.record_of(answer)
    assert [tried["class"] for tried in record["attempts"]] == ["server_error", "overloaded"]
    assert pair.asked == (1, 1)


async def test_a_response_that_reports_its_failure_gives_way_to_a_good_one(pair: Pair) -> None:
    good = responses_answer(picture=False)
    pair.a.play(reply(200, failed_response()))
    pair.b.play(reply(200, good))
    answer = await pair.post("responses", TURN)
    assert answer.content == good
    assert "fault" not in await pair.record_of(answer)


async def test_a_later_response_that_reports_its_failure_does_not_hide_the_first_error(pair: Pair) -> None:
    pair.a.play(OVERLOADED)
    pair.b.play(reply(200, failed_response()))
    answer = await pair.post("responses", TURN)
    assert (answer.status_code, answer.json()["error"]["message"]) == (503, "overloaded")
    assert answer.headers["x-route-channel"] == "B"


async def test_headers_of_the_upstream_that_may_travel_do(pair: Pair) -> None:
    headers = {"openai-processing-ms": "812", "openai-version": "2020-10-01", "set-cookie": "a=b", "x-other": "c"}
    pair.a.play(reply(200, image_answer(), headers=headers))
    answer = await pair.generate()
    assert (answer.headers["openai-processing-ms"], answer.headers["openai-version"]) == ("812", "2020-10-01")
    assert "set-cookie" not in answer.headers
    assert "x-other" not in answer.headers


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"model": "pic-9", "prompt": "p"}, 404, "model_not_found"),
        ({"prompt": "p"}, 400, "missing_required_parameter"),
        ({"model": "chat", "prompt": "p"}, 400, "no_eligible_target"),
    ],
)
async def test_a_request_without_a_target_is_recorded_too(pair: Pair, body: JsonObject, status: int, code: str) -> None:
    answer = await pair.post("images/generations", body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.headers["x-should-retry"] == "false"
    record = await pair.record_of(answer)
    assert (record["result"]["status"], record["result"]["code"]) == (status, code)
    [row] = pair.ledger()
    assert (row.status, row.failure, row.attempts) == (status, code, ())


async def test_a_lost_connection_is_an_unknown_outcome(pair: Pair) -> None:
    pair.a.play(drop_before_status())
    answer = await pair.generate()
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_unknown_outcome")
    [row] = pair.ledger()
    assert (row.failure, row.attempts[0].outcome) == ("connection_lost", "unknown")
