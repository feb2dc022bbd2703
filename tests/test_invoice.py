"""The ledger against the upstreams' own invoices, to the millionth: mixed requests with faults, over real sockets.

Each upstream writes down what it charges as it answers. What it told (usage, pictures) must stand in the ledger as
exact and be the same sum; what it charged for an answer that never arrived must be no more than the ledger's exposure.
"""

import asyncio
import json
import random
from collections import Counter
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any

import httpx2

from gateway.core.spend import Dimension, Usage
from gateway.core.types import JsonObject
from gateway.stores.usage import UsageQuery, read_usage
from tests.fakes import script
from tests.fakes.answers import image_answer, responses_answer, url_answer
from tests.fakes.gateway import running_gateway
from tests.fakes.script import Script
from tests.fakes.seen import SeenRequest
from tests.fakes.upstream import FakeUpstream

REQUESTS = 1_500
AT_ONCE = 40
TOKENS = {"text": "5", "text_cached": "1.25", "image": "8", "out": "30"}
OVERLOADED: JsonObject = {"error": {"message": "overloaded", "type": "server_error", "code": "overloaded"}}
BLOCKED: JsonObject = {"error": {"message": "no", "type": "image_generation_user_error", "code": "moderation_blocked"}}
PICTURES = {n: json.loads(image_answer(n)) for n in (1, 2, 3)}
TURN = json.loads(responses_answer())

ROUTES = """
version: 1
channels:
  by_token:
    {{owner: one, kind: direct, base_url: "{a}", api_key: k, rows: {{
      pic: {{serves: [images/generations], price: openai/gpt-image-2}},
      chat: {{serves: [responses], price: {{unit: tokens, input: 5, output: 30}}}}}}}}
  by_picture:
    {{owner: two, kind: gateway, base_url: "{b}", api_key: k, rows: {{
      pic: {{serves: [images/generations], price: {{unit: per_image, amount: 0.02}}}}}}}}
  by_request:
    {{owner: three, kind: gateway, base_url: "{c}", api_key: k, rows: {{
      pic: {{serves: [images/generations], price: {{unit: per_request, amount: 0.3, currency: CNY}}}}}}}}
routes:
  pic: {{policy: weighted, targets: [by_token, by_picture, by_request], on_failure: {{connection_lost: next}}}}
  chat: {{targets: [by_token]}}
"""


def tokens(count: int, rate: str) -> int:
    """What a maker writes on its invoice for one kind of token."""
    return int((count * Decimal(rate)).quantize(Decimal(1), rounding=ROUND_HALF_EVEN))


@dataclass(slots=True)
class Invoice:
    """What one upstream charged, in millionths: for answers that arrived, and for those that were lost on the way."""

    dice: random.Random
    kind: str
    arrived: int = 0
    lost: int = 0
    seen: Counter[str] = field(default_factory=Counter)

    def choose(self, request: SeenRequest) -> Script:
        """Decide the fate of one call, and write down what it costs."""
        body = json.loads(request.body)
        fate = self.dice.choices(["good", "overloaded", "blocked", "lost", "cut", "empty"], [80, 5, 4, 4, 3, 4])[0]
        self.seen[fate] += 1
        if fate == "overloaded":
            return script.reply(500, OVERLOADED)
        if fate == "blocked":
            return script.reply(400, BLOCKED)
        answer, price = self._turn() if "input" in body else self._pictures(body["n"], is_empty=fate == "empty")
        if fate == "lost":
            self.lost += price
            return script.drop_before_status()
        if fate == "cut":
            self.lost += price
            return script.truncate(40, answer)
        self.arrived += price
        return script.reply(200, answer)

    def _pictures(self, n: int, *, is_empty: bool) -> tuple[JsonObject, int]:
        if is_empty and self.kind == "by_picture":
            return json.loads(url_answer(*(f"https://pictures.example/{at}" for at in range(n)))), n * 20_000
        if self.kind == "by_picture":
            return PICTURES[n], n * 20_000
        if self.kind == "by_request":
            return PICTURES[n], 300_000
        used, price = self._usage(0 if is_empty else n * self.dice.choice([196, 1372, 1756]))
        return {**PICTURES[n], **({"data": []} if is_empty else {}), "usage": used}, price

    def _usage(self, out: int) -> tuple[JsonObject, int]:
        text, cached = self.dice.randrange(1, 400), self.dice.choice([0, 0, 1, 3, 7])
        cached = min(cached, text)
        used: JsonObject = {
            "input_tokens": text,
            "input_tokens_details": {"text_tokens": text, "image_tokens": 0, "cached_tokens": cached},
            "output_tokens": out,
            "total_tokens": text + out,
        }
        price = tokens(text - cached, TOKENS["text"]) + tokens(cached, TOKENS["text_cached"])
        return used, price + tokens(out, TOKENS["out"])

    def _turn(self) -> tuple[JsonObject, int]:
        used, price = self._usage(self.dice.choice([196, 1756]))
        said = self.dice.randrange(1, 500)
        turn: JsonObject = {"input_tokens": 320, "output_tokens": said, "total_tokens": 320 + said}
        return {**TURN, "usage": turn, "tool_usage": {"image_gen": used}}, price + 320 * 5 + said * 30


async def ask(client: httpx2.AsyncClient, url: str, number: int) -> None:
    n = number % 3 + 1
    path, body = "/v1/images/generations", {"model": "pic", "prompt": "a lighthouse", "n": n, "size": "1024x1024"}
    if number % 5 == 0:
        tool: JsonObject = {"type": "image_generation", "model": "pic"}
        path, body = "/v1/responses", {"model": "chat", "input": "a lighthouse", "tools": [tool]}
    answer = await client.post(url + path, json=body, headers={"authorization": "Bearer x"})
    assert ("x-cost" in answer.headers) is (answer.headers["x-route-attempts"] != "0")


async def ask_all(url: str) -> None:
    numbers = iter(range(REQUESTS))

    async def ask_on(client: httpx2.AsyncClient) -> None:
        for number in numbers:
            await ask(client, url, number)

    async with httpx2.AsyncClient(timeout=30, trust_env=False) as client, asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(ask_on(client))


def money(row: Usage, state: str) -> int:
    return sum(one.amount_micro for one in row.cost if one.state == state)


async def test_the_ledger_is_the_upstreams_invoice_to_the_millionth(tmp_path: Path) -> None:
    invoices = {kind: Invoice(random.Random(kind), kind) for kind in ("by_token", "by_picture", "by_request")}
    upstreams = {kind: FakeUpstream(choose=invoice.choose, key="k") for kind, invoice in invoices.items()}
    for upstream in upstreams.values():
        await upstream.start()
    try:
        a, b, c = (upstream.url for upstream in upstreams.values())
        async with running_gateway(ROUTES.format(a=a, b=b, c=c), tmp_path) as gateway:
            await ask_all(gateway.url)
            database = gateway.gateway.loaded.settings.database
            rows = {row.group[0]: row for row in read_usage(database, UsageQuery(by=(Dimension.CHANNEL,)))}
            records = [line for line in gateway.events() if line.get("event") == "request.finished"]
    finally:
        for upstream in upstreams.values():
            await upstream.close()

    for kind, invoice in invoices.items():
        row = rows[kind]
        assert upstreams[kind].problems == []
        assert invoice.arrived > 0, kind
        assert invoice.lost > 0, kind
        assert (kind, money(row, "exact")) == (kind, invoice.arrived)
        assert invoice.lost <= money(row, "estimated") == sum(one.exposure_micro for one in row.cost)
        assert {one.currency for one in row.cost} == {"CNY" if kind == "by_request" else "USD"}
        assert row.missing == 0
    assert len(records) == REQUESTS
    check(records, sum(upstream.count for upstream in upstreams.values()))


def check(records: list[dict[str, Any]], calls: int) -> None:
    """Hold every record's sum to its lines, and the attempts to the calls that were counted."""
    begun = [record for record in records if "attempts" in record]
    assert sum(len(record["attempts"]) for record in begun) == calls > REQUESTS / 2
    for record in begun:
        cost = record["cost"]
        if cost["state"] != "missing":
            assert cost["amount_micro"] == sum(line["amount_micro"] for line in cost["lines"])
            assert cost["amount_micro"] == sum(one.get("cost_micro", 0) for one in record["attempts"])
        else:
            assert {line["currency"] for line in cost["lines"]} == {"USD", "CNY"}
