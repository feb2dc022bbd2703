"""Credits over real HTTP: what the balance covers is served, what was delivered is charged, failures are not."""

import asyncio
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from tests.fakes.answers import image_answer
from tests.fakes.events import told
from tests.fakes.script import drop_before_status, reply
from tests.keys.house import BY_MATRIX, BY_PICTURE, FLAT, MATRIX, keyed_house

PICTURE = reply(200, image_answer())
OVERLOADED = reply(503, {"error": {"message": "overloaded", "type": "server_error", "code": None, "param": None}})


async def test_two_hundred_at_once_on_a_balance_for_ten_are_served_ten_times(tmp_path: Path) -> None:
    async with keyed_house(tmp_path, {"charge": BY_PICTURE}) as house:
        house.upstream.play(*[reply(200, image_answer(), delay_s=0.2)] * 10)
        key = await house.create(credits=10)
        await house.closed()
        answers = await asyncio.gather(*(house.generate(key) for _ in range(200)))
        assert Counter(answer.status_code for answer in answers) == {200: 10, 402: 190}
        refused = next(answer for answer in answers if answer.status_code == 402)
        assert refused.json()["error"]["code"] == "insufficient_credits"
        assert refused.headers["x-should-retry"] == "false"
        assert refused.headers["x-route-attempts"] == "0"
        assert {answer.headers["x-credits"] for answer in answers if answer.status_code == 200} == {"1"}
        assert house.upstream.count == 10
        listed = await house.key()
        assert (listed["credits"], listed["credits_held"]) == (0, 0)
        house.check_books()


async def test_failures_cost_nothing(tmp_path: Path) -> None:
    async with keyed_house(tmp_path, {"charge": BY_PICTURE, "max_attempts": 1}) as house:
        key = await house.create(credits=3)
        await house.closed()
        house.upstream.play(OVERLOADED, drop_before_status(), reply(200, {"data": []}))
        for status in (503, 502, 502):
            answer = await house.generate(key)
            assert (answer.status_code, answer.headers["x-credits"]) == (status, "0"), answer.text
        assert (await house.generate(key, size="nonsense")).status_code == 400
        assert (await house.key())["credits"] == 3
        house.check_books()


async def test_the_lower_of_what_was_asked_and_what_came_is_charged(tmp_path: Path) -> None:
    async with keyed_house(tmp_path, {"charge": BY_MATRIX}) as house:
        key = await house.create(credits=1000)
        await house.closed()
        left = 1000
        cases: list[tuple[dict[str, object], tuple[int, int], int]] = [
            ({"size": "1024x1024", "quality": "low"}, (1024, 1024), 1),
            ({"size": "1024x1024"}, (1024, 1024), 14),
            ({"size": "2048x2048", "quality": "medium"}, (2048, 2048), 17),
            ({"size": "2048x2048", "quality": "medium"}, (1024, 1024), 4),  # less came
            ({"size": "1024x1024", "quality": "medium"}, (2048, 2048), 4),  # more came
            ({"quality": "low"}, (1024, 1024), 1),  # held at the dearest
            ({"quality": "auto", "size": "auto"}, (2048, 2048), 67),
            ({"size": "1024x1024", "quality": "low", "n": 3}, (1024, 1024), 3),
        ]
        for asked, came, charged in cases:
            count = int(str(asked.get("n", 1)))
            house.upstream.play(reply(200, image_answer(n=count, width=came[0], height=came[1])))
            answer = await house.generate(key, **asked)
            assert (answer.status_code, answer.headers.get("x-credits")) == (200, str(charged)), (asked, answer.text)
            left -= charged
            record = await house.gateway.record(answer.headers["x-request-id"])
            assert record["credits"] == charged
        assert (await house.key())["credits"] == left
        house.check_books()


async def test_fewer_pictures_than_asked_are_charged_as_they_are(tmp_path: Path) -> None:
    async with keyed_house(tmp_path, {"charge": BY_PICTURE}) as house:
        key = await house.create(credits=5)
        await house.closed()
        house.upstream.play(reply(200, image_answer(n=2)))
        answer = await house.generate(key, n=5)
        assert (answer.status_code, answer.headers["x-credits"]) == (200, "2")
        assert (await house.generate(key, n=4)).status_code == 402
        assert (await house.key())["credits"] == 3


async def test_an_open_size_is_held_at_the_dearest_that_can_come(tmp_path: Path) -> None:
    async with keyed_house(tmp_path, {"charge": BY_MATRIX}) as house:
        key = await house.create(credits=MATRIX["4K"]["high"] - 1)
        await house.closed()
        assert (await house.generate(key)).status_code == 402
        house.upstream.play(PICTURE)
        assert (await house.generate(key, size="1024x1024")).status_code == 200


async def test_what_has_no_price_is_refused_and_other_gives_it_one(tmp_path: Path) -> None:
    charge = {"unit": "credits", "matrix": {"1K": {"high": 14}}}
    async with keyed_house(tmp_path / "strict", {"charge": charge}) as house:
        key = await house.create(credits=100)
        await house.closed()
        answer = await house.generate(key, size="1024x1024", quality="low")
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "no_price")
        assert house.upstream.count == 0
    async with keyed_house(tmp_path / "kind", {"charge": {**charge, "other": 9}}) as house:
        key = await house.create(credits=100)
        await house.closed()
        house.upstream.play(PICTURE)
        answer = await house.generate(key, size="1024x1024", quality="low")
        assert (answer.status_code, answer.headers["x-credits"]) == (200, "9")


@pytest.mark.parametrize("price", [None, {"unit": "upstream_reported"}])
async def test_a_key_with_a_budget_never_uses_a_target_whose_price_is_missing(tmp_path: Path, price: object) -> None:
    async with keyed_house(tmp_path, price=price) as house:
        key = await house.create(budget="20USD/30d")
        await house.closed()
        answer = await house.generate(key)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "no_eligible_target")
        assert "price_missing" in answer.json()["error"]["message"]
        assert house.upstream.count == 0


async def test_a_budget_is_spent_to_its_end_and_no_further(tmp_path: Path) -> None:
    async with keyed_house(tmp_path, {"max_attempts": 1}, FLAT) as house:
        house.upstream.play(*[PICTURE] * 4)
        key = await house.create(budget="2USD/30d")
        await house.closed()
        answers = await asyncio.gather(*(house.generate(key) for _ in range(20)))
        assert Counter(answer.status_code for answer in answers) == {200: 4, 402: 16}
        refused = next(answer for answer in answers if answer.status_code == 402)
        assert refused.json()["error"]["code"] == "budget_exceeded"
        budget = (await house.key())["budget"]
        assert (budget["spent_micro"], budget["reserved_micro"]) == (2_000_000, 0)
        assert house.upstream.count == 4
        house.check_books()


async def test_a_budget_is_spent_anew_after_its_window(tmp_path: Path) -> None:
    async with keyed_house(tmp_path, {"max_attempts": 1}, FLAT) as house:
        house.upstream.play(PICTURE, PICTURE)
        key = await house.create(budget="0.5USD/30d")
        await house.closed()
        assert [(await house.generate(key)).status_code for _ in range(2)] == [200, 402]
        first = (await house.key())["budget"]
        month_us = 30 * 86_400 * 1_000_000
        with closing(sqlite3.connect(house.database)) as ledger, ledger:  # as if it had been made a window earlier
            ledger.execute("UPDATE keys SET created_us = created_us - ?, changed = changed + 1", (month_us,))
        async with asyncio.timeout(2):
            while (answer := await house.generate(key)).status_code == 402:  # noqa: ASYNC110 - behind a socket
                await asyncio.sleep(0.05)
        assert answer.status_code == 200
        assert (await house.generate(key)).status_code == 402
        second = (await house.key())["budget"]
        assert (first["spent_micro"], second["spent_micro"]) == (500_000, 500_000)
        assert second["window_ends_at"] == first["window_ends_at"]  # of the one that follows, as it was made earlier
        house.check_books()


async def test_money_that_may_be_gone_counts_against_the_budget_and_a_refusal_does_not(tmp_path: Path) -> None:
    async with keyed_house(tmp_path, {"max_attempts": 1}, FLAT) as house:
        key = await house.create(budget="1USD/30d")
        await house.closed()
        house.upstream.play(OVERLOADED, drop_before_status(), PICTURE)
        assert [(await house.generate(key)).status_code for _ in range(3)] == [503, 502, 200]
        assert (await house.key())["budget"]["spent_micro"] == 1_000_000
        assert (await house.generate(key)).status_code == 402


async def test_a_stream_is_charged_for_the_picture_it_brought(tmp_path: Path) -> None:
    async with keyed_house(tmp_path, {"charge": BY_PICTURE}) as house:
        key = await house.create(credits=2)
        await house.closed()
        house.upstream.play(told("partial, completed"))
        answer = await house.generate(key, stream=True, partial_images=1)
        assert answer.status_code == 200
        assert "x-credits" not in answer.headers
        assert (await house.gateway.record(answer.headers["x-request-id"]))["credits"] == 1
        assert (await house.key())["credits"] == 1
        house.check_books()


async def test_of_a_stream_that_breaks_only_what_had_come_whole_is_charged(tmp_path: Path) -> None:
    async with keyed_house(tmp_path, {"charge": BY_PICTURE}) as house:
        key = await house.create(credits=5)
        await house.closed()
        house.upstream.play(told("completed, partial; cut"), told("partial; cut"))
        for charged in (1, 0):
            answer = await house.generate(key, stream=True, partial_images=1, n=2)
            assert answer.status_code == 200
            assert (await house.gateway.record(answer.headers["x-request-id"]))["credits"] == charged
        assert (await house.key())["credits"] == 4
        house.check_books()


async def test_who_cannot_pay_is_told_what_it_may_cost_where_and_what_is_left(tmp_path: Path) -> None:
    async with keyed_house(tmp_path / "money", price=FLAT) as house:
        key = await house.create(budget="0.2USD/30d")
        await house.closed()
        refused = (await house.generate(key)).json()["error"]
        assert refused["message"] == (
            "The budget of this key does not cover what this request may cost: up to 0.500000 USD, by A/pic, and "
            "0.200000 USD of the budget is left. Nothing was sent."
        )
    async with keyed_house(tmp_path / "credits", {"charge": BY_MATRIX}) as house:
        key = await house.create(credits=5)
        await house.closed()
        refused = (await house.generate(key, size="1024x1024", quality="high")).json()["error"]
        assert refused["message"] == (
            "The balance of this key does not cover what this request may cost: up to 14 credits, by A/pic, and "
            "5 are left. Nothing was sent."
        )


@pytest.mark.parametrize(
    ("fields", "param", "said"),
    [
        ({"size": "2048x2048", "quality": "high"}, "size", "a picture of 2048x2048 pixels (tier 2K)."),
        ({"size": "1024x1024", "quality": "low"}, "quality", "1024x1024 pixels (tier 1K) in quality 'low'."),
        ({"quality": "low"}, "quality", "a picture of tier 1K or 2K or 4K in quality 'low'."),
    ],
)
async def test_what_has_no_price_is_named(tmp_path: Path, fields: dict[str, object], param: str, said: str) -> None:
    async with keyed_house(tmp_path, {"charge": {"unit": "credits", "matrix": {"1K": {"high": 14}}}}) as house:
        key = await house.create(credits=100)
        await house.closed()
        error = (await house.generate(key, **fields)).json()["error"]
        assert (error["code"], error["param"]) == ("no_price", param)
        assert error["message"].startswith("This route charges credits and has no price for ")
        assert error["message"].endswith(said)
