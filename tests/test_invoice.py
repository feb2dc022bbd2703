"""The ledger against the upstreams' own invoices, to the millionth: mixed requests with faults, over real sockets.

Each upstream writes down what it charges as it answers. What it told (usage, pictures) must stand in the ledger as
exact and be the same sum; what it charged for an answer that never arrived must be no more than the ledger's exposure.
A picture that an upstream gives only an address of is charged like any other, whether or not it can be had.
"""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any

from gateway.core.spend import Dimension, Usage, UsageQuery
from gateway.core.types import JsonObject
from gateway.stores.usage import read_usage
from tests.fakes import script
from tests.fakes.answers import image_answer, png, responses_answer, url_answer
from tests.fakes.gateway import running_gateway
from tests.fakes.script import Script
from tests.fakes.seen import SeenRequest
from tests.fakes.upstream import FakeUpstream

REQUESTS = 5_000
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
    links: tuple[str, ...] = ()  # to a picture, and to none
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
            return json.loads(url_answer(*self.dice.choices(self.links, k=n))), n * 20_000
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


def asked(number: int, host: str) -> bytes:
    """Write one request as it goes over the wire: a client of its own would take half the time of this test."""
    n = number % 3 + 1
    form = {0: {"response_format": "url"}, 1: {"response_format": "b64_json"}}.get(number % 4, {})
    path, body = "images/generations", {"model": "pic", "prompt": "a lighthouse", "n": n, "size": "1024x1024", **form}
    if number % 5 == 0:
        tool: JsonObject = {"type": "image_generation", "model": "pic"}
        path, body = "responses", {"model": "chat", "input": "a lighthouse", "tools": [tool]}
    data = json.dumps(body).encode()
    head = f"POST /v1/{path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(data)}\r\n\r\n".encode() + data


async def ask_on(numbers: Iterator[int], host: str) -> None:
    """Ask one after the other on one connection."""
    reader, writer = await asyncio.open_connection(*host.split(":"))
    try:
        for number in numbers:
            writer.write(asked(number, host))
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
            headers = dict(line.split(": ", 1) for line in head[1:-2])
            await reader.readexactly(int(headers["content-length"]))
            assert ("x-cost" in headers) is (headers["x-route-attempts"] != "0")
    finally:
        writer.close()
        await writer.wait_closed()


async def ask_all(host: str) -> None:
    numbers = iter(range(REQUESTS))
    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(ask_on(numbers, host))


def money(row: Usage, state: str) -> int:
    return sum(one.amount_micro for one in row.cost if one.state == state)


async def test_the_ledger_is_the_upstreams_invoice_to_the_millionth(tmp_path: Path) -> None:
    invoices = {kind: Invoice(random.Random(kind), kind) for kind in ("by_token", "by_picture", "by_request")}
    upstreams = {kind: FakeUpstream(choose=invoice.choose, key="k") for kind, invoice in invoices.items()}
    for kind, upstream in upstreams.items():
        await upstream.start()
        invoices[kind].links = (upstream.put("/1.png", script.picture(png())), "https://10.0.0.1/1.png")
    try:
        a, b, c = (upstream.url for upstream in upstreams.values())
        async with running_gateway(ROUTES.format(a=a, b=b, c=c), tmp_path) as gateway:
            await ask_all(gateway.url.removeprefix("http://"))
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
    assert len(upstreams["by_picture"].fetched) > 10
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
