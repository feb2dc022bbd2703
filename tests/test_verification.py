"""A row that must be verified: no traffic before a smoke run has passed, but for who pins it; seen while serving."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import pytest

from gateway.core.types import Surface
from gateway.core.verification import Verification, proof_of
from gateway.stores.verified_sql import record_verification
from tests.fakes import answers, script
from tests.fakes.gateway import RunningGateway, running_gateway
from tests.fakes.upstream import FakeUpstream

ROUTES = """\
version: 1
channels:
  a:
    owner: a
    kind: direct
    base_url: {url}
    api_key: sk-a
    rows:
      pic: {{serves: [images/generations, images/edits], require: verified}}
routes:
  pic: {{targets: [a]}}
"""
BODY = {"model": "pic", "prompt": "a hat"}


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream(default=script.reply(200, answers.image_answer())) as running:
        yield running


@pytest.fixture
async def gateway(upstream: FakeUpstream, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    async with running_gateway(ROUTES.format(url=upstream.url), tmp_path) as running:
        yield running


async def ask(gateway: RunningGateway, path: str = "images/generations", **headers: str) -> httpx2.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with httpx2.AsyncClient(timeout=30, trust_env=False) as client:
        return await client.post(f"{gateway.url}/v1/{path}", json=BODY, headers=named)


def verify(gateway: RunningGateway, *, passed: bool) -> None:
    loaded = gateway.gateway.loaded
    channel = loaded.table.channels["a"]
    proof = proof_of(channel, channel.rows["pic"], Surface.GENERATIONS)
    record_verification(loaded.settings.database, Verification(proof=proof, at=datetime.now(UTC), passed=passed))


async def status_soon(gateway: RunningGateway, wanted: int) -> None:
    for _ in range(30):
        if (await ask(gateway)).status_code == wanted:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"never {wanted}")


async def test_a_row_takes_traffic_once_its_run_has_passed_and_no_longer(
    gateway: RunningGateway, upstream: FakeUpstream
) -> None:
    refused = await ask(gateway)
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "no_healthy_target"
    assert "a/pic: not_verified" in refused.json()["error"]["message"]
    record = await gateway.record(refused.headers["x-request-id"])
    assert record["excluded"] == [{"target": "a/pic", "reason": "not_verified"}]
    told = (await ask(gateway, "images/check")).json()
    assert (told["ok"], told["excluded"][0]["reason"]) == (False, "not_verified")
    assert upstream.count == 0
    verify(gateway, passed=True)
    await status_soon(gateway, 200)
    assert "x-route-warnings" not in (await ask(gateway)).headers
    verify(gateway, passed=False)
    await status_soon(gateway, 503)


async def test_who_pins_the_channel_reaches_it_and_is_told(gateway: RunningGateway) -> None:
    pinned = await ask(gateway, x_route_pin="a")
    assert pinned.status_code == 200
    assert pinned.headers["x-route-warnings"] == "not_verified"
    record = await gateway.record(pinned.headers["x-request-id"])
    assert record["result"]["warnings"] == ["not_verified"]
