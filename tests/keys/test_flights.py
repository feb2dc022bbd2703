"""What is attached to, replayed or left behind is charged once, to the key that bought it."""

import asyncio
from pathlib import Path

from tests.fakes.answers import image_answer
from tests.fakes.script import drop_before_status, reply
from tests.keys.house import BY_PICTURE, FLAT, GENERATION, keyed_house

PICTURE = reply(200, image_answer())
SLOW = reply(200, image_answer(), delay_s=0.4)


async def test_duplicates_of_one_purchase_are_charged_once(tmp_path: Path) -> None:
    async with keyed_house(tmp_path, {"charge": BY_PICTURE}) as house:
        house.upstream.play(SLOW)
        key = await house.create(credits=5)
        await house.closed()
        named = {"idempotency_key": "order-1"}
        at_once = await asyncio.gather(*(house.post("images/generations", GENERATION, key, **named) for _ in range(4)))
        assert [answer.status_code for answer in at_once] == [200] * 4
        later = await house.post("images/generations", GENERATION, key, **named)
        assert (later.status_code, later.content) == (200, at_once[0].content)
        said = [answer.headers["x-credits"] for answer in (*at_once, later)]
        assert sorted(said) == ["0", "0", "0", "0", "1"]
        records = [await house.gateway.record(answer.headers["x-request-id"]) for answer in (*at_once, later)]
        assert [str(record["credits"]) for record in records] == said
        assert house.upstream.count == 1
        assert (await house.key())["credits"] == 4
        charged = [row["credits"] for row in house.rows("requests") if row["credits"]]
        assert charged == [1]
        house.check_books()


async def test_another_key_with_the_same_words_buys_its_own(tmp_path: Path) -> None:
    async with keyed_house(tmp_path, {"charge": BY_PICTURE}) as house:
        house.upstream.play(PICTURE, PICTURE)
        mine, yours = await house.create(credits=5), await house.create(name="other", credits=5)
        await house.closed()
        for key in (mine, yours):
            answer = await house.post("images/generations", GENERATION, key, idempotency_key="order-1")
            assert (answer.status_code, answer.headers["x-credits"]) == (200, "1")
        assert house.upstream.count == 2
        assert [listed["credits"] for listed in await house.keys()] == [4, 4]


async def test_a_client_that_leaves_pays_for_its_picture_once(tmp_path: Path) -> None:
    async with keyed_house(tmp_path, {"charge": BY_PICTURE}) as house:
        house.upstream.play(SLOW)
        key = await house.create(credits=5)
        await house.closed()
        asked = asyncio.ensure_future(house.generate(key))
        await house.upstream.counted(1)
        assert (await house.key())["credits_held"] == 1
        asked.cancel()
        for _ in range(200):
            if not (await house.key())["credits_held"]:
                break
            await asyncio.sleep(0.02)
        listed = await house.key()
        assert (listed["credits"], listed["credits_held"]) == (4, 0)
        house.check_books()


async def test_a_fallback_after_a_loss_reserves_what_both_may_cost(tmp_path: Path) -> None:
    repeat = {"on_failure": {"connection_lost": {"action": "same", "times": 1}}}
    async with keyed_house(tmp_path / "rich", repeat, FLAT) as house:
        house.upstream.play(drop_before_status(), PICTURE)
        key = await house.create(budget="1USD/30d")
        await house.closed()
        assert (await house.generate(key)).status_code == 200
        assert (await house.key())["budget"]["spent_micro"] == 1_000_000
        house.check_books()
    async with keyed_house(tmp_path / "poor", repeat, FLAT) as house:
        house.upstream.play(drop_before_status())
        key = await house.create(budget="0.9USD/30d")
        await house.closed()
        answer = await house.generate(key)
        assert (answer.status_code, answer.json()["error"]["code"]) == (402, "budget_exceeded")
        assert answer.headers["x-route-attempts"] == "1"
        assert house.upstream.count == 1
        assert (await house.key())["budget"]["spent_micro"] == 500_000
        house.check_books()
