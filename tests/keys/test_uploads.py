"""Large forms of keys: for who may not be able to pay nothing is sent, for who pays nothing all but the end."""

import asyncio
from pathlib import Path

import pytest

from tests.fakes.answers import image_answer
from tests.fakes.script import reply
from tests.fakes.sender import MB, Sender, form, picture
from tests.keys.house import BY_PICTURE, FLAT, KeyedHouse, keyed_house
from tests.web.house import until

FORM = form(("model", "pic"), ("prompt", "at night"), ("image", picture(3 * MB)))


def sender(house: KeyedHouse, key: str) -> Sender:
    return Sender(house.gateway.url, FORM, authorization=f"Bearer {key}")


@pytest.mark.parametrize(("granted", "status"), [(1, 200), (0, 402)])
async def test_a_key_with_credits_is_sent_for_when_they_are_held(tmp_path: Path, granted: int, status: int) -> None:
    async with keyed_house(tmp_path, {"charge": BY_PICTURE}) as house:
        key = await house.create(credits=granted)
        await house.closed()
        house.upstream.play(reply(200, image_answer()))
        async with sender(house, key) as client:
            await client.send(2 * MB)
            await asyncio.sleep(0.1)
            assert house.upstream.heads == []
            answer = await client.end()
        assert answer.status == status
        assert house.upstream.count == len(house.upstream.heads) == (1 if status == 200 else 0)
        house.check_books()


async def test_a_key_with_a_budget_is_sent_for_when_it_is_held(tmp_path: Path) -> None:
    async with keyed_house(tmp_path, price=FLAT) as house:
        key = await house.create(budget="0.10USD/30d")
        await house.closed()
        async with sender(house, key) as client:
            await client.send(2 * MB)
            await asyncio.sleep(0.1)
            answer = await client.end()
        assert (answer.status, answer.json["error"]["code"]) == (402, "budget_exceeded")
        assert house.upstream.heads == []
        house.check_books()


async def test_a_key_that_pays_nothing_is_sent_for_at_once(tmp_path: Path) -> None:
    async with keyed_house(tmp_path) as house:
        key = await house.create()
        await house.closed()
        house.upstream.play(reply(200, image_answer()))
        async with sender(house, key) as client:
            await client.send(2 * MB)
            await until(lambda: house.upstream.arrived > 1_900_000)
            assert house.upstream.count == 0
            assert (await client.end()).status == 200
        assert house.upstream.count == 1


async def test_a_key_whose_minute_is_over_has_asked_for_nothing(tmp_path: Path) -> None:
    """How many pictures are asked for is known when the form is whole: then there are more than its minute has."""
    async with keyed_house(tmp_path) as house:
        key = await house.create(ipm=1)
        await house.closed()
        house.upstream.play(reply(200, image_answer()))
        assert (await house.generate(key)).status_code == 200
        async with sender(house, key) as client:
            await client.send(2 * MB)
            await until(lambda: house.upstream.arrived > 1_900_000)
            answer = await client.end()
        assert answer.status == 429
        await until(lambda: house.upstream.open_connections <= 1)  # the one that is kept
        assert house.upstream.count == 1


async def test_a_key_that_may_not_use_the_model_is_not_sent_for(tmp_path: Path) -> None:
    async with keyed_house(tmp_path) as house:
        key = await house.create(models=["other"])
        await house.closed()
        async with sender(house, key) as client:
            await client.send(2 * MB)
            await asyncio.sleep(0.1)
            answer = await client.end()
        assert (answer.status, answer.json["error"]["code"]) == (403, "model_not_allowed")
        assert house.upstream.heads == []
