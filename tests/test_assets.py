"""Kept pictures through a whole gateway: on every surface, by their address, with their lineage, over a lost store."""

import asyncio
import base64
import hashlib
import json
import os
import stat
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from moto.server import ThreadedMotoServer

from tests.fakes.answers import image_answer, png, responses_answer
from tests.fakes.events import told
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

    def serve(
        self, storage: dict[str, Any] | None = None, *, env: Mapping[str, str] | None = None, **route: Any
    ) -> Any:
        routes = yaml.safe_load(routes_file({"route": "A", **route}, {"A": self.a}))
        return running_gateway(yaml.safe_dump(routes | {"storage": storage or {}}), self.directory, env)

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
        children = await gateway.gateway.gallery.books.children([given["asset_id"]])
        assert children == {given["asset_id"]: [child.asset_id]}


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
            while late.exists():  # noqa: ASYNC110 - what is waited for is a file
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


async def test_final_pictures_of_a_stream_are_kept_and_previews_are_not(house: House) -> None:
    async with house.serve() as gateway:
        for path, words, body in (
            ("images/generations", "partial, completed", {"model": "pic", "prompt": "x", "stream": True}),
            (
                "responses",
                "turn",
                {"model": "chat", "input": "x", "stream": True, "tools": [{"type": "image_generation"}]},
            ),
        ):
            house.a.play(told(words))
            answer = await house.client.post(f"{gateway.url}/v1/{path}", json=body)
            assert "x-asset-ids" not in answer.headers
            record = await gateway.record(answer.headers["x-request-id"])
            (image,) = record["result"]["images"]
            assert image["asset_id"].startswith("ast_")
            got = await house.client.get(image["storage_pointer"]["url"])
            assert sha256(got.content) == image["sha256"]
    files = [path for path in (house.directory / "data" / "assets").rglob("*") if path.is_file()]
    assert len(files) == len({path.name for path in files})


async def test_a_picture_of_a_turn_in_the_background_is_kept_when_it_is_asked_for_once(house: House) -> None:
    async with house.serve() as gateway:
        house.a.play(reply(200, responses_answer()))
        body = {"model": "chat", "input": "x", "tools": [{"type": "image_generation"}]}
        made = await house.client.post(f"{gateway.url}/v1/responses", json=body)
        kept = made.headers["x-asset-ids"]
        await gateway.gateway.gallery.books.remove(kept, datetime.now(UTC))  # as if it had gone on without us
        for expected in (1, 0):
            house.a.play(reply(200, responses_answer()))
            told = await house.client.get(f"{gateway.url}/v1/responses/{made.json()['id']}")
            assert told.content == made.content
            assert len(told.headers.get("x-asset-ids", "").split()) == expected


async def test_only_a_good_token_opens_a_picture_and_all_others_are_told_the_same(house: House) -> None:
    async with house.serve() as gateway:
        url = (await house.image(gateway, await house.draw(gateway)))["storage_pointer"]["url"]
        token = url.rpartition("/")[2]
        flipped = [f"{token[:at]}{'A' if token[at] != 'A' else 'B'}{token[at + 1 :]}" for at in range(0, 64, 7)]
        odd = [
            token[:-1],
            token + "A",
            "",
            "..%2f" + token,
            "..%2f..%2fwaybill.db",
            "%00",
            "A" * 64,
            token.lower(),
            "x" * 9,
        ]
        seen = set()
        for text in (*flipped, *odd):
            answer = await house.client.get(f"{gateway.url}/assets/{text}")
            seen.add((answer.status_code, answer.content))
        ((status, body),) = seen
        assert status == 404
        assert json.loads(body)["error"]["code"] == "asset_not_found"
        assert (await house.client.post(url)).status_code == 405


async def test_pictures_are_served_in_parts_and_only_as_pictures(house: House) -> None:
    svg = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><script>alert(1)</script></svg>' * 3
    async with house.serve() as gateway:
        image = await house.image(gateway, await house.draw(gateway))
        url = image["storage_pointer"]["url"]
        whole = (await house.client.get(url)).content
        ends = len(whole)
        for asked, status, part in (
            ("bytes=0-9", 206, whole[:10]),
            ("bytes=-5", 206, whole[-5:]),
            (f"bytes={ends - 3}-", 206, whole[-3:]),
            (f"bytes=0-{ends + 9}", 206, whole),
            (f"bytes={ends}-", 416, b""),
            ("bytes=-0", 416, b""),
            ("bytes=0-1,4-5", 200, whole),
            ("bytes=5-2", 200, whole),
            ("lines=0-1", 200, whole),
        ):
            answer = await house.client.get(url, headers={"range": asked})
            assert (answer.status_code, answer.content) == (status, part), asked
        middle = await house.client.get(url, headers={"range": "bytes=2-4"})
        assert middle.headers["content-range"] == f"bytes 2-4/{ends}"
        stale = await house.client.get(url, headers={"range": "bytes=2-4", "if-range": '"other"'})
        assert stale.status_code == 200
        head = await house.client.head(url)
        assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(ends))
        assert head.headers["x-content-type-options"] == "nosniff"
        assert head.headers["cache-control"].startswith("private, max-age=25919")
        assert head.headers["content-disposition"] == f'inline; filename="{image["asset_id"]}.png"'
        known = await house.client.get(url, headers={"if-none-match": f"W/{head.headers['etag']}"})
        assert (known.status_code, known.content) == (304, b"")

        body = json.dumps({"created": 1, "data": [{"b64_json": base64.b64encode(svg).decode()}]}).encode()
        drawn = await house.image(gateway, await house.draw(gateway, body))
        assert drawn["format"] == "svg"
        answer = await house.client.get(drawn["storage_pointer"]["url"])
        assert (answer.content, answer.headers["content-type"]) == (svg, "image/svg+xml")
        assert answer.headers["content-disposition"].startswith("attachment;")
        assert "sandbox" in answer.headers["content-security-policy"]


async def test_the_operator_lists_judges_and_deletes_pictures(house: House) -> None:
    async with house.serve() as gateway:
        answers = [await house.draw(gateway, image_answer(width=64 + at)) for at in range(3)]
        ids = [answer.headers["x-asset-ids"] for answer in answers]
        api = f"{gateway.url}/api/assets"
        page = (await house.client.get(api, params={"limit": 2})).json()
        rest = (await house.client.get(api, params={"limit": 2, "cursor": page["next_cursor"]})).json()
        assert [one["asset_id"] for one in (*page["data"], *rest["data"])] == ids[::-1]
        assert rest["next_cursor"] is None
        one = page["data"][0]
        assert (one["model"], one["verdict"], one["parents"], one["children"]) == ("pic", None, [], [])
        by_hash = await house.client.get(api, params={"sha256": one["sha256"], "model": "pic"})
        assert [found["asset_id"] for found in by_hash.json()["data"]] == [ids[2]]

        judged = await house.client.post(f"{api}/{ids[0]}/verdict", json={"verdict": "accepted"})
        assert judged.json()["verdict"] == "accepted"
        record = await house.client.get(f"{gateway.url}/api/requests/{answers[0].headers['x-request-id']}")
        assert record.json()["verdict"] == "accepted"
        usage = (await house.client.get(f"{gateway.url}/api/usage", params={"by": "model"})).json()["data"]
        assert [(row["images"], row["accepted"], row["rejected"]) for row in usage] == [(3, 1, 0)]
        accepted = await house.client.get(api, params={"verdict": "accepted"})
        assert [found["asset_id"] for found in accepted.json()["data"]] == [ids[0]]
        assert (await house.client.post(f"{api}/{ids[0]}/verdict", json={"verdict": "fine"})).status_code == 400

        assert (await house.client.get(one["url"])).status_code == 200
        assert (await house.client.delete(f"{api}/{ids[2]}")).json() == {"asset_id": ids[2], "deleted": True}
        for call in (
            house.client.get(f"{api}/{ids[2]}"),
            house.client.delete(f"{api}/{ids[2]}"),
            house.client.get(one["url"]),
        ):
            assert (await call).status_code == 404
        for odd in ("ast_1", "..", f"req_{'0' * 32}"):
            assert (await house.client.get(f"{api}/{odd}")).status_code == 404
        assert (await house.client.get(api, params={"verdict": "fine"})).status_code == 400


async def test_a_gateway_over_an_object_store_keeps_serves_and_says_no_secret(house: House) -> None:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        await house.client.put(f"http://{host}:{port}/pictures")
        storage = {"assets": f"s3://pictures/a?endpoint=http://{host}:{port}&region=us-east-1"}
        env = {"AWS_ACCESS_KEY_ID": "planted-id", "AWS_SECRET_ACCESS_KEY": "planted-secret"}
        async with house.serve(storage, env=env) as gateway:
            image = await house.image(gateway, await house.draw(gateway))
            assert image["storage_pointer"]["path"].startswith("s3://pictures/a/")
            got = await house.client.get(image["storage_pointer"]["url"])
            assert sha256(got.content) == image["sha256"]
            part = await house.client.get(image["storage_pointer"]["url"], headers={"range": "bytes=3-8"})
            assert (part.status_code, part.content) == (206, got.content[3:9])
            config = await house.client.get(f"{gateway.url}/api/config")
        text = gateway.log.read_text() + config.text
        assert "planted" not in text
        server.stop()
        async with house.serve(storage, env=env) as gateway:
            answer = await house.draw(gateway)
            assert answer.status_code == 200
            assert (await house.image(gateway, answer))["asset"] == "missing"
            assert "planted" not in gateway.log.read_text()
    finally:
        server.stop()
