"""Two servers that share everything are one gateway: one balance, one limit, one flight, one brake."""

import asyncio
import time
from collections import Counter

import httpx2
import pytest

from tests.fakes.answers import image_answer, responses_answer
from tests.fakes.script import hang, reply
from tests.keys.house import GENERATION
from tests.money.books import number, read_books
from tests.replicas.conftest import Fleet

PICTURE = image_answer()
SLOW = reply(200, PICTURE, delay_s=0.6)
NOW = reply(200, PICTURE)
RESPONSE = "resp_68f1c0ffee"


async def test_a_balance_for_ten_serves_ten_of_two_hundred(fleet: Fleet) -> None:
    made = await fleet.key(credits=10)
    fleet.upstreams["A"].play(*[SLOW] * 10)
    answers = await asyncio.gather(*(fleet.ask(number_) for number_ in range(200)))
    assert Counter(answer.status_code for answer in answers) == {200: 10, 402: 190}
    assert fleet.bought == 10
    key = await fleet.listed(made["id"])
    assert (key["credits"], key["credits_held"]) == (0, 0)
    books = await asyncio.to_thread(read_books, fleet.ground.database)
    books.check_at_rest()


async def test_a_key_that_is_ended_at_one_is_refused_at_the_other_within_a_second(fleet: Fleet) -> None:
    made = await fleet.key(credits=100)
    models = f"{fleet.at(1).url}/v1/models"
    assert (await fleet.client.get(models, headers=fleet.shown)).status_code == 200
    await fleet.client.delete(f"{fleet.at(0).url}/api/keys/{made['id']}")
    ended = time.monotonic()
    while (await fleet.client.get(models, headers=fleet.shown)).status_code != 401:
        assert time.monotonic() - ended < 1.0
        await asyncio.sleep(0.02)


async def test_a_limit_holds_over_both(fleet: Fleet) -> None:
    await fleet.key(credits=100, rpm=6)
    fleet.upstreams["A"].play(*[NOW] * 6)
    answers = [await fleet.ask(number_) for number_ in range(9)]
    assert Counter(answer.status_code for answer in answers) == {200: 6, 429: 3}
    assert {answer.json()["error"]["code"] for answer in answers[6:]} == {"rate_limit_exceeded"}


async def test_places_are_counted_over_both(fleet: Fleet) -> None:
    await fleet.key(credits=100, concurrency=3)
    fleet.upstreams["A"].play(*[SLOW] * 3)
    answers = await asyncio.gather(*(fleet.ask(number_) for number_ in range(8)))
    assert Counter(answer.status_code for answer in answers) == {200: 3, 429: 5}


@pytest.mark.parametrize("named", [{"idempotency_key": "order-1"}, {"x_stainless_retry_count": "1"}])
async def test_a_duplicate_at_the_other_finds_the_flight(fleet: Fleet, named: dict[str, str]) -> None:
    made = await fleet.key(credits=5)
    fleet.upstreams["A"].play(SLOW)
    first = asyncio.ensure_future(
        fleet.ask(0, **({"idempotency_key": "order-1"} if "idempotency_key" in named else {}))
    )
    await fleet.upstreams["A"].counted(1)
    if "x_stainless_retry_count" in named:  # the client's line broke, and it asks again
        first.cancel()
        await asyncio.sleep(0.2)
    again = await fleet.ask(1, **named)
    assert (again.status_code, again.content) == (200, PICTURE)
    assert fleet.bought == 1
    await asyncio.wait([first])
    assert (await fleet.listed(made["id"]))["credits"] == 4


async def test_a_follow_up_reaches_its_channel_from_either(fleet: Fleet) -> None:
    await fleet.key(credits=100)
    fleet.upstreams["B"].play(*[reply(200, responses_answer())] * 3)
    first = await fleet.ask(0, "responses", {"model": "chat", "input": "draw"}, x_route_pin="B")
    assert (first.status_code, first.json()["id"]) == (200, RESPONSE)
    for number_ in range(2):
        body = {"model": "chat", "input": f"bluer {number_}", "previous_response_id": RESPONSE}
        answer = await fleet.ask(number_, "responses", body)
        assert (answer.status_code, answer.headers["x-route-channel"]) == (200, "B")
    assert fleet.upstreams["A"].count == 0


async def test_a_link_made_by_one_opens_at_the_other(fleet: Fleet) -> None:
    await fleet.key(credits=100)
    fleet.upstreams["A"].play(NOW)
    answer = await fleet.ask(0)
    asset = answer.headers["x-asset-ids"]
    url = (await fleet.client.get(f"{fleet.at(0).url}/api/assets/{asset}")).json()["url"]
    path = httpx2.URL(url).path
    opened = [await fleet.client.get(f"{fleet.at(number_).url}{path}") for number_ in range(2)]
    assert [(one.status_code, one.headers["content-type"]) for one in opened] == [(200, "image/png")] * 2
    assert opened[0].content == opened[1].content


async def test_a_brake_holds_at_the_other_too(fleet: Fleet) -> None:
    await fleet.key(credits=100)
    brake = "{}/api/channels/A"
    told = await fleet.client.post(brake.format(fleet.at(0).url), json={"state": "off", "reason": "a test"})
    assert told.status_code == 200
    try:
        async with asyncio.timeout(2):
            fleet.upstreams["A"].play(*[NOW] * 5)
            while (answer := await fleet.ask(1)).status_code == 200:  # noqa: ASYNC110
                await asyncio.sleep(0.2)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "no_healthy_target")
    finally:
        await fleet.client.post(brake.format(fleet.at(1).url), json={"state": "on"})
    async with asyncio.timeout(3):
        while (await fleet.ask(0)).status_code != 200:  # noqa: ASYNC110 - it hears of it
            await asyncio.sleep(0.1)


async def test_the_flights_of_one_that_is_killed_are_lost_and_never_bought_again(fleet: Fleet) -> None:
    made = await fleet.key(credits=10, budget="100USD/30d")
    upstream = fleet.upstreams["A"]
    upstream.play(*[hang()] * 3)
    bodies = [{**GENERATION, "prompt": f"lost {number_}"} for number_ in range(3)]
    asking = [
        asyncio.ensure_future(fleet.ask(0, body=body, idempotency_key=f"lost-{at}")) for at, body in enumerate(bodies)
    ]
    await asyncio.wait_for(upstream.counted(3), 10)
    fleet.at(0).kill()
    try:
        assert all(
            isinstance(one, httpx2.TransportError) for one in await asyncio.gather(*asking, return_exceptions=True)
        )
        upstream.play(NOW)
        assert (await fleet.ask(1)).status_code == 200  # the other goes on
        again = await asyncio.gather(
            *(fleet.ask(1, body=body, idempotency_key=f"lost-{at}") for at, body in enumerate(bodies))
        )
        assert {(one.status_code, one.json()["error"]["code"]) for one in again} == {(502, "upstream_unknown_outcome")}
        assert upstream.count == 4
        key = await fleet.listed(made["id"])
        assert (key["credits"], key["credits_held"]) == (9, 0)
        books = await asyncio.to_thread(read_books, fleet.ground.database)
        books.check_at_rest()
        mine = {one["request_id"] for one in books.entries if one["key_id"] == made["id"]}
        exposed = [number(one["exposure_micro"]) for one in books.attempts if one["request_id"] in mine]
        assert sorted(exposed) == [0, 500_000, 500_000, 500_000]
    finally:
        await asyncio.to_thread(fleet.at(0).start)
