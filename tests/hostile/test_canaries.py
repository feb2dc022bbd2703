"""Secrets and private words planted everywhere, driven through every kind of end: none is found where it must not be.

Keys and cookies may be nowhere at all. What a caller says of itself (prompts, end users, file names) may go to the
upstream and back to that caller, and into no log, ledger, figure or page of the operator's.
"""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from tests.fakes.answers import image_answer, png, responses_answer
from tests.fakes.events import event
from tests.fakes.incoming import FORM, form, part
from tests.fakes.script import Script, drop_before_status, hang, html, redirect, reply, stream, truncate
from tests.fakes.server import ServerProcess, run_program, server_process
from tests.fakes.upstream import FakeUpstream

UPSTREAM_KEY = "sk-Canary7upstreamAAAAbbbbCCCC"
ADMIN_KEY = "canary-admin-DDDDeeeeFFFF"
COOKIE = "canary-cookie-GGGGhhhhIIII"
SIGNATURE = "canarysignatureJJJJkkkkLLLL"
ORGANIZATION = "org-canaryMMMMnnnnOOOO"
PROMPT = "canary prompt of a purple walrus"
USER = "canary.user@example.com"
FILE = "canary-holiday-photo.png"
METADATA = "canary-metadata-value"
ONCE = "canary-idempotency-value"
PICTURE = png(120, 90, noise=True)
ENCODED = base64.b64encode(PICTURE).decode()
NOWHERE = (UPSTREAM_KEY, ADMIN_KEY, COOKIE, SIGNATURE, ORGANIZATION)
NOT_ON_RECORD = (*NOWHERE, PROMPT, USER, FILE, METADATA, ONCE, ENCODED[200:260])

PICTURE_OF = {"model": "pic", "prompt": PROMPT, "user": USER, "safety_identifier": USER}
TURN_OF = {"model": "chat", "input": PROMPT, "instructions": PROMPT, "metadata": {"who": METADATA}}
TOLD = f"No: {PROMPT}, {USER}. Incorrect API key provided: {UPSTREAM_KEY}. See https://a.test/x?sig={SIGNATURE}"
ERROR = {"message": TOLD, "type": "invalid_request_error", "code": TOLD, "param": TOLD}
LEAKY = {"set-cookie": f"id={COOKIE}", "openai-organization": ORGANIZATION, "x-request-id": f"Bearer {UPSTREAM_KEY}"}


def said(status: int) -> Script:
    return reply(status, {"error": ERROR}, headers=LEAKY)


def revised() -> bytes:
    document = json.loads(image_answer())
    document["data"][0]["revised_prompt"] = PROMPT
    return json.dumps(document).encode()


ENDS: dict[str, Script] = {
    "delivered": reply(200, revised(), headers=LEAKY),
    **{f"refused with {status}": said(status) for status in (400, 401, 402, 403, 404, 408, 429, 500, 503, 504, 524)},
    "an envelope in a 200": said(200),
    "a web page": html(),
    "a detour": redirect(f"http://169.254.169.254/?sig={SIGNATURE}"),
    "lost": drop_before_status(),
    "cut": truncate(30, image_answer()),
    "silent": hang(),
    "an address that cannot be had": reply(200, {"data": [{"url": f"http://10.0.0.1/x.png?sig={SIGNATURE}"}]}),
    "no json": reply(200, f"{{{TOLD}".encode()),
}


@dataclass(slots=True)
class House:
    server: ServerProcess
    upstream: FakeUpstream
    client: httpx2.AsyncClient
    key: str = ""
    heard: list[str] = field(default_factory=list)

    async def ask(self, path: str, **request: Any) -> httpx2.Response:
        """Send a request as a careless client does, and keep what is answered."""
        sent = {
            "authorization": f"Bearer {self.key}",
            "cookie": f"id={COOKIE}",
            "openai-organization": ORGANIZATION,
            **request.pop("headers", {}),
        }
        answer = await self.client.post(f"{self.server.url}/v1/{path}", headers=sent, **request)
        self.heard.append(f"{answer.headers}\n{answer.text}")
        return answer

    async def page(self, path: str, **headers: str) -> str:
        shown = {"authorization": f"Bearer {ADMIN_KEY}", **headers}
        answer = await self.client.get(f"{self.server.url}{path}", headers=shown)
        assert answer.status_code == 200, (path, answer.text)
        return answer.text


def routes(url: str) -> str:
    channel = {
        "owner": "owner-A",
        "kind": "direct",
        "base_url": url,
        "api_key": "${UPSTREAM_KEY}",
        "timeouts": {"patience": "300ms"},
        "rows": {
            "pic": {"model": "pic-A", "serves": ["images/generations", "images/edits"]},
            "chat": {"model": "chat-A", "serves": ["responses"]},
        },
    }
    named = {name: {"targets": ["A"]} for name in ("pic", "chat")}
    return yaml.safe_dump({"version": 1, "channels": {"A": channel}, "routes": named})


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with (
        FakeUpstream() as upstream,
        server_process(
            routes(upstream.url), tmp_path, UPSTREAM_KEY=UPSTREAM_KEY, WAYBILL_ADMIN_KEY=ADMIN_KEY
        ) as server,
        httpx2.AsyncClient(timeout=30, trust_env=False) as client,
    ):
        yield House(server, upstream, client)
        upstream.problems.clear()  # it is told what must not travel in its own words only


async def every_end(house: House) -> None:
    """Bring a picture and a turn to each of the ends, streamed and not."""
    for name, script in ENDS.items():
        house.upstream.play(script)
        answer = await house.ask("images/generations", json={**PICTURE_OF, "n": 1})
        assert (answer.status_code == 200) is (name == "delivered"), (name, answer.text)
        house.upstream.play(script)
        await house.ask("responses", json={**TURN_OF, "stream": name != "delivered"})
        await house.ask("images/generations", json=PICTURE_OF)  # who meets a target that rests is told no more


async def other_ways(house: House) -> None:
    """Streams that break, forms, keys that are none, and bodies that are not read."""
    failed = event({"type": "error", "error": ERROR})
    house.upstream.play(stream(failed), reply(200, responses_answer()), reply(200, image_answer()))
    await house.ask("images/generations", json={**PICTURE_OF, "stream": True, "partial_images": 1})
    await house.ask("responses", json={**TURN_OF, "tools": [{"type": "image_generation"}]})
    parts = (part("model", "pic"), part("prompt", PROMPT), part("image", PICTURE, filename=FILE), part("user", USER))
    await house.ask("images/edits", content=form(*parts), headers=FORM)
    given = {**PICTURE_OF, "images": [{"image_url": f"data:image/png;base64,{ENCODED}"}]}
    house.upstream.play(said(500), reply(200, image_answer()))
    await house.ask("images/edits", json=given)
    await house.ask("images/generations", json=PICTURE_OF, headers={"idempotency-key": ONCE})
    await house.ask("images/generations", content=f'{{"prompt": "{PROMPT}", {UPSTREAM_KEY}'.encode())
    await house.ask("images/generations", json={**PICTURE_OF, "size": [PROMPT, UPSTREAM_KEY]})
    await house.ask("images/generations", json={**PICTURE_OF, "model": "no such model"})
    await house.ask("images/generations", json=PICTURE_OF, headers={"authorization": f"Bearer {UPSTREAM_KEY}"})
    await house.ask("images/generations", json=PICTURE_OF, headers={"x-request-tags": f"{COOKIE}=="})
    await house.ask(f"responses/{METADATA}/cancel")
    await house.ask(f"nothing?api_key={UPSTREAM_KEY}&who={METADATA}")
    await house.ask(f"nothing/{house.key}/{UPSTREAM_KEY}")


async def pages(house: House) -> AsyncIterator[str]:
    """Give all that the operator can read."""
    listed = await house.page("/api/requests?limit=200")
    yield listed
    for record in json.loads(listed)["data"][:20]:
        yield await house.page(f"/api/requests/{record['request_id']}")
    for path in ("usage?by=owner,model,key", "catalog", "routes", "config", "channels", "assets", "keys"):
        yield await house.page(f"/api/{path}")
    yield await house.page("/metrics")
    yield await house.page("/readyz")
    yield await house.page("/openapi.json")


def files(directory: Path) -> Iterator[tuple[str, bytes]]:
    """Give all that is on the disk but the routes file and the pictures themselves."""
    for file in directory.rglob("*"):
        if file.is_file() and file.name != "routes.yaml" and "assets" not in file.parts:
            yield str(file.relative_to(directory)), file.read_bytes()


def around(text: str, word: str) -> str:
    """Give a word with what stands around it."""
    at = text.index(word)
    return text[max(0, at - 60) : at + len(word) + 20]


async def test_no_planted_word_is_found_where_it_must_not_be(house: House) -> None:
    """litellm#18731, #30670, #34710, llm-gateway#34, NextChat#6772: keys in errors, logs and columns of other names."""
    directory = house.server.directory
    made = json.loads(await run_program(directory, "keys", "create", "--name", "app", "--json"))
    house.key = made["key"]
    await asyncio.sleep(1.1)  # until the server knows of it
    await every_end(house)
    await other_ways(house)
    read = [await run_program(directory, "logs", "--json")]
    bad = routes(house.upstream.url).replace("${UPSTREAM_KEY}", f"[{UPSTREAM_KEY}]")
    (directory / "routes.yaml").write_text(bad, "utf-8")
    await asyncio.sleep(2)
    read += [page async for page in pages(house)]
    found = [around(page, word) for word in (*NOT_ON_RECORD, house.key) for page in read if word in page]
    found += [around(text, word) for word in (*NOWHERE, house.key) for text in house.heard if word in text]
    house.server.process.terminate()
    await house.server.process.wait()
    found += [
        f"{word} in {name}"
        for name, data in files(directory)
        for word in (*NOT_ON_RECORD, house.key)
        if word.encode() in data
    ]
    assert found == []
    ended = [line for line in house.server.events() if line["event"] == "request.finished"]
    assert len(ended) == len(house.heard)
    assert not [line for line in house.server.events() if line["event"] == "gateway.bug"]
