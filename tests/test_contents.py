"""The pictures of an answer, those that it holds and those that it only points to."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gateway.bodies.answer import AnswerSpool
from gateway.bodies.contents import MOST_AT_ONCE, MOST_ITEMS, Contents, Fetched, Unfetched, Wanted, bring_in
from gateway.bodies.spool import Spool, SpooledBody
from gateway.core.delivery import Form, Shape
from gateway.core.picture import PictureMeter
from gateway.core.seen import Reading
from gateway.core.types import JsonObject, RequestId
from tests.fakes.answers import png
from tests.web.house import until

INSIDE, OUTSIDE = png(64, 48), png(300, 200, noise=True)
OURS = "https://waybill.example/assets/1"


@dataclass(slots=True)
class Pictures:
    """Has one picture at every address but those with ``no``; the address says how long it takes (``?0.1``)."""

    spool: Spool
    asked: list[str] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0

    async def fetch(self, wanted: Wanted) -> Fetched | Unfetched:
        self.asked.append(wanted.url)
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            await asyncio.sleep(float(wanted.url.partition("?")[2] or "0"))
        finally:
            self.at_once -= 1
        if "no" in wanted.url:
            return Unfetched(reason="status_404")
        body, meter = SpooledBody(self.spool, 1000), PictureMeter()
        body.append(OUTSIDE)
        meter.feed(OUTSIDE)
        body.seal()
        return Fetched(body=body, image=meter.facts())


@pytest.fixture
async def spool(tmp_path: Path) -> AsyncIterator[Spool]:
    spool = Spool(tmp_path / "spool")
    memory, disk = spool.memory_left, spool.disk_left
    yield spool
    assert (spool.memory_left, spool.disk_left) == (memory, disk)
    await until(lambda: not any((tmp_path / "spool").iterdir()))  # a large file goes beside the loop
    spool.close()


def answer_of(spool: Spool, *items: JsonObject | str) -> AnswerSpool:
    answer = AnswerSpool(spool, 1000)
    answer.feed(json.dumps({"data": list(items)}).encode())
    answer.finish()
    return answer


def held(data: bytes = INSIDE) -> JsonObject:
    return {"b64_json": base64.b64encode(data).decode()}


async def looked_inside(answer: AnswerSpool, fetcher: Pictures | None) -> Contents:
    return await bring_in(
        answer, fetcher, "https://api.example.com/v1", asyncio.get_running_loop().time() + 5, RequestId("req_1")
    )


async def text_of(answer: AnswerSpool) -> bytes:
    found = b"".join([piece async for piece in answer.chunks()])
    assert len(found) == answer.length
    return found


async def test_what_is_only_pointed_to_is_brought_in(spool: Spool) -> None:
    answer = answer_of(
        spool, {"url": "https://a/?0.05"}, held(), {"url": "https://no/"}, {"url": "https://b/"}, "x", {}
    )
    contents = await looked_inside(answer, Pictures(spool))
    reading = contents.read_again(answer, Reading(url_count=3, shaped=True))
    assert [one.bytes for one in reading.pictures] == [len(OUTSIDE), len(INSIDE), len(OUTSIDE)]
    assert (reading.url_count, reading.shaped) == (1, True)
    assert sorted(image.bytes for image, _ in answer.pictures()) == sorted([len(OUTSIDE), len(OUTSIDE), len(INSIDE)])
    shape = contents.give(answer, Form.B64_JSON, ())
    assert shape == Shape(form=Form.BOTH, translated=True, missed=True)
    data = json.loads(await text_of(answer))["data"]
    assert data == [held(OUTSIDE), held(), {"url": "https://no/"}, held(OUTSIDE), "x", {}]
    answer.close()


async def test_addresses_of_ours_go_by_the_order_of_the_pictures(spool: Spool) -> None:
    answer = answer_of(spool, {"url": "https://no/"}, held(), {}, {"url": "https://a/"})
    contents = await looked_inside(answer, Pictures(spool))
    shape = contents.give(answer, Form.URL, ["https://1/", "https://2/"])
    assert shape == Shape(form=Form.URL, translated=True)
    urls = [one.get("url") for one in json.loads(await text_of(answer))["data"]]
    assert urls == ["https://no/", "https://1/", None, "https://2/"]
    answer.close()


@pytest.mark.parametrize("links", [(), (None,)])
async def test_without_an_address_of_ours_a_picture_stays_inside(spool: Spool, links: tuple[None, ...]) -> None:
    answer = answer_of(spool, held())
    before = await text_of(answer)
    shape = (await looked_inside(answer, None)).give(answer, Form.URL, links)
    assert shape == Shape(form=Form.B64_JSON, missed=True)
    assert await text_of(answer) == before
    answer.close()


async def test_as_it_came_is_as_it_came(spool: Spool) -> None:
    answer = answer_of(spool, held(), {"url": "https://a/"})
    before = await text_of(answer)
    contents = await looked_inside(answer, Pictures(spool))
    assert contents.give(answer, None, [OURS, OURS]) == Shape(form=Form.BOTH)
    assert await text_of(answer) == before
    answer.close()


@pytest.mark.parametrize("payload", ["!!" * 50, "QUJD" * 50 + "*", base64.b64encode(INSIDE).decode()[:-2] + "=="])
async def test_characters_that_are_no_canonical_base64(spool: Spool, payload: str) -> None:
    """What is no picture is left alone; what is one in another spelling keeps its spelling."""
    answer = answer_of(spool, {"b64_json": payload, "a": 1})
    contents = await looked_inside(answer, None)
    contents.give(answer, Form.BOTH, [OURS])
    [item] = json.loads(await text_of(answer))["data"]
    assert item["b64_json"] == payload
    answer.close()


async def test_not_too_many_at_once(spool: Spool) -> None:
    pictures = Pictures(spool)
    answer = answer_of(spool, *({"url": f"https://a/{at}?0.01"} for at in range(10)))
    contents = await looked_inside(answer, pictures)
    assert (pictures.most_at_once, len(pictures.asked)) == (MOST_AT_ONCE, 10)
    assert None not in contents.pictures
    answer.close()


async def test_an_answer_of_very_many_is_left_as_it_came(spool: Spool) -> None:
    pictures = Pictures(spool)
    answer = answer_of(spool, *({"url": "https://a/"} for _ in range(MOST_ITEMS + 1)))
    contents = await looked_inside(answer, pictures)
    assert (contents.items, pictures.asked) == ((), [])
    assert contents.give(answer, Form.B64_JSON, ()) is None
    answer.close()


async def test_nothing_is_left_when_nobody_waits_any_more(spool: Spool) -> None:
    answer = answer_of(spool, {"url": "https://a/"}, {"url": "https://b/?60"})
    waiting = asyncio.ensure_future(looked_inside(answer, Pictures(spool)))
    await asyncio.sleep(0.05)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    answer.close()


async def test_a_large_picture_is_not_copied(spool: Spool) -> None:
    large = png(1200, 1200, noise=True)
    answer = AnswerSpool(spool)
    answer.feed(json.dumps({"data": [held(large)], "x": 1}).encode())
    answer.finish()
    disk = spool.disk_left
    contents = await looked_inside(answer, None)
    contents.give(answer, Form.BOTH, [OURS])
    assert spool.disk_left == disk
    found = json.loads(await text_of(answer))
    assert found == {"data": [{**held(large), "url": OURS}], "x": 1}
    answer.close()
