"""kill -9 while pictures are kept: whoever was told of a picture finds it, and no row points at nothing."""

import asyncio
import base64
import hashlib
import json
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest
import yaml

from gateway.ports import AssetQuery
from gateway.stores.assets_sql import open_assets
from tests.fakes.answers import png
from tests.fakes.script import reply
from tests.fakes.server import run_program, server_process
from tests.fakes.upstream import FakeUpstream

ROUNDS = 6
CLIENTS = 6
SEED = 20261121


@dataclass
class Story:
    """One upstream that draws another picture each time, one data directory, and what clients were told."""

    upstream: FakeUpstream
    directory: Path
    told: dict[str, str] = field(default_factory=dict)  # hash by id
    drawn: int = 0

    def routes(self) -> str:
        row = {"model": "m", "serves": ["images/generations"]}
        channel = {
            "owner": "o", "kind": "direct", "base_url": self.upstream.url, "api_key": "sk-A", "rows": {"pic": row},
        }  # fmt: skip
        return yaml.safe_dump({"version": 1, "channels": {"A": channel}, "routes": {"pic": {"targets": ["A"]}}})

    async def ask(self, url: str, client: httpx2.AsyncClient) -> None:
        self.drawn += 1
        picture = png(200 + self.drawn % 50, 300, seed=self.drawn, noise=True)  # some lie in memory, some in files
        data = base64.b64encode(picture).decode()
        self.upstream.play(reply(200, {"created": 1, "data": [{"b64_json": data}]}))
        with suppress(httpx2.TransportError):
            answer = await client.post(f"{url}/v1/images/generations", json={"model": "pic", "prompt": "x"})
            if answer.status_code == 200:
                given = base64.b64decode(answer.json()["data"][0]["b64_json"])
                self.told[answer.headers["x-asset-ids"]] = hashlib.sha256(given).hexdigest()


@pytest.fixture
async def story(tmp_path: Path) -> AsyncIterator[Story]:
    async with FakeUpstream(key="sk-A") as upstream:
        yield Story(upstream=upstream, directory=tmp_path / "house")


async def test_killed_at_random_no_picture_that_was_given_is_lost(story: Story) -> None:
    dice = random.Random(SEED)
    for _ in range(ROUNDS):
        async with (
            server_process(story.routes(), story.directory) as server,
            httpx2.AsyncClient(timeout=20, trust_env=False) as client,
        ):

            async def ask_on(url: str = server.url, client: httpx2.AsyncClient = client) -> None:
                while server.process.returncode is None:
                    await story.ask(url, client)

            asking = asyncio.gather(*(ask_on() for _ in range(CLIENTS)))
            await asyncio.sleep(dice.uniform(0.15, 0.6))
            await server.kill()
            await asking
    books = open_assets(f"sqlite:///{story.directory}/data/waybill.db")
    kept = {asset.asset_id: asset for asset in books.pages(AssetQuery(limit=100_000))}
    books.close()
    assert len(story.told) > ROUNDS
    assert story.told.items() <= {name: asset.image.sha256 for name, asset in kept.items()}.items()
    for asset in kept.values():
        assert hashlib.sha256(Path(asset.path).read_bytes()).hexdigest() == asset.image.sha256
    swept = json.loads(await run_program(story.directory, "assets", "gc", "--dry-run", "--json"))
    assert (swept["expired"], swept["evicted"]) == (0, 0)
