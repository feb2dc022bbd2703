"""A request that names no model is in the books under the model that served it; one that is refused, under its own."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.fakes.gateway import RunningGateway, running_gateway

ROUTES = """\
version: 1
channels:
  sandbox:
    owner: sandbox
    kind: sandbox
    rows:
      gpt-image-2: {serves: [images/generations], price: {unit: per_request, amount: 0.01}}
routes:
  gpt-image-2: {targets: [sandbox], default_for: [images/generations]}
"""


@dataclass
class House:
    gateway: RunningGateway
    client: httpx2.AsyncClient

    async def ask(self, body: dict[str, Any], **headers: str) -> httpx2.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.post(f"{self.gateway.url}/v1/images/generations", json=body, headers=named)

    async def told(self, path: str) -> Any:
        answer = await self.client.get(f"{self.gateway.url}{path}")
        assert answer.status_code == 200
        return answer.json()

    async def models(self) -> dict[str, int]:
        return {row["model"]: row["requests"] for row in (await self.told("/api/usage?by=model"))["data"]}


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with running_gateway(ROUTES, tmp_path) as gateway, httpx2.AsyncClient(timeout=30, trust_env=False) as client:
        yield House(gateway, client)


async def test_it_is_counted_found_and_kept_under_the_model_that_served_it(house: House) -> None:
    made = await house.ask({"prompt": "a fox", "size": "1024x1024"}, idempotency_key="once")
    again = await house.ask({"prompt": "a fox", "size": "1024x1024"}, idempotency_key="once")
    refused = await house.ask({"prompt": "a fox", "size": "1x1"})
    assert [answer.status_code for answer in (made, again, refused)] == [200, 200, 400]
    found = (await house.told("/api/requests?model=gpt-image-2"))["data"]
    assert {record["request_id"] for record in found} == {
        answer.headers["x-request-id"] for answer in (made, again, refused)
    }
    assert all("asked_model" not in record for record in found)  # the client's word, and there is none
    assert await house.models() == {"gpt-image-2": 3}
    [asset] = (await house.told("/api/assets?model=gpt-image-2"))["data"]
    assert (asset["model"], asset["request_id"]) == ("gpt-image-2", made.headers["x-request-id"])
    figures = (await house.client.get(f"{house.gateway.url}/metrics")).text
    assert 'model="none"' not in figures


async def test_one_that_is_open_is_found_too(house: House) -> None:
    waiting = asyncio.ensure_future(house.ask({"prompt": "[delay 1s]", "size": "1024x1024"}))
    async with asyncio.timeout(10):
        while not (found := (await house.told("/api/requests?model=gpt-image-2&status=open"))["data"]):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert len(found) == 1
    assert (await waiting).status_code == 200


async def test_a_body_that_is_refused_is_counted_under_the_model_that_it_names(house: House) -> None:
    known = await house.ask({"model": "gpt-image-2", "prompt": "a fox", "n": "one"})
    strange = await house.ask({"model": "no-such-model", "prompt": 2})
    assert (known.status_code, strange.status_code) == (400, 400)
    records = [await house.gateway.record(answer.headers["x-request-id"]) for answer in (known, strange)]
    assert [record["asked_model"] for record in records] == ["gpt-image-2", "no-such-model"]
    assert await house.models() == {"gpt-image-2": 1, "no-such-model": 1}
    figures = (await house.client.get(f"{house.gateway.url}/metrics")).text
    assert 'model="other"' in figures  # the words of callers are no labels
    assert "no-such-model" not in figures
