"""Kept pictures through a whole gateway: on every surface, by their address, with their lineage, over a lost store."""

import asyncio
import base64
import hashlib
import json
import os
import stat
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from tests.fakes.answers import image_answer, png, responses_answer
from tests.fakes.gateway import NO_TLS, RunningGateway, running_gateway
from tests.fakes.script import reply
from tests.fakes.upstream import FakeUpstream
from tests.transcripts.play import routes_file


@dataclass(slots=True)
class House:
    """One upstream, and gateways over one data directory."""

    directory: Path
    a: FakeUpstream
    client: httpx2.AsyncClient

    def serve(self, storage: dict[str, Any] | None = None, **route: Any) -> Any:
        routes = yaml.safe_load(routes_file({"route": "A", **route}, {"A": self.a}))
        return running_gateway(yaml.safe_dump(routes | {"storage": storage or {}}), self.directory)

    async def draw(self, gateway: RunningGateway, body: bytes | None = None) -> httpx2.Response:
        self.a.play(reply(200, body or image_answer(noise=1)))
        return await self.client.post(f"{gateway.url}/v1/images/generations", json={"model": "pic", "prompt": "a fox"})

    async def image(self, gateway: RunningGateway, answer: httpx2.Response) -> dict[str, Any]:
        record = await gateway.record(answer.headers["x-request-id"])
        images: list[dict[str, Any]] = record["result"]["images"]
        return images[0]


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with FakeUpstream(key="sk-A") as a, httpx2.AsyncClient(verify=NO_TLS, timeout=20) as client:
        yield House(directory=tmp_path, a=a, client=client)
        assert a.problems == []


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def test_a_delivered_picture_is_kept_and_had_at_its_address(house: House) -> None:
    body = image_answer(width=1200, height=900, noise=1)
    picture = base64.b64decode(json.loads(body)["data"][0]["b64_json"])
    async with house.serve() as gateway:
        answer = await house.draw(gateway, body)
        assert answer.content == body
        image = await house.image(gateway, answer)
        assert answer.headers["x-asset-ids"] == image["asset_id"]
        pointer = image["storage_pointer"]
        assert Path(pointer["path"]).read_bytes() == picture
        assert stat.S_IMODE(Path(pointer["path"]).stat().st_mode) == 0o600
        assert sha256(picture) == Path(pointer["path"]).name
        got = await house.client.get(pointer["url"])
        assert (got.status_code, got.content, got.headers["content-type"]) == (200, picture, "image/png")
        assert list((house.directory / "data" / "spool").iterdir()) == []


async def test_all_pictures_of_all_surfaces_are_kept_each_as_its_own(house: House) -> None:
    async with house.serve() as gateway:
        same = image_answer(n=2)
        many = await house.draw(gateway, same)
        again = await house.draw(gateway, same)
        ids = [*many.headers["x-asset-ids"].split(","), *again.headers["x-asset-ids"].split(",")]
        assert len(set(ids)) == 4
        files = [path for path in (house.directory / "data" / "assets").rglob("*") if path.is_file()]
        assert len(files) == 2
        house.a.play(reply(200, responses_answer()))
        turn = await house.client.post(
            f"{gateway.url}/v1/responses", json={"model": "chat", "input": "x", "tools": [{"type": "image_generation"}]}
        )
        assert turn.headers["x-asset-ids"].startswith("ast_")


async def test_a_route_may_keep_nothing(house: House) -> None:
    async with house.serve(keep=False) as gateway:
        answer = await house.draw(gateway)
        assert answer.status_code == 200
        assert "x-asset-ids" not in answer.headers
        assert set(await house.image(gateway, answer)) & {"asset", "asset_id", "storage_pointer"} == set()


async def test_an_input_that_is_kept_is_the_parent_of_what_comes_of_it(house: House) -> None:
    async with house.serve() as gateway:
        first = await house.draw(gateway)
        picture = base64.b64decode(first.json()["data"][0]["b64_json"])
        house.a.play(reply(200, image_answer(width=80)))
        files = {"image": ("a.png", picture, "image/png"), "mask": ("m.png", png(64, 64, alpha=True), "image/png")}
        edit = await house.client.post(
            f"{gateway.url}/v1/images/edits", data={"model": "pic", "prompt": "x"}, files=files
        )
        assert edit.status_code == 200
        record = await gateway.record(edit.headers["x-request-id"])
        (given,) = record["request_shape"]["input_images"]
        assert given["asset_id"] == first.headers["x-asset-ids"]
        assert "asset_id" not in record["request_shape"]["mask"]
        child = await gateway.gateway.gallery.books.find(edit.headers["x-asset-ids"])
        assert child is not None
        assert [(parent.asset_id, parent.role) for parent in child.parents] == [(given["asset_id"], "image")]
        assert await gateway.gateway.gallery.books.children(given["asset_id"]) == [child.asset_id]


async def test_the_client_gets_its_picture_when_the_store_does_not(house: House) -> None:
    (house.directory / "blocked").write_text("no directory")
    storage = {"assets": f"file:{house.directory}/blocked"}
    async with house.serve(storage) as gateway:
        answer = await house.draw(gateway)
        assert answer.status_code == 200
        image = await house.image(gateway, answer)
        assert image["asset"] == "missing"
        assert image["asset_id"] == answer.headers["x-asset-ids"]
        assert (await house.client.get(image["storage_pointer"]["url"])).status_code == 503
    (late,) = [path for path in (house.directory / "data" / "late").rglob("*") if path.is_file()]
    assert late.name == image["sha256"]
    (house.directory / "blocked").unlink()
    async with house.serve(storage) as gateway:  # it was not lost with the process
        path = house.directory / "blocked" / late.name[:2] / late.name[2:4] / late.name
        async with asyncio.timeout(5):
            while late.exists():
                await asyncio.sleep(0.02)
        assert path.is_file()
        found = await gateway.gateway.gallery.books.find(image["asset_id"])
        assert found is not None
        assert found.is_stored
        url = image["storage_pointer"]["url"].split("/assets/")[1]
        assert (await house.client.get(f"{gateway.url}/assets/{url}")).status_code == 200


async def test_a_picture_whose_characters_are_kept_raw_is_kept_decoded(house: House) -> None:
    picture = os.urandom(400_001)
    for text in (
        base64.b64encode(picture).decode().rstrip("="),
        base64.b64encode(picture).decode().replace("/", "\\/"),
    ):
        body = f'{{"created":1,"data":[{{"b64_json":"{text}"}}]}}'.encode()
        async with house.serve() as gateway:
            answer = await house.draw(gateway, body)
            assert answer.content == body
            image = await house.image(gateway, answer)
            assert image["sha256"] == sha256(picture)
            got = await house.client.get(image["storage_pointer"]["url"])
            assert got.content == picture
