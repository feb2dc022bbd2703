"""One exchange with one upstream: who waits for whom, what is kept, and what is given back."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.exchange import Presence
from tests.fakes.answers import image_answer, responses_answer
from tests.fakes.pair import TURN, Pair, leave, running_pair
from tests.fakes.script import Script, reply, short_length, stall
from tests.web.house import until


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    async with running_pair(tmp_path) as pair:
        yield pair


def test_presence_tells_whoever_watches_and_nobody_else() -> None:
    presence, told = Presence(), list[str]()
    presence.watch(lambda: told.append("first"))
    presence.watch(lambda: told.append("second"))
    before = presence.gone
    presence.leave()
    assert (before, presence.gone) == (False, True)
    assert told == ["second"]


def test_presence_tells_a_late_watcher_at_once() -> None:
    presence, told = Presence(), list[str]()
    presence.leave()
    presence.watch(lambda: told.append("late"))
    assert told == ["late"]
    presence.watch(None)
    assert told == ["late"]


def test_presence_tells_nobody_who_stopped_watching() -> None:
    presence, told = Presence(), list[str]()
    presence.watch(lambda: told.append("never"))
    presence.watch(None)
    presence.leave()
    assert told == []


async def test_a_plain_turn_is_cut_in_the_middle_of_its_answer(pair: Pair) -> None:
    pair.a.play(stall())
    writer = await pair.send("responses", TURN)
    await pair.a.counted(1)
    await asyncio.sleep(0.1)  # the head and half a body are here
    await leave(writer)
    record = await pair.only_record()
    assert [tried["class"] for tried in record["attempts"]] == ["client_gone"]
    await until(lambda: pair.a.open_connections == 0)
    assert pair.asked == (1, 0)


async def test_a_turn_whose_client_stays_is_not_disturbed(pair: Pair) -> None:
    good = responses_answer(picture=False)
    pair.a.play(reply(200, good, delay_s=0.2))
    answer = await pair.post("responses", TURN)
    assert (answer.status_code, answer.content) == (200, good)


async def test_an_answer_of_text_without_end_is_too_large(pair: Pair) -> None:
    pair.a.play(reply(200, b'{"data": [], "x": "' + b"word " * 3_500_000 + b'"}'))
    answer = await pair.generate()
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_malformed")
    [tried] = (await pair.record_of(answer))["attempts"]
    assert (tried["class"], tried["detail"], tried["outcome"]) == ("malformed", "too_large", "unknown")
    assert pair.asked == (1, 0)


@pytest.mark.parametrize("script", [reply(200, image_answer(width=600, height=600, noise=1)), short_length()])
async def test_nothing_of_an_answer_stays_in_the_spool(pair: Pair, script: Script) -> None:
    spool = pair.gateway.gateway.spool
    before = spool.memory_left, spool.disk_left
    pair.a.play(script)
    await pair.generate()
    await until(lambda: (spool.memory_left, spool.disk_left) == before)


async def test_the_times_of_an_attempt_are_of_its_upstream(pair: Pair) -> None:
    pair.a.play(reply(200, image_answer(), delay_s=0.25))
    record = await pair.record_of(await pair.generate())
    [tried] = record["attempts"]
    assert 240 <= tried["first_byte_ms"] <= tried["duration_ms"] <= record["latency_ms"]
    assert record["upstream_ms"] == tried["duration_ms"]
    assert record["gateway_ms"] < 200
