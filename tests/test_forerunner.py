"""Forms that are sent on while they still arrive: over real sockets, with the upstream's count as the truth."""

import asyncio
import hashlib
import random
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.core.brake import BrakeState
from tests.fakes.answers import image_answer
from tests.fakes.gateway import RunningGateway, running_gateway
from tests.fakes.pair import routes_file
from tests.fakes.script import FOREVER_S, Ending, Reads, Script, Send, Wait, reply
from tests.fakes.sender import MB, Sender, form, picture
from tests.fakes.upstream import FakeUpstream
from tests.web.house import until

PICTURE = picture(3 * MB)
FIELDS = (("model", "pic"), ("prompt", "at night"), ("size", "1024x1024"))
FORM = form(*FIELDS, ("image", PICTURE))
ANSWER = image_answer(width=64, height=48)
TIGHT = {"count": 4, "max_bytes": "2MB", "formats": ["png"]}


class House:
    """A gateway over one upstream."""

    def __init__(self, gateway: RunningGateway, upstream: FakeUpstream, directory: Path) -> None:
        self.gateway = gateway
        self.upstream = upstream
        self._database = directory / "data" / "waybill.db"

    def sender(self, body: bytes = FORM, **headers: str) -> Sender:
        return Sender(self.gateway.url, body, **headers)

    async def record(self, request_id: str) -> dict[str, Any]:
        return await self.gateway.record(request_id)

    def attempts(self) -> int:
        """Rows of attempts in the ledger."""
        with closing(sqlite3.connect(self._database)) as ledger:
            return int(ledger.execute("SELECT count(*) FROM attempts").fetchone()[0])

    def cut(self) -> list[dict[str, Any]]:
        """What was told of forms that were cut."""
        return [event for event in self.gateway.events() if event["event"] == "form.cut"]

    @property
    def inside(self) -> int:
        """Places taken at the channel."""
        told: Any = self.gateway.gateway.roster.report()["data"]
        return sum(channel["in_flight"] for channel in told)

    async def at_rest(self) -> None:
        """Wait until nothing is left open: no connection, no place, no file, no memory."""
        spool = self.gateway.gateway.spool
        await until(lambda: self.inside == 0)
        await until(lambda: spool.memory_left == 80 * 1024 * 1024)


def sent(body: bytes, model: bytes = b"pic-A") -> bytes:
    """What an upstream is to get of a form."""
    return body.replace(b'name="model"\r\n\r\npic\r\n', b'name="model"\r\n\r\n' + model + b"\r\n", 1)


def sha(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


@asynccontextmanager
async def house_of(
    tmp_path: Path, route: dict[str, Any] | None = None, server: dict[str, Any] | None = None, **channel: Any
) -> AsyncIterator[House]:
    async with FakeUpstream(key="sk-A", default=reply(200, ANSWER)) as upstream:
        file = yaml.safe_load(routes_file({"A": upstream.url}, route, A=channel))
        routes = yaml.safe_dump({**file, "server": server or {}})
        async with running_gateway(routes, tmp_path) as gateway:
            yield House(gateway, upstream, tmp_path)
        assert upstream.problems == []


@asynccontextmanager
async def pair_of(tmp_path: Path, route: dict[str, Any] | None = None) -> AsyncIterator[tuple[House, FakeUpstream]]:
    """A gateway over two upstreams, A before B; gives B beside it."""
    async with FakeUpstream(key="sk-B") as other, FakeUpstream(key="sk-A", default=reply(200, ANSWER)) as upstream:
        async with running_gateway(routes_file({"A": upstream.url, "B": other.url}, route), tmp_path) as gateway:
            yield House(gateway, upstream, tmp_path), other
        assert upstream.problems + other.problems == []


def contracted(own: dict[str, Any]) -> dict[str, Any]:
    """A row with the contract of a shipped model, changed."""
    contract = {"extends": "gpt-image-2", **own} if own else "gpt-image-2"
    return {
        "pic": {"model": "gpt-image-2", "serves": ["images/edits"], "contract": contract},
        "chat": {"serves": ["responses"]},
    }


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with house_of(tmp_path) as house:
        yield house


async def test_the_upstream_sees_the_picture_before_the_client_has_sent_it(house: House) -> None:
    async with house.sender() as client:
        await client.send(1 * MB)
        await until(lambda: house.upstream.arrived > 900_000)
        assert (house.upstream.count, house.attempts(), house.inside) == (0, 0, 1)
        await client.send(1 * MB)
        await until(lambda: house.upstream.arrived > 1_900_000)
        answer = await client.end()
    assert (answer.status, answer.body) == (200, ANSWER)
    [request] = house.upstream.requests
    assert (request.sha256, request.length) == (sha(sent(FORM)), len(sent(FORM)))
    assert (house.upstream.count, len(house.upstream.heads), house.attempts()) == (1, 1, 1)
    [attempt] = (await house.record(answer.headers["x-request-id"]))["attempts"]
    assert attempt["ahead_bytes"] > 1_900_000
    assert attempt["ahead_ms"] > 0
    assert attempt["outcome"] == "delivered"
    await house.at_rest()


async def test_all_but_the_end_goes_ahead_and_never_the_end(house: House) -> None:
    async with house.sender() as client:
        await client.send(len(FORM) - 2)  # but for the last line end, which says nothing more
        await until(lambda: house.upstream.arrived > len(FORM) - 200_000)
        await asyncio.sleep(0.05)
        assert house.upstream.arrived < len(FORM) - 4096
        assert house.upstream.count == 0
        answer = await client.end()
    assert answer.status == 200
    assert house.upstream.requests[0].sha256 == sha(sent(FORM))


async def test_a_client_that_leaves_has_bought_nothing(house: House) -> None:
    async with house.sender() as client:
        await client.send(2 * MB)
        await until(lambda: house.upstream.arrived > 1_900_000)
    await until(lambda: house.upstream.open_connections == 0)
    assert (house.upstream.count, len(house.upstream.heads), house.attempts()) == (0, 1, 0)
    await house.at_rest()


async def test_a_form_that_is_refused_at_its_end_is_not_carried_out(house: House) -> None:
    body = form(*FIELDS, ("image", PICTURE), ("n", "eleven"))
    async with house.sender(body) as client:
        await client.send(2 * MB)
        await until(lambda: house.upstream.arrived > 1_900_000)
        answer = await client.end()
    assert (answer.status, answer.json["error"]["param"]) == (400, "n")
    await until(lambda: house.upstream.open_connections == 0)
    assert (house.upstream.count, house.attempts()) == (0, 0)
    assert "attempts" not in await house.record(answer.headers["x-request-id"])
    await house.at_rest()


async def test_fields_behind_the_pictures_wait_for_the_end(house: House) -> None:
    body = form(("model", "pic"), ("image", PICTURE), ("prompt", "at night"), ("quality", "high"))
    async with house.sender(body) as client:
        await client.send(2 * MB)
        await until(lambda: house.upstream.arrived > 1_900_000)
        await client.send(len(body) - 2 * MB - 20)
        await asyncio.sleep(0.05)
        assert house.upstream.arrived < 3 * MB
        answer = await client.end()
    assert answer.status == 200
    assert (house.upstream.count, house.upstream.requests[0].sha256) == (1, sha(sent(body)))
    assert len(house.upstream.heads) == 1


async def test_a_model_behind_the_pictures_is_not_sent_ahead(house: House) -> None:
    body = form(("image", PICTURE), ("prompt", "at night"), ("model", "pic"))
    async with house.sender(body) as client:
        await client.send(2 * MB)
        await asyncio.sleep(0.05)
        assert house.upstream.heads == []
        answer = await client.end()
    assert answer.status == 200
    [attempt] = (await house.record(answer.headers["x-request-id"]))["attempts"]
    assert "ahead_bytes" not in attempt
    assert house.upstream.requests[0].sha256 == sha(sent(body))


async def test_several_pictures_go_ahead_one_after_the_other(house: House) -> None:
    pictures = [("image[]", picture(MB, seed)) for seed in range(4)]
    body = form(*FIELDS, *pictures, ("mask", picture(200_000, 9)))
    async with house.sender(body) as client:
        await client.send(len(body) - 300_000)
        await until(lambda: house.upstream.arrived > len(body) - 500_000)
        answer = await client.end()
    assert answer.status == 200
    assert (house.upstream.count, house.upstream.requests[0].sha256) == (1, sha(sent(body)))


@pytest.mark.parametrize("headers", [{"content_length": "", "transfer_encoding": "chunked"}])
async def test_a_form_without_a_stated_length_is_not_sent_ahead(house: House, headers: dict[str, str]) -> None:
    chunked = b"".join(
        b"%x\r\n" % len(piece) + piece + b"\r\n" for piece in (FORM[at : at + MB] for at in range(0, len(FORM), MB))
    )
    async with Sender(house.gateway.url, chunked + b"0\r\n\r\n", **headers) as client:
        await client.send(2 * MB)
        await asyncio.sleep(0.05)
        assert house.upstream.heads == []
        answer = await client.end()
    assert answer.status == 200
    assert house.upstream.requests[0].sha256 == sha(sent(FORM))


@pytest.mark.parametrize("headers", [{"x_stainless_retry_count": "1"}, {"prefer": "respond-async"}])
async def test_what_was_asked_before_or_nobody_waits_for_is_not_sent_ahead(
    house: House, headers: dict[str, str]
) -> None:
    async with Sender(house.gateway.url, FORM, **headers) as client:
        await client.send(2 * MB)
        await asyncio.sleep(0.05)
        assert house.upstream.heads == []
        answer = await client.end()
    assert answer.status in (200, 202)
    await house.upstream.counted(1)


async def test_a_small_form_is_not_sent_ahead(house: House) -> None:
    body = form(*FIELDS, ("image", picture(900_000)))
    async with house.sender(body) as client:
        await client.send(800_000)
        await asyncio.sleep(0.05)
        assert house.upstream.heads == []
        assert (await client.end()).status == 200


async def test_it_can_be_turned_off(tmp_path: Path) -> None:
    async with house_of(tmp_path, server={"send_ahead": "off"}) as house, house.sender() as client:
        await client.send(2 * MB)
        await asyncio.sleep(0.05)
        assert house.upstream.heads == []
        assert (await client.end()).status == 200


async def test_a_body_on_disk_goes_ahead_too(house: House) -> None:
    body = form(*FIELDS, *(("image[]", picture(9 * MB, seed)) for seed in range(3)))
    async with house.sender(body) as client:
        await client.send(20 * MB)
        await until(lambda: house.upstream.arrived > 19 * MB)
        answer = await client.end()
    assert answer.status == 200
    assert (house.upstream.count, house.upstream.requests[0].sha256) == (1, sha(sent(body)))


async def test_an_attempt_takes_the_place_of_a_form_that_still_arrives(tmp_path: Path) -> None:
    async with house_of(tmp_path, max_in_flight=1) as house, house.sender() as slow:
        await slow.send(2 * MB)
        await until(lambda: house.upstream.arrived > 1_900_000)
        async with house.sender(form(*FIELDS, ("image", picture(1000)))) as fast:
            assert (await fast.end()).status == 200
        assert house.inside == 0
        answer = await slow.end()
        assert answer.status == 200
        assert (house.upstream.count, len(house.upstream.heads)) == (2, 3)
        [attempt] = (await house.record(answer.headers["x-request-id"]))["attempts"]
        assert "ahead_bytes" not in attempt


async def test_a_full_channel_is_sent_nothing_ahead(tmp_path: Path) -> None:
    async with house_of(tmp_path, max_in_flight=1) as house:
        house.upstream.play(reply(200, ANSWER, delay_s=0.5))
        async with house.sender(form(*FIELDS, ("image", picture(1000)))) as first, house.sender() as second:
            waiting = asyncio.ensure_future(first.end())
            await house.upstream.counted(1)
            await second.send(2 * MB)
            await asyncio.sleep(0.05)
            assert len(house.upstream.heads) == 1
            answers = [await waiting, await second.end()]
        assert [answer.status for answer in answers] == [200, 200]


async def test_an_early_refusal_is_the_attempts_answer(house: House) -> None:
    error = {"error": {"message": "no", "type": "invalid_request_error", "code": "invalid_api_key", "param": None}}
    steps = (_whole(401, error), Wait(seconds=FOREVER_S))
    house.upstream.play(Script(name="early", reads=Reads.HEAD, steps=steps))
    async with house.sender() as client:
        await client.send(2 * MB)
        await house.upstream.counted(1)
        answer = await client.end()
    assert (answer.status, answer.json["error"]["code"]) == (502, "upstream_error")
    assert [attempt["class"] for attempt in answer.json["error"]["attempts"]] == ["key_rejected"]
    assert (house.upstream.count, house.attempts()) == (1, 1)
    await house.at_rest()


@pytest.mark.parametrize("status", [408, 429, 500, 503])
async def test_a_peer_that_fails_early_is_sent_the_form_afresh(house: House, status: int) -> None:
    early = Script(name="early", reads=Reads.HEAD, steps=(_whole(status, {}),), ending=Ending.CLOSE)
    house.upstream.play(early)
    async with house.sender() as client:
        await client.send(2 * MB)
        await house.upstream.counted(1)
        answer = await client.end()
    assert answer.status == 200
    record = await house.record(answer.headers["x-request-id"])
    assert [attempt["outcome"] for attempt in record["attempts"]] == ["delivered"]
    assert house.attempts() == 1
    assert [one.whole for one in house.upstream.requests] == [False, True]


@pytest.mark.parametrize("ending", [Ending.CLOSE, Ending.RESET])
async def test_a_connection_that_breaks_early_is_no_attempt(house: House, ending: Ending) -> None:
    house.upstream.play(Script(name="gone", reads=Reads.HEAD, steps=(Wait(seconds=0.1),), ending=ending))
    async with house.sender() as client:
        await client.send(2 * MB)
        await house.upstream.counted(1)
        await until(lambda: house.inside == 0)
        answer = await client.end()
    assert answer.status == 200
    record = await house.record(answer.headers["x-request-id"])
    assert [attempt["outcome"] for attempt in record["attempts"]] == ["delivered"]
    assert [one.whole for one in house.upstream.requests] == [False, True]
    await house.at_rest()


def _whole(status: int, body: dict[str, Any]) -> Send:
    [step] = reply(status, body).steps
    assert isinstance(step, Send)
    return step


async def test_a_duplicate_joins_the_flight_and_its_form_is_cut(house: House) -> None:
    house.upstream.play(reply(200, ANSWER, delay_s=0.6))
    async with house.sender(idempotency_key="k") as first, house.sender(idempotency_key="k") as second:
        one = asyncio.ensure_future(first.end())
        await house.upstream.counted(1)
        await second.send(2 * MB)
        two = asyncio.ensure_future(second.end())
        await until(lambda: [event["reason"] for event in house.cut()] == ["not_wanted"])
        assert not one.done()
        answers = [await one, await two]
    assert [(answer.status, answer.body) for answer in answers] == [(200, ANSWER)] * 2
    assert (house.upstream.count, house.attempts()) == (1, 1)
    await house.at_rest()


async def test_a_plan_that_turns_out_otherwise_is_sent_afresh(tmp_path: Path) -> None:
    """The rule that counts the pictures leads elsewhere once there are two."""
    when = [{"if": {"input_images": {"gte": 2}}, "use": ["B"]}, {"if": {"n": 1}, "use": ["A"]}]
    body = form(*FIELDS, ("image[]", PICTURE), ("image[]", picture(MB, 1)))
    async with pair_of(tmp_path, {"when": when}) as (house, other):
        other.play(reply(200, ANSWER))
        async with house.sender(body) as client:
            await client.send(2 * MB)
            await until(lambda: house.upstream.arrived > 1_900_000)
            answer = await client.end()
        assert answer.status == 200
        assert (house.upstream.count, other.count) == (0, 1)
        assert other.requests[0].sha256 == sha(sent(body, b"pic-B"))
        await house.at_rest()
        assert [event["reason"] for event in house.cut()] == ["not_wanted"]


async def test_two_targets_are_sent_nothing_ahead(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (house, other):
        async with house.sender() as client:
            await client.send(2 * MB)
            await asyncio.sleep(0.05)
            assert house.upstream.heads == []
            assert (await client.end()).status == 200
        async with house.sender(x_route_pin="A") as client:  # then one is left
            await client.send(2 * MB)
            await until(lambda: house.upstream.arrived > 1_900_000)
            assert (await client.end()).status == 200
        assert (house.upstream.count, other.count) == (2, 0)


async def test_a_contract_that_the_whole_form_breaks_is_told_and_nothing_carried_out(tmp_path: Path) -> None:
    """Half of the picture says nothing of its size in bytes; the whole one is too large."""
    async with house_of(tmp_path, rows=contracted({"inputs": TIGHT})) as house, house.sender() as client:
        await client.send(2 * MB)
        await until(lambda: house.upstream.arrived > 1_900_000)
        answer = await client.end()
        assert (answer.status, answer.json["error"]["code"]) == (400, "invalid_image")
        await until(lambda: house.upstream.open_connections == 0)
        assert (house.upstream.count, house.attempts()) == (0, 0)


async def test_an_option_that_is_said_in_other_words_goes_ahead_so(tmp_path: Path) -> None:
    """``hd`` is an old word for ``high``: it is changed where it stands, and what goes out is longer by two bytes."""
    body = form(*FIELDS, ("quality", "hd"), ("image", PICTURE))
    async with house_of(tmp_path, rows=contracted({})) as house, house.sender(body) as client:
        await client.send(2 * MB)
        await until(lambda: house.upstream.arrived > 1_900_000)
        answer = await client.end()
        assert answer.status == 200
        whole = sent(body, b"gpt-image-2").replace(b"\r\n\r\nhd\r\n", b"\r\n\r\nhigh\r\n", 1)
        assert (house.upstream.requests[0].sha256, len(house.upstream.heads)) == (sha(whole), 1)


async def test_an_option_behind_the_pictures_that_is_said_in_other_words_is_sent_afresh(tmp_path: Path) -> None:
    body = form(*FIELDS, ("image", PICTURE), ("quality", "hd"))
    async with house_of(tmp_path, rows=contracted({})) as house, house.sender(body) as client:
        await client.send(2 * MB)
        await until(lambda: house.upstream.arrived > 1_900_000)
        answer = await client.end()
        assert answer.status == 200
        whole = sent(body, b"gpt-image-2").replace(b"\r\n\r\nhd\r\n", b"\r\n\r\nhigh\r\n", 1)
        assert (house.upstream.count, house.upstream.requests[0].sha256) == (1, sha(whole))
        assert len(house.upstream.heads) == 2
        [attempt] = (await house.record(answer.headers["x-request-id"]))["attempts"]
        assert "ahead_bytes" not in attempt


async def test_a_hand_brake_meanwhile_is_kept(house: House) -> None:
    async with house.sender() as client:
        await client.send(2 * MB)
        await until(lambda: house.upstream.arrived > 1_900_000)
        await house.gateway.gateway.roster.brake("A", BrakeState.OFF, None, None)
        answer = await client.end()
    assert (answer.status, answer.json["error"]["code"]) == (503, "no_healthy_target")
    await until(lambda: house.upstream.open_connections == 0)
    assert (house.upstream.count, house.attempts()) == (0, 0)


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_clients_do_what_was_carried_out_was_committed_and_is_what_they_sent(
    tmp_path: Path, seed: int
) -> None:
    """Forty clients of all kinds at once over four places: slow, gone, refused at the end, changed at the end."""
    dice = random.Random(seed)
    kinds = ["whole", "whole", "behind", "gone", "refused", "changed"]
    pictures = [picture(size * 100_000, size) for size in range(11, 19)]
    async with house_of(tmp_path, rows=contracted({}), max_in_flight=4) as house:
        wanted: list[str] = []

        async def act(kind: str) -> int:
            image = ("image", dice.choice(pictures))
            tail = {"refused": ("n", "eleven"), "changed": ("quality", "hd")}.get(kind, ("n", "1"))
            parts: list[tuple[str, bytes | str]] = (
                [image, *FIELDS, tail] if kind == "behind" else [*FIELDS, image, tail]
            )
            body = form(*parts)
            async with house.sender(body) as client:
                for _ in range(dice.randint(1, 12)):
                    await client.send(100_000)
                    await asyncio.sleep(dice.random() * 0.02)
                if kind == "gone":
                    return 0
                answer = await client.end()
                if answer.status == 200:
                    end = sent(body, b"gpt-image-2").replace(b"\r\n\r\nhd\r\n", b"\r\n\r\nhigh\r\n", 1)
                    wanted.append(sha(end))
                return answer.status

        acts = [dice.choice(kinds) for _ in range(40)]
        statuses = await asyncio.gather(*(act(kind) for kind in acts))
        for kind, status in zip(acts, statuses, strict=True):
            assert status in {"gone": {0}, "refused": {400}}.get(kind, {200, 429, 503}), kind
        assert statuses.count(200) > 10
        await house.at_rest()
        assert sorted(one.sha256 for one in house.upstream.requests) == sorted(wanted)
        assert house.attempts() == house.upstream.count == statuses.count(200)
