"""The operator's reading calls, on a whole gateway."""

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from msgspec.structs import replace
from openapi_schema_validator import OAS31Validator
from schemathesis import Case, GenerationMode

from gateway.broadcast import DEPTH, LISTENERS
from gateway.core.money import billed, exposed, line
from gateway.core.prices import Item
from gateway.stores.ledger_sql import open_ledger
from gateway.web.openapi_schemas import SCHEMAS
from tests.cli.program import Program
from tests.fakes.gateway import NO_TLS, RunningGateway, running_gateway
from tests.stores.rows import attempt, request

ROUTES = """\
version: 1
channels:
  sandbox:
    owner: sandbox
    kind: sandbox
    api: sandbox
    rows:
      gpt-image-2: {serves: [images/generations, images/edits], price: {unit: per_request, amount: 0.03, currency: USD}}
  priced:
    owner: priced.example
    kind: gateway
    api: openai
    base_url: http://127.0.0.1:9/v1
    api_key: sk-planted-secret
    rows:
      gpt-image-2: {serves: [images/generations]}
routes:
  gpt-image-2: {targets: [sandbox]}
"""


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[RunningGateway]:
    async with running_gateway(ROUTES, tmp_path) as one:
        yield one


@pytest.fixture
async def client(running: RunningGateway) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=running.url, verify=NO_TLS, trust_env=False, timeout=20) as one:
        yield one


async def draw(
    client: httpx2.AsyncClient, prompt: str = "a cat", tags: str = "project=a", model: str = "gpt-image-2"
) -> str:
    answer = await client.post(
        "/v1/images/generations", json={"model": model, "prompt": prompt}, headers={"x-request-tags": tags}
    )
    return str(answer.headers["x-request-id"])


async def read(client: httpx2.AsyncClient, path: str, **headers: str) -> dict[str, Any]:
    answer = await client.get(path, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    found = answer.json()
    assert isinstance(found, dict)
    return found


def check(schema: str, document: object) -> None:
    whole = {"$ref": f"#/components/schemas/{schema}", "components": {"schemas": dict(SCHEMAS)}}
    OAS31Validator(whole).validate(document)


async def test_requests_are_paged_newest_first(client: httpx2.AsyncClient) -> None:
    made = [await draw(client, tags=f"project=a,n={number}") for number in range(5)]
    path, found = "/api/requests?limit=2&tag=project=a&owner=sandbox&status=200", []
    cursor: str | None = ""
    while cursor is not None:
        page = await read(client, path + (f"&cursor={cursor}" if cursor else ""))
        check("Requests", page)
        assert len(page["data"]) <= 2
        found += [record["request_id"] for record in page["data"]]
        cursor = page["next_cursor"]
    assert found == made[::-1]
    one = await read(client, f"/api/requests/{made[0]}")
    check("Record", one)
    assert one["tags"] == {"project": "a", "n": "0"}


async def test_each_filter_filters(client: httpx2.AsyncClient) -> None:
    good, bad = await draw(client), await draw(client, model="nothing")
    for query, expected in {
        "owner=sandbox": [good],
        "channel=sandbox&model=gpt-image-2": [good],
        "model=nothing": [bad],
        "class=model_not_found": [bad],
        "status=404": [bad],
        "status=failed": [bad],
        "status=open": [],
        "status=interrupted": [],
        "key=key_1": [],
        "tag=project=a": [bad, good],
        "tag=project=a&tag=team=b": [],
        "since=2020-01-01&until=2100-01-01": [bad, good],
        "until=2020-01-01T00:00:00Z": [],
        "since=2100-01-01T00:00:00%2B02:00": [],
    }.items():
        found = [record["request_id"] for record in (await read(client, f"/api/requests?{query}"))["data"]]
        assert found == expected, query


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/api/requests?colour=red", "may have the parameters"),
        ("/api/requests?owner=a&owner=b", "may stand once"),
        ("/api/requests?owner=", "must have 1 to 400 characters"),
        ("/api/requests?owner=%00", "must have 1 to 400 characters"),
        ("/api/requests?owner=%ff", "cannot be read"),
        ("/api/requests?limit=0", "from 1 to 500"),
        ("/api/requests?limit=501", "from 1 to 500"),
        ("/api/requests?limit=%D9%A3", "from 1 to 500"),
        ("/api/requests?limit=1e9", "from 1 to 500"),
        ("/api/requests?status=20", "an HTTP status or one of"),
        ("/api/requests?tag=project", "name=value"),
        ("/api/requests?since=yesterday", "must be like 2026-11-20"),
        ("/api/requests?since=2026-11-20T12:00:00", "must be like 2026-11-20"),
        ("/api/requests?until=0001-01-01T00:00:00%2B23:00", "must be like 2026-11-20"),
        ("/api/requests?cursor=abc", "not one that this call gave"),
        ("/api/requests?cursor=%C3%A4", "not one that this call gave"),
        ("/api/usage?by=colour", "at most once"),
        ("/api/usage?by=owner,owner", "at most once"),
        ("/api/usage?by=", "must have 1 to 400 characters"),
        ("/api/catalog?x=1", "may have the parameters"),
    ],
)
async def test_what_cannot_be_understood_is_a_problem(client: httpx2.AsyncClient, path: str, says: str) -> None:
    answer = await client.get(path)
    check("Problem", answer.json())
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
    assert answer.headers["cache-control"] == "no-store"
    assert says in answer.json()["detail"]


async def test_a_cursor_is_good_for_what_it_was_given_for_only(client: httpx2.AsyncClient) -> None:
    await draw(client)
    await draw(client)
    cursor = (await read(client, "/api/requests?limit=1&owner=sandbox"))["next_cursor"]
    await read(client, f"/api/requests?limit=7&owner=sandbox&cursor={cursor}")
    for wrong in (cursor[:-1], f"{cursor}A", cursor[::-1], f"{'B' if cursor[0] == 'A' else 'A'}{cursor[1:]}"):
        assert (await client.get(f"/api/requests?limit=1&owner=sandbox&cursor={wrong}")).status_code == 400
    assert (await client.get(f"/api/requests?limit=1&cursor={cursor}")).status_code == 400


async def test_one_request_that_is_not_there(client: httpx2.AsyncClient) -> None:
    for name in ("req_" + "0" * 32, "req_1", "..", "att_" + "0" * 32):
        assert (await client.get(f"/api/requests/{name}")).status_code == 404


async def test_usage_is_what_the_command_says(
    client: httpx2.AsyncClient, running: RunningGateway, tmp_path: Path
) -> None:
    await draw(client)
    await draw(client, model="nothing")
    found = await read(client, "/api/usage?by=owner,model")
    check("Usage", found)
    served = next(row for row in found["data"] if row["owner"] == "sandbox")
    assert (served["requests"], served["images"], served["credits"]) == (1, 1, 0)
    assert served["cost"] == [
        {"unit": "per_request", "currency": "USD", "amount_micro": 30_000, "state": "exact", "exposure_micro": 0}
    ]
    ran = Program(directory=tmp_path, env={}).run("usage", "--by", "owner,model", "--json")
    assert json.loads(ran.out) == found


async def test_an_accepted_picture_has_a_cost(client: httpx2.AsyncClient) -> None:
    for _ in range(3):
        await draw(client)
    pictures = (await read(client, "/api/assets"))["data"]
    for asset, verdict in zip(pictures, ("accepted", "accepted", "rejected"), strict=True):
        answer = await client.post(f"/api/assets/{asset['asset_id']}/verdict", json={"verdict": verdict})
        assert answer.status_code == 200
    (row,) = (await read(client, "/api/usage?by=day"))["data"]
    assert (row["accepted"], row["rejected"]) == (2, 1)
    assert (row["cost_per_accepted_micro"], row["cost_per_accepted_currency"]) == (45_000, "USD")


async def test_usage_as_a_table(client: httpx2.AsyncClient) -> None:
    await draw(client, model="=cmd|' /C calc'!A0")
    await draw(client)
    answer = await client.get("/api/usage?by=model", headers={"accept": "application/json;q=0.2, text/csv"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="usage.csv"'
    assert answer.headers["vary"] == "accept"
    assert answer.text.count("\r\n") == 3
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["model"] for row in rows] == ["'=cmd|' /C calc'!A0", "gpt-image-2"]
    assert (rows[1]["requests"], rows[1]["amount_micro"], rows[1]["currency"]) == ("1", "30000", "USD")
    preferred = {
        "*/*": "json",
        "application/json": "json",
        "text/csv;q=0.5, application/json": "json",
        "text/csv;q=x": "json",
    }
    for accept, kind in preferred.items():
        assert kind in (await client.get("/api/usage", headers={"accept": accept})).headers["content-type"]


async def test_the_catalog_and_the_routes_tell_no_secret(client: httpx2.AsyncClient) -> None:
    catalog, routes = await read(client, "/api/catalog"), await read(client, "/api/routes")
    check("Catalog", catalog)
    check("Routes", routes)
    assert "sk-planted-secret" not in json.dumps([catalog, routes])
    rows = {(row["channel"], row["row"]): row for row in catalog["data"]}
    assert rows["sandbox", "gpt-image-2"]["price"]["state"] == "known"
    assert rows["priced", "gpt-image-2"]["price"] == {"state": "missing"}
    assert rows["priced", "gpt-image-2"]["surfaces"] == {
        "claimed": ["images/generations"],
        "probed": [],
        "verified": [],
    }
    assert rows["priced", "gpt-image-2"]["health"] == "well"
    await client.post("/api/channels/priced", json={"state": "off"})
    rows = {(row["channel"], row["row"]): row for row in (await read(client, "/api/catalog"))["data"]}
    assert rows["priced", "gpt-image-2"]["health"] == "off"


async def test_a_plan_is_the_one_of_the_command(
    client: httpx2.AsyncClient, running: RunningGateway, tmp_path: Path
) -> None:
    told = (await client.post("/api/routes/explain", json={"model": "gpt-image-2"})).json()
    check("Plan", told)
    (tmp_path / "again.yaml").write_text(ROUTES, "utf-8")
    ran = Program(directory=tmp_path, env={}).run(
        "explain", "--model", "gpt-image-2", "--config", "again.yaml", "--json"
    )
    assert {**json.loads(ran.out), "health": told["health"]} == told
    assert told["health"] == {"sandbox/gpt-image-2": "well"}
    body = {"model": "gpt-image-2", "prompt": "a cat", "size": "nonsense"}
    refused = (
        await client.post("/api/routes/explain", json={"body": body, "headers": {"x-route-pin": "other"}})
    ).json()
    assert (refused["error"]["status"], refused["excluded"]) == (
        400, [{"target": "sandbox/gpt-image-2", "reason": "not_pinned"}]
    )  # fmt: skip
    assert (await read(client, "/api/requests"))["data"] == []  # nothing was sent, and nothing is on record


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"{", b'{"colour": 1}', b'{"endpoint": "chat"}', b'{"endpoint": 1}', b'{"model": 1}',
        b'{"body": []}', b'{"headers": []}', b'{"headers": {"cookie": "a"}}', b'{"headers": {"x-route-pin": 1}}',
    ],
)  # fmt: skip
async def test_a_question_that_is_none(client: httpx2.AsyncClient, body: bytes) -> None:
    assert (await client.post("/api/routes/explain", content=body)).status_code == 400


async def test_records_are_heard_as_they_are_made(client: httpx2.AsyncClient) -> None:
    async with client.stream("GET", "/api/events") as stream:
        lines = stream.aiter_lines()
        assert await anext(lines) == ": listening"
        name = await draw(client)
        heard = [await anext(lines) for _ in range(4)]
        assert heard[1:3] == ["event: request.finished", f"id: {name}"]
        record = json.loads(heard[3].removeprefix("data: "))
        assert record == await read(client, f"/api/requests/{name}")


async def test_as_many_listen_as_may_and_all_are_let_go_when_the_server_leaves(
    client: httpx2.AsyncClient, running: RunningGateway
) -> None:
    broadcast = running.gateway.broadcast
    others = [broadcast.listen() for _ in range(LISTENERS - 1)]
    async with client.stream("GET", "/api/events") as stream:
        lines = stream.aiter_lines()
        assert await anext(lines) == ": listening"
        assert (await client.get("/api/events")).status_code == 503
        assert (await client.head("/api/events")).status_code == 200
        for other in others:
            assert other is not None
            broadcast.leave(other)
        running.gateway.leave()
        assert ": the server is leaving" in [line async for line in lines]
    assert broadcast.listening == 0
    assert broadcast.listen() is None


async def test_a_listener_that_does_not_keep_up_is_let_go(running: RunningGateway) -> None:
    broadcast = running.gateway.broadcast
    listener = broadcast.listen()
    assert listener is not None
    event: Mapping[str, str] = {"event": "request.finished", "request_id": "req_1"}
    for _ in range(DEPTH):
        broadcast.emit(event)
    assert (await listener.hear(0)) is not None
    broadcast.emit(event)
    broadcast.emit(event)
    assert listener.is_late
    assert await listener.hear(0) is None


async def test_a_listener_that_leaves_is_forgotten(client: httpx2.AsyncClient, running: RunningGateway) -> None:
    async with client.stream("GET", "/api/events") as stream:
        assert await anext(stream.aiter_lines()) == ": listening"
        assert running.gateway.broadcast.listening == 1
    async with asyncio.timeout(5):
        while running.gateway.broadcast.listening:  # noqa: ASYNC110 - what is waited for happens behind a socket
            await asyncio.sleep(0.01)


async def test_an_interrupted_request_stands_in_the_list_with_its_attempts(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    ledger = open_ledger(f"sqlite:///{tmp_path / 'data' / 'waybill.db'}", serve=True)
    quote = exposed(billed([line(Item.REQUEST, 1, Fraction(70), "USD", "p")], unit="per_request", exact=True))
    await ledger.begin(replace(request(1), stream=True), replace(attempt(1), quote=quote))
    ledger.close()
    async with (
        running_gateway(ROUTES, tmp_path) as running,
        httpx2.AsyncClient(verify=NO_TLS, trust_env=False) as client,
    ):
        (record,) = (await read(client, f"{running.url}/api/requests?status=interrupted"))["data"]
        (row,) = (await read(client, f"{running.url}/api/usage?by=owner"))["data"]
    check("Record", record)
    assert (record["state"], record["result"]["status"], record["exposure_micro"]) == ("interrupted", 0, 70)
    assert record["stream"] is True
    assert record["cost"] == {
        "amount_micro": 70, "currency": "USD", "unit": "per_request", "state": "estimated", "lines": []
    }  # fmt: skip
    assert [(one["n"], one["outcome"], one["exposure_micro"]) for one in record["attempts"]] == [(1, "unknown", 70)]
    assert (row["failed"], row["cost"][0]["exposure_micro"]) == (1, 70)


def drive(url: str, examples: int) -> int:
    """Send generated calls of every reading operation of the operator's; gives how many were sent."""
    with httpx2.Client(trust_env=False, timeout=30, verify=NO_TLS) as client:
        document = client.get(f"{url}/openapi.json").json()
        sent = 0

        def ask(case: Case[Any]) -> None:
            nonlocal sent
            given_words = [
                (name, str(one))
                for name, value in case.query.items()
                for one in (value if isinstance(value, list) else [value])
            ]
            query = urlencode(given_words, errors="replace")
            path = case.formatted_path
            content = None if case.method == "GET" else json.dumps(case.body, default=str).encode("utf-8", "replace")
            answer = client.request(case.method, f"{url}{path}?{query}", content=content)
            said = f"{case.method} {path} {query}: {answer.status_code} {answer.text[:300]}"
            assert answer.status_code < 500, said
            kind = answer.headers["content-type"]
            if answer.status_code >= 400:
                assert kind == "application/problem+json", said
                check("Problem", answer.json())
            sent += 1

        for path in ("/api/catalog", "/api/routes", "/api/requests/{request_id}"):
            fuzz(document, path, "GET", ask, examples, (GenerationMode.POSITIVE,))
        for path in ("/api/requests", "/api/usage", "/api/assets"):
            fuzz(document, path, "GET", ask, examples)
        fuzz(document, "/api/routes/explain", "POST", ask, examples)
    return sent


def fuzz(
    document: dict[str, Any],
    path: str,
    method: str,
    ask: Callable[[Case[Any]], None],
    examples: int,
    modes: Sequence[GenerationMode] = tuple(GenerationMode),
) -> None:
    for mode in modes:
        operation = schemathesis.openapi.from_dict(document)[path][method]
        run = given(case=operation.as_strategy(generation_mode=mode))(ask)
        settings(
            max_examples=examples,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )(run)()


async def test_generated_calls_get_sound_answers(client: httpx2.AsyncClient, running: RunningGateway) -> None:
    await draw(client)
    assert await asyncio.to_thread(drive, running.url, 15) > 60
    assert not [event for event in running.events() if event["event"] == "gateway.bug"]
