"""Routing under trouble, live: bursts, stalls, outages, hand brakes and clients that leave."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from msgspec.structs import replace

from gateway.core.health import RULES, Health, Trouble
from gateway.stores.shared_local import SharedLocal
from tests.fakes import answers, script
from tests.fakes.gateway import running_gateway
from tests.fakes.pair import GENERATION, Pair, leave, routes_file, running_pair
from tests.fakes.upstream import FakeUpstream

PICTURE = script.reply(200, answers.image_answer())
BROKEN = script.reply(500, {"error": {"message": "no", "type": "server_error", "code": None, "param": None}})
OVERLOADED = script.reply(503, {"error": {"message": "full"}})


@asynccontextmanager
async def trouble(
    directory: Path, route: dict[str, Any] | None = None, **channels: dict[str, Any]
) -> AsyncIterator[Pair]:
    """A pair whose ejections last 0.2 s, 0.4 s, 0.6 s, and no longer."""
    async with running_pair(directory, route, **channels) as pair:
        shared = pair.gateway.gateway.roster._means.shared
        assert isinstance(shared, SharedLocal)
        quick = replace(RULES[Trouble.EJECTED], bar_s=0.2, cap_s=0.6)
        shared._health = Health(rules={**RULES, Trouble.EJECTED: quick})
        yield pair


async def generate(pair: Pair, times: int, at_once: int) -> list[httpx2.Response]:
    """Send requests, so many of them at the same time."""
    turns = asyncio.Semaphore(at_once)

    async def one() -> httpx2.Response:
        async with turns:
            return await pair.generate()

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one()) for _ in range(times)]
    return [task.result() for task in tasks]


def always(upstream: FakeUpstream, what: script.Script) -> None:
    upstream._default = what


async def test_a_burst_of_failures_ejects_by_the_fifth_and_one_probe_readmits(tmp_path: Path) -> None:
    async with trouble(tmp_path) as pair:
        always(pair.a, BROKEN)
        always(pair.b, PICTURE)
        loop = asyncio.get_running_loop()
        start, served = loop.time(), 0
        while loop.time() - start < 2.0:
            served += sum(answer.status_code == 200 for answer in await generate(pair, 4, 1))
        assert served == pair.b.count > 8
        barred = [event for event in pair.gateway.events() if event["event"] == "target.barred"]
        assert barred[0]["reason"] == "ejected"
        assert pair.a.count == 5 + len(barred) - 1  # five strikes, then one probe for each further bar
        always(pair.a, PICTURE)
        before = pair.a.count
        await asyncio.sleep(0.65)
        channels = [answer.headers["x-route-channel"] for answer in await generate(pair, 10, 1)]
        assert channels == ["A"] * 10
        assert pair.a.count == before + 10
        assert [event["event"] for event in pair.gateway.events() if "target" in event["event"]][-1] == (
            "target.restored"
        )


async def test_while_a_probe_is_under_way_nobody_else_is_let_through(tmp_path: Path) -> None:
    async with trouble(tmp_path) as pair:
        always(pair.b, PICTURE)
        pair.a.play(*[BROKEN] * 5)
        await generate(pair, 5, 1)
        await asyncio.sleep(0.25)
        always(pair.a, script.reply(200, answers.image_answer(), delay_s=0.5))
        channels = Counter(answer.headers["x-route-channel"] for answer in await generate(pair, 20, 20))
        assert channels == {"A": 1, "B": 19}


async def test_a_probe_that_tells_nothing_gives_its_turn_back(tmp_path: Path) -> None:
    async with trouble(tmp_path) as pair:
        always(pair.b, PICTURE)
        pair.a.play(*[BROKEN] * 5)
        await generate(pair, 5, 1)
        await asyncio.sleep(0.25)
        always(pair.a, script.reply(400, {"error": {"message": "the request's own"}}))
        assert [answer.status_code for answer in await generate(pair, 3, 1)] == [400] * 3
        assert pair.a.count == 8


@pytest.mark.parametrize("repeats", [None, {"server_error": {"action": "same", "times": 3}}])
async def test_an_outage_of_all_channels_does_not_multiply(tmp_path: Path, repeats: dict[str, Any] | None) -> None:
    route = {"max_attempts": 4, "on_failure": repeats or {}}
    async with running_pair(tmp_path, route) as pair:
        always(pair.a, BROKEN)
        always(pair.b, BROKEN)
        requests = 150
        found = await generate(pair, requests, 8)
        assert {answer.status_code for answer in found} == {500}
        assert sum(pair.asked) <= 1.2 * requests + 3


async def test_a_stalled_channel_costs_its_own_requests_a_moment_and_the_others_nothing(tmp_path: Path) -> None:
    async with running_pair(tmp_path, A={"max_in_flight": 2}) as pair:
        always(pair.a, script.hang())
        always(pair.b, PICTURE)
        writers = [await pair.send("images/generations", GENERATION) for _ in range(2)]
        await pair.a.counted(2)
        loop = asyncio.get_running_loop()

        async def pinned() -> float:
            start = loop.time()
            answer = await pair.generate(x_route_pin="B")
            assert answer.status_code == 200
            return loop.time() - start

        async with asyncio.TaskGroup() as group:
            waiting = [group.create_task(pair.generate()) for _ in range(4)]
            others = [group.create_task(pinned()) for _ in range(40)]
        assert max(task.result() for task in others) < 2.0  # generous: they wait for nothing
        assert [task.result().headers["x-route-channel"] for task in waiting] == ["B"] * 4
        start = loop.time()
        later = await generate(pair, 20, 1)  # nothing has moved there for two seconds: nobody waits any more
        assert loop.time() - start < 2.0
        assert {answer.headers["x-route-channel"] for answer in later} == {"B"}
        assert pair.asked == (2, 64)
        for writer in writers:
            await leave(writer)
        await pair.gateway.gateway.upstream.close()


async def test_a_rate_is_waited_for_when_it_comes_in_time(tmp_path: Path) -> None:
    async with running_pair(tmp_path, {"targets": ["A"]}, A={"limits": {"rpm": 120}}) as pair:
        always(pair.a, PICTURE)
        found = await generate(pair, 14, 14)
        assert [answer.status_code for answer in found] == [200] * 14  # twelve at once, two half a second apart


async def brake(pair: Pair, name: str, state: str, **more: str) -> httpx2.Response:
    return await pair.client.post(f"{pair.gateway.url}/api/channels/{name}", json={"state": state, **more})


async def test_a_hand_brake_holds_at_once_and_after_a_restart(tmp_path: Path) -> None:
    async with running_pair(tmp_path / "one") as pair:
        always(pair.a, PICTURE)
        always(pair.b, PICTURE)
        assert (await brake(pair, "Z", "off")).status_code == 404
        assert (await brake(pair, "A", "off", reason="invoice")).status_code == 200
        answer = await pair.generate()
        assert answer.headers["x-route-channel"] == "B"
        assert (await pair.record_of(answer))["excluded"] == [{"target": "A/pic", "reason": "channel_off"}]
        assert (await brake(pair, "B", "drained")).status_code == 200
        nobody = await pair.generate()
        assert (nobody.status_code, nobody.json()["error"]["code"]) == (503, "no_healthy_target")
        assert (nobody.headers["x-should-retry"], nobody.headers["retry-after"]) == ("true", "60")
        listed = (await pair.client.get(f"{pair.gateway.url}/api/channels")).json()["data"]
        assert [(one["channel"], one["state"], one["reason"]) for one in listed] == [
            ("A", "off", "invoice"),
            ("B", "drained", None),
        ]
        urls = {"A": pair.a.url, "B": pair.b.url}
        async with running_gateway(routes_file(urls), tmp_path / "two") as other:
            assert (await pair.client.post(f"{other.url}/v1/images/generations", json=GENERATION)).status_code == 200
    async with (
        running_gateway(
            routes_file({"A": "http://127.0.0.1:9/v1", "B": "http://127.0.0.1:9/v1"}), tmp_path / "one"
        ) as again,
        httpx2.AsyncClient(trust_env=False) as client,
    ):
        assert (await client.post(f"{again.url}/v1/images/generations", json=GENERATION)).status_code == 503


async def test_taking_the_brake_off_forgets_what_rests(tmp_path: Path) -> None:
    async with running_pair(tmp_path) as pair:
        always(pair.b, PICTURE)
        pair.a.play(script.reply(402, {"error": {"message": "no money", "code": "insufficient_quota"}}))
        assert (await pair.generate()).headers["x-route-channel"] == "B"
        assert (await pair.generate()).headers["x-route-attempts"] == "1"
        (quota, *_) = [event for event in pair.gateway.events() if event["event"] == "target.barred"]
        assert (quota["channel"], quota["reason"], quota["alert"], "row" in quota) == (
            "A",
            "quota_exhausted",
            True,
            False,
        )
        await brake(pair, "A", "on")
        always(pair.a, PICTURE)
        assert (await pair.generate()).headers["x-route-channel"] == "A"


async def test_nothing_is_repeated_for_a_client_that_left_during_the_pause(tmp_path: Path) -> None:
    again = {"rate_limited": {"action": "same", "times": 1}}
    async with running_pair(tmp_path, {"targets": ["A"], "on_failure": again}) as pair:
        pair.a.play(script.reply(429, {"error": {"message": "slow"}}, headers={"retry-after": "20"}))
        writer = await pair.send("images/generations", GENERATION)
        await pair.a.counted(1)
        await leave(writer)
        record = await asyncio.wait_for(pair.only_record(), 5)
        assert record["result"]["status"] == 499
        assert pair.asked == (1, 0)


async def test_who_is_fastest_is_learnt(tmp_path: Path) -> None:
    async with running_pair(tmp_path, {"policy": "fastest"}) as pair:
        always(pair.a, script.reply(200, answers.image_answer(), delay_s=0.3))
        always(pair.b, PICTURE)
        channels = [answer.headers["x-route-channel"] for answer in await generate(pair, 6, 1)]
        assert channels == ["A", "B", "B", "B", "B", "B"]


async def test_the_least_busy_is_asked(tmp_path: Path) -> None:
    async with running_pair(tmp_path, {"policy": "least_busy"}, A={"max_in_flight": 10}) as pair:
        always(pair.a, script.reply(200, answers.image_answer(), delay_s=0.5))
        always(pair.b, script.reply(200, answers.image_answer(), delay_s=0.5))
        async with asyncio.TaskGroup() as group:
            first = group.create_task(pair.generate())
            await pair.a.counted(1)
            second = group.create_task(pair.generate())
        assert first.result().headers["x-route-channel"] == "A"
        assert second.result().headers["x-route-channel"] == "B"
