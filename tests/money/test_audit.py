"""A thousand requests of every kind with keys, and then the books: journal, balances, upstream, headers, usage."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest
import yaml

from gateway.core.ledger import CREDITS
from gateway.core.spend import Dimension, UsageQuery
from gateway.stores.usage import read_usage
from tests.fakes.answers import image_answer, png
from tests.fakes.events import event, picture_event
from tests.fakes.gateway import NO_TLS, running_gateway
from tests.fakes.script import Script, drop_before_status, html, reply, reset_after_status, stream
from tests.fakes.seen import SeenRequest
from tests.fakes.upstream import FakeUpstream
from tests.keys.house import BY_PICTURE, FLAT, routes_of
from tests.money.books import Books, number, read_books

SEED = 20261121
CLIENTS = 12
MICRO = 500_000
KINDS = ("plain", "plain", "two", "stream", "edit", "leaves", "duplicate")


def failure(status: int, code: str) -> Script:
    return reply(status, {"error": {"message": "no", "type": "server_error", "code": code, "param": None}})


FAILURES: Mapping[str, Script] = {
    "refused": failure(400, "moderation_blocked"),
    "overloaded": failure(503, "overloaded"),
    "server": failure(500, "server_error"),
    "dropped": drop_before_status(),
    "reset": reset_after_status(),
    "html": html(),
    "empty": reply(200, {"created": 1, "data": []}),
}


@dataclass(slots=True, kw_only=True)
class Tally:
    """What clients were told."""

    statuses: Counter[int] = field(default_factory=Counter)
    credits: dict[str, int] = field(default_factory=dict)  # ``x-credits`` of fresh answers, by request


def choose(seen: SeenRequest) -> Script:
    """Play what the prompt asks for; pictures that are delivered are counted by the audit from ``requests``."""
    for word, script in FAILURES.items():
        if f"fate {word} ".encode() in seen.body:
            return script
    if b'"stream"' in seen.body:
        return stream(event(picture_event("completed")))
    return reply(200, image_answer(n=2 if b'"n":2' in seen.body else 1, width=16, height=16), delay_s=0.02)


@dataclass(slots=True, kw_only=True)
class Crowd:
    """Clients that ask, each with one of two keys: one has credits, the other has credits and a budget."""

    client: httpx2.AsyncClient
    url: str
    keys: tuple[str, ...]
    dice: random.Random = field(default_factory=lambda: random.Random(SEED))
    tally: Tally = field(default_factory=Tally)

    async def ask(self, at: int) -> None:
        kind = self.dice.choice(KINDS)
        fate = self.dice.choice([*FAILURES, *["well"] * 12])
        body: dict[str, object] = {"model": "pic", "prompt": f"fate {fate} {at}"}
        headers = {"authorization": f"Bearer {self.dice.choice(self.keys)}"}
        if kind == "two":
            body["n"] = 2
        if kind == "stream":
            body["stream"] = True
        if kind == "duplicate":
            headers["idempotency-key"] = f"order-{at}"
            both = await asyncio.gather(self.post(body, headers), self.post(body, headers))
            assert both[0].content == both[1].content or {one.status_code for one in both} - {200}
        elif kind == "leaves":
            asked = asyncio.ensure_future(self.post(body, headers))
            await asyncio.sleep(self.dice.uniform(0.0, 0.04))
            asked.cancel()
        elif kind == "edit":
            files = {"image": ("a.png", png(16, 16), "image/png")}
            form = {"model": "pic", "prompt": str(body["prompt"])}
            self.told(await self.client.post(f"{self.url}/v1/images/edits", data=form, files=files, headers=headers))
        else:
            await self.post(body, headers)

    async def post(self, body: Mapping[str, object], headers: Mapping[str, str]) -> httpx2.Response:
        answer = await self.client.post(f"{self.url}/v1/images/generations", json=body, headers=dict(headers))
        self.told(answer)
        return answer

    def told(self, answer: httpx2.Response) -> None:
        self.tally.statuses[answer.status_code] += 1
        if "x-credits" in answer.headers and "x-flight-id" not in answer.headers:
            self.tally.credits[answer.headers["x-request-id"]] = int(answer.headers["x-credits"])


def check_credits(books: Books, tally: Tally) -> None:
    """Hold headers, records and journal against each other."""
    captured = {str(one["request_id"]): number(one["amount"]) for one in books.entries
                if (one["kind"], one["unit"]) == ("capture", CREDITS)}  # fmt: skip
    records = {str(one["request_id"]): json.loads(str(one["record"])) for one in books.requests if one["record"]}
    fresh = tally.credits.keys() & records.keys()
    assert len(fresh) > len(captured) // 4
    for name in fresh:
        assert tally.credits[name] == (records[name].get("credits") or 0) == captured.get(name, 0)
    assert {name: record["credits"] for name, record in records.items() if record.get("credits")} == captured


def check_upstream(books: Books, upstream: FakeUpstream) -> None:
    """Hold what was captured and exposed against what the upstream did."""
    sent = books.sent()
    assert len(sent) == upstream.count
    outcomes = Counter(str(one["outcome"]) for one in sent)
    fates = Counter(fate_of(seen) for seen in upstream.requests)
    assert outcomes["delivered"] == fates["well"]
    assert outcomes["refused"] == sum(fates[name] for name in ("refused", "overloaded", "server"))
    assert outcomes["unknown"] == sum(fates[name] for name in ("dropped", "reset", "html", "empty"))
    assert set(fates) == {"well", *FAILURES}
    assert {seen.path for seen in upstream.requests} == {"/v1/images/generations", "/v1/images/edits"}
    delivered = sum(2 if b'"n":2' in seen.body else 1 for seen in upstream.requests if fate_of(seen) == "well")
    assert books.captured(CREDITS) == delivered
    spent = sum(number(one["cost_micro"]) for one in sent)
    exposed = sum(number(one["exposure_micro"]) for one in sent)
    assert spent - exposed == MICRO * delivered
    budgeted = {str(key["key_id"]) for key in books.keys if key["budget_micro"] is not None}
    owners = {str(one["request_id"]): str(one["key_id"]) for one in books.requests}
    of_budget = sum(number(one["cost_micro"]) for one in sent if owners[str(one["request_id"])] in budgeted)
    assert books.captured("USD") == of_budget


def fate_of(seen: SeenRequest) -> str:
    return next((word for word in FAILURES if f"fate {word} ".encode() in seen.body), "well")


async def check_usage(books: Books, url: str, database: str, client: httpx2.AsyncClient) -> None:
    """Hold ``/api/usage`` and what ``waybill usage`` prints against the sums over the rows."""
    by = (Dimension.KEY,)
    printed = [row.as_json(by) for row in await asyncio.to_thread(read_usage, database, UsageQuery(by=by))]
    answered = (await client.get(f"{url}/api/usage?by=key")).json()["data"]
    by_key = {row["key"]: row for row in answered}
    assert by_key == {row["key"]: row for row in json.loads(json.dumps(printed))}
    for key in {str(one["key_id"]) for one in books.requests if one["key_id"]}:
        mine = [one for one in books.requests if one["key_id"] == key]
        names = {one["request_id"] for one in mine}
        assert by_key[key]["requests"] == len(mine)
        assert by_key[key]["credits"] == sum(number(one["credits"]) for one in mine)
        assert by_key[key]["images"] == sum(number(one["images"]) for one in mine)
        money = sum(number(one["cost_micro"]) for one in books.attempts if one["request_id"] in names)
        assert sum(part["amount_micro"] for part in by_key[key]["cost"]) == money


@pytest.mark.parametrize(("kind", "count"), [("sqlite", 1000), ("postgres", 200)])
async def test_the_books_agree(kind: str, count: int, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    database = f"sqlite:///{tmp_path / 'data' / 'waybill.db'}"
    if kind == "postgres":
        database = request.getfixturevalue("postgres").new_database()
    limits = httpx2.Limits(max_connections=None)
    async with FakeUpstream(key="sk-A", choose=choose) as upstream:
        document = yaml.safe_load(routes_of(upstream, {"charge": BY_PICTURE}, FLAT))
        document["storage"] = {"database": database}
        async with (
            running_gateway(yaml.safe_dump(document), tmp_path) as gateway,
            httpx2.AsyncClient(timeout=30, trust_env=False, verify=NO_TLS, limits=limits) as client,
        ):
            keys = []
            for order in ({"credits": 100_000}, {"credits": 100_000, "budget": "100000USD/30d"}):
                made = await client.post(f"{gateway.url}/api/keys", json={"name": "app", **order})
                keys.append(made.json()["key"])
            while (await client.get(f"{gateway.url}/v1/models")).status_code != 401:  # noqa: ASYNC110 - behind a socket
                await asyncio.sleep(0.02)
            crowd = Crowd(client=client, url=gateway.url, keys=tuple(keys))
            numbers = iter(range(count))

            async def work() -> None:
                for at in numbers:
                    await crowd.ask(at)

            await asyncio.gather(*(work() for _ in range(CLIENTS)))
            async with asyncio.timeout(10):
                while (await asyncio.to_thread(read_books, database)).holds:  # noqa: ASYNC110 - who left is served on
                    await asyncio.sleep(0.1)
            await asyncio.sleep(0.2)
            books = await asyncio.to_thread(read_books, database)
            books.check_at_rest()
            check_credits(books, crowd.tally)
            check_upstream(books, upstream)
            await check_usage(books, gateway.url, database, client)
    assert crowd.tally.statuses[200] > count // 3
