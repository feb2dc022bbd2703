"""What a key may ask for in a minute and at the same time, over real HTTP."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from gateway.turnstile import span
from tests.fakes.answers import image_answer
from tests.fakes.script import reply
from tests.keys.house import BY_PICTURE, GENERATION, keyed_house

PICTURE = reply(200, image_answer())
SLOW = reply(200, image_answer(), delay_s=0.5)


async def test_requests_in_a_minute(tmp_path: Path) -> None:
    async with keyed_house(tmp_path) as house:
        house.upstream.play(*[PICTURE] * 4)
        key, other = await house.create(rpm=3), await house.create(name="other")
        await house.closed()
        left = []
        for _ in range(3):
            answer = await house.generate(key)
            assert answer.status_code == 200
            assert answer.headers["x-ratelimit-limit-requests"] == "3"
            left.append(answer.headers["x-ratelimit-remaining-requests"])
        assert left == ["2", "1", "0"]
        refused = await house.generate(key)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        assert refused.json()["error"]["type"] == "requests"
        assert refused.headers["x-should-retry"] == "true"
        assert 1 <= int(refused.headers["retry-after"]) <= 20
        assert refused.headers["x-ratelimit-reset-requests"].endswith("s")
        free = await house.generate(other)
        assert free.status_code == 200
        assert not any(name.startswith("x-ratelimit") for name in free.headers)
        assert (await house.get("/v1/models", key)).status_code == 200  # looking is not asking
        assert house.upstream.count == 4


async def test_pictures_in_a_minute(tmp_path: Path) -> None:
    async with keyed_house(tmp_path) as house:
        house.upstream.play(reply(200, image_answer(n=3)))
        key = await house.create(ipm=4)
        await house.closed()
        answer = await house.generate(key, n=3)
        assert answer.status_code == 200
        assert answer.headers["x-ratelimit-remaining-images"] == "1"
        refused = await house.generate(key, n=2)
        assert refused.status_code == 429
        assert refused.headers["x-ratelimit-limit-images"] == "4"
        never = await house.generate(key, n=5)
        assert (never.status_code, never.headers["x-should-retry"]) == (400, "false")
        assert (never.json()["error"]["code"], never.json()["error"]["param"]) == ("invalid_value", "n")
        assert house.upstream.count == 1


async def test_what_a_key_may_not_use_takes_nothing_of_its_minute(tmp_path: Path) -> None:
    async with keyed_house(tmp_path) as house:
        house.upstream.play(PICTURE, PICTURE)
        key = await house.create(rpm=2, ipm=2, models=["pic"])
        await house.closed()
        for _ in range(3):
            refused = await house.generate(key, model="other", n=2)
            assert (refused.status_code, refused.json()["error"]["code"]) == (403, "model_not_allowed")
            assert refused.headers["x-ratelimit-remaining-requests"] == "2"
        used = [await house.generate(key) for _ in range(2)]
        assert [answer.headers["x-ratelimit-remaining-requests"] for answer in used] == ["1", "0"]
        assert [answer.headers["x-ratelimit-remaining-images"] for answer in used] == ["1", "0"]


@pytest.mark.parametrize(
    ("fields", "code"), [({"model": "none"}, "model_not_found"), ({"size": "1x1"}, "invalid_size")]
)
async def test_pictures_that_were_refused_before_anything_was_sent_are_not_counted(
    tmp_path: Path, fields: dict[str, str], code: str
) -> None:
    async with keyed_house(tmp_path) as house:
        house.upstream.play(PICTURE)
        key = await house.create(ipm=2)
        await house.closed()
        for _ in range(2):
            refused = await house.generate(key, n=2, **fields)
            assert refused.json()["error"]["code"] == code
            assert refused.headers["x-ratelimit-remaining-images"] == "2"
        assert (await house.generate(key)).headers["x-ratelimit-remaining-images"] == "1"


async def test_pictures_that_the_key_cannot_pay_are_not_counted(tmp_path: Path) -> None:
    async with keyed_house(tmp_path, {"charge": BY_PICTURE}) as house:
        house.upstream.play(PICTURE)
        key = await house.create(ipm=4, credits=1)
        await house.closed()
        short = [await house.generate(key, n=2) for _ in range(3)]
        assert [answer.status_code for answer in short] == [402] * 3
        assert (await house.generate(key)).headers["x-ratelimit-remaining-images"] == "3"


async def test_requests_at_the_same_time(tmp_path: Path) -> None:
    async with keyed_house(tmp_path) as house:
        house.upstream.play(*[SLOW] * 4)
        key = await house.create(concurrency=2)
        await house.closed()
        answers = await asyncio.gather(*(house.generate(key) for _ in range(10)))
        assert Counter(answer.status_code for answer in answers) == {200: 2, 429: 8}
        again = await asyncio.gather(*(house.generate(key) for _ in range(2)))
        assert [answer.status_code for answer in again] == [200, 200]


async def test_a_client_that_leaves_gives_its_place_back(tmp_path: Path) -> None:
    async with keyed_house(tmp_path) as house:
        house.upstream.play(SLOW, PICTURE)
        key = await house.create(concurrency=1)
        await house.closed()
        _, writer = await asyncio.open_connection("127.0.0.1", int(house.gateway.url.rpartition(":")[2]))
        head = f"POST /v1/images/generations HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {key}\r\n"
        writer.write(head.encode() + b"content-type: application/json\r\ncontent-length: 999\r\n\r\n{")
        await writer.drain()
        await asyncio.sleep(0.2)
        assert (await house.generate(key)).status_code == 429
        writer.close()
        await asyncio.sleep(0.2)
        assert (await house.generate(key, prompt=GENERATION["prompt"])).status_code == 200


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0ms"), (0.0201, "21ms"), (1, "1s"), (59.2, "1m0s"), (59.0, "59s"), (360, "6m0s")]
)
def test_spans_are_written_as_the_api_writes_them(seconds: float, said: str) -> None:
    assert span(seconds) == said


async def test_pictures_of_a_key_that_keeps_none_are_given_and_not_kept(tmp_path: Path) -> None:
    async with keyed_house(tmp_path) as house:
        house.upstream.play(PICTURE, PICTURE)
        kept, passing = await house.create(), await house.create(name="passing", keep=False)
        await house.closed()
        assert [row["keep"] for row in await house.keys()] == [False, True]
        assert "x-asset-ids" in (await house.generate(kept)).headers
        answer = await house.generate(passing)
        assert (answer.status_code, "x-asset-ids" in answer.headers) == (200, False)
        assert answer.json()["data"][0]["b64_json"]
