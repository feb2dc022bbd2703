"""Follow-ups through a whole gateway: who may have what, over restarts and reloads, and what odd ids come to."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from gateway import config
from gateway.core.brake import BrakeState
from gateway.reload import Why
from tests.fakes.answers import responses_answer
from tests.fakes.gateway import RunningGateway, running_gateway
from tests.fakes.script import FOREVER_S, Script, Wait, reply
from tests.fakes.upstream import FakeUpstream
from tests.transcripts.play import routes_file

RESPONSE = responses_answer(picture=False)
NAME = "resp_68f1c0ffee"
VARIES = {"x-request-id", "server-timing", "date"}


@dataclass(slots=True)
class House:
    """Two upstreams, and gateways over one data directory."""

    directory: Path
    a: FakeUpstream
    b: FakeUpstream

    def serve(self, **settings: Any) -> Any:
        routes = yaml.safe_load(routes_file({}, {"A": self.a, "B": self.b}))
        for name, changes in settings.items():
            routes["channels"][name] |= changes
        return running_gateway(yaml.safe_dump(routes), self.directory)

    @property
    def asked(self) -> tuple[int, int]:
        return self.a.count, self.b.count

    def give_away(self, *names: str) -> None:
        """Let the ids be those of another key."""
        with closing(sqlite3.connect(self.directory / "data" / "waybill.db")) as database, database:
            database.executemany(
                "UPDATE bindings SET key_id = 'key_other' WHERE bound_id = ?", [(name,) for name in names]
            )


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with FakeUpstream(key="sk-A") as a, FakeUpstream(key="sk-B") as b:
        yield House(directory=tmp_path, a=a, b=b)
        assert a.problems + b.problems == []


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(trust_env=False, timeout=20) as client:
        yield client


async def make(gateway: RunningGateway, client: httpx2.AsyncClient, **fields: Any) -> httpx2.Response:
    return await client.post(f"{gateway.url}/v1/responses", json={"model": "chat", "input": "x", **fields})


async def make_at_b(house: House, gateway: RunningGateway, client: httpx2.AsyncClient) -> None:
    house.a.play(reply(503, {"error": {"message": "busy", "type": "server_error"}}))
    house.b.play(reply(200, RESPONSE))
    assert (await make(gateway, client)).headers["x-route-channel"] == "B"


def shown(answer: httpx2.Response) -> tuple[int, bytes, dict[str, str]]:
    return answer.status_code, answer.content, {k: v for k, v in answer.headers.items() if k not in VARIES}


async def test_bindings_outlive_the_server(house: House, client: httpx2.AsyncClient) -> None:
    async with house.serve() as gateway:
        await make_at_b(house, gateway, client)
    async with house.serve() as gateway:
        house.b.play(reply(200, RESPONSE), reply(200, RESPONSE))
        follow_up = await make(gateway, client, previous_response_id=NAME)
        assert follow_up.headers["x-route-channel"] == "B"
        kept = await client.get(f"{gateway.url}/v1/responses/{NAME}")
        assert kept.content == RESPONSE
    assert house.asked == (1, 3)


async def test_bindings_outlive_a_reload(house: House, client: httpx2.AsyncClient) -> None:
    async with house.serve() as gateway:
        await make_at_b(house, gateway, client)
        routes = yaml.safe_load((house.directory / "routes.yaml").read_text("utf-8"))
        routes["channels"]["B"]["region"] = "eu"
        (house.directory / "routes.yaml").write_text(yaml.safe_dump(routes), "utf-8")
        reloader = gateway.gateway.config
        changed = config.load(
            house.directory / "routes.yaml", env={}, data_dir=house.directory / "data", sandbox_allowed=True
        )
        reloader._read = lambda: changed
        await reloader.reload(Why.SIGNAL)
        assert reloader.table().channels["B"].region == "eu"
        house.b.play(reply(200, RESPONSE))
        assert (await make(gateway, client, previous_response_id=NAME)).headers["x-route-channel"] == "B"


@pytest.mark.parametrize("changes", [{"api_key": "sk-rotated"}, {"base_url": "http://127.0.0.1:9/v1"}])
async def test_another_account_under_the_same_name_is_not_asked(
    house: House, client: httpx2.AsyncClient, changes: dict[str, str]
) -> None:
    async with house.serve() as gateway:
        await make_at_b(house, gateway, client)
    async with house.serve(B=changes) as gateway:
        for answer in (
            await make(gateway, client, previous_response_id=NAME),
            await client.get(f"{gateway.url}/v1/responses/{NAME}"),
            await client.delete(f"{gateway.url}/v1/responses/{NAME}"),
        ):
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "no_healthy_target")
            assert "127.0.0.1" not in answer.text
            assert "sk-" not in answer.text
            assert answer.headers["x-should-retry"] == "true"
    assert house.asked == (1, 1)


async def test_what_another_key_has_is_what_nobody_has(house: House, client: httpx2.AsyncClient) -> None:
    """litellm#15757, #39548: ids that the proxy had not issued, or of another shape, went past the check of owners."""
    async with house.serve() as gateway:
        await make_at_b(house, gateway, client)
        house.give_away(NAME, "msg_68f1")
        at = f"{gateway.url}/v1/responses"
        for foreign, unknown in (
            (await client.get(f"{at}/{NAME}"), await client.get(f"{at}/resp_nobody")),
            (await client.delete(f"{at}/{NAME}"), await client.delete(f"{at}/resp_nobody")),
            (await client.post(f"{at}/{NAME}/cancel"), await client.post(f"{at}/resp_nobody/cancel")),
            (await client.get(f"{at}/{NAME}/input_items"), await client.get(f"{at}/resp_nobody/input_items")),
            (
                await make(gateway, client, previous_response_id=NAME),
                await make(gateway, client, previous_response_id="resp_nobody"),
            ),
            (
                await make(gateway, client, input=[{"type": "item_reference", "id": "msg_68f1"}]),
                await make(gateway, client, input=[{"type": "item_reference", "id": "msg_nobody"}]),
            ),
        ):
            assert shown(foreign) == shown(unknown)
            assert foreign.status_code == 404
    assert house.asked == (1, 1)


HOSTILE = [
    *("..", ".", "%2e%2e", "..%2f..%2fmodels", "a%00b", "a%0d%0aX-Evil:%201", "%ff%fe", "a%20b", "~", "-"),
    *(
        "';DROP TABLE bindings;--",
        "%F0%9F%8E%A8",
        "resp_1%3Fx=1",
        "resp_1%23f",
        "x" * 513,
        "x" * 8_000,
        "{id}",
        "*",
        "%25",
    ),
    *("resp_1/", "resp_1/x", "resp_1//", "resp_1/input_items/"),
]


@pytest.mark.parametrize("name", HOSTILE)
async def test_an_odd_id_is_nobodys(house: House, name: str) -> None:
    async with house.serve() as gateway:
        known = await raw(gateway, "GET", "resp_nobody")
        assert known.startswith(b"HTTP/1.1 404 ")
        for method in ("GET", "DELETE"):
            found = await raw(gateway, method, name)
            assert found.split(b"\r\n\r\n")[1] == known.split(b"\r\n\r\n")[1]
    assert house.asked == (0, 0)


async def raw(gateway: RunningGateway, method: str, name: str) -> bytes:
    """Ask with a path that no client would write, and read to the end of the connection."""
    host, port = gateway.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    target = f"/v1/responses/{name}".replace(" ", "%20")
    writer.write(f"{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


@pytest.mark.parametrize("name", ["x" * 5_000_000, "", "..", "a/b", "\x00", "é", "' OR 1=1 --", "resp_nobody"])
async def test_an_odd_id_in_a_body_is_nobodys(house: House, client: httpx2.AsyncClient, name: str) -> None:
    async with house.serve() as gateway:
        known = await make(gateway, client, previous_response_id="resp_nobody")
        assert shown(await make(gateway, client, previous_response_id=name)) == shown(known)
        known = await make(gateway, client, input=[{"type": "item_reference", "id": "resp_nobody"}])
        assert shown(await make(gateway, client, input=[{"type": "item_reference", "id": name}])) == shown(known)
    assert house.asked == (0, 0)


async def test_an_id_that_is_too_long_for_a_body_is_refused_with_it(house: House, client: httpx2.AsyncClient) -> None:
    async with house.serve() as gateway:
        answer = await make(gateway, client, previous_response_id="x" * 10_000_000)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_json")
        found = await raw(gateway, "GET", "x" * 1_000_000)
        assert found.startswith(b"HTTP/1.1 4")
    assert house.asked == (0, 0)


async def test_a_body_that_nobody_asked_for_does_no_harm(house: House, client: httpx2.AsyncClient) -> None:
    async with house.serve() as gateway:
        await make_at_b(house, gateway, client)
        house.b.play(reply(200, RESPONSE), reply(200, RESPONSE))
        for _ in range(2):
            answer = await client.request("GET", f"{gateway.url}/v1/responses/{NAME}", content=b"x" * 300_000)
            assert answer.content == RESPONSE
    assert house.b.requests[-1].length == 0


async def test_only_what_may_travel_travels(house: House, client: httpx2.AsyncClient) -> None:
    async with house.serve() as gateway:
        await make_at_b(house, gateway, client)
        house.b.play(reply(200, RESPONSE, headers={"set-cookie": "a=b", "openai-version": "2020-10-01"}))
        told = {"cookie": "secret=1", "x-stainless-lang": "x", "openai-beta": "y", "authorization": "Bearer sk-mine"}
        answer = await client.get(f"{gateway.url}/v1/responses/{NAME}?include[]=a%20b", headers=told)
        assert "set-cookie" not in answer.headers
        assert answer.headers["openai-version"] == "2020-10-01"
        refused = await client.get(f"{gateway.url}/v1/responses/{NAME}", headers={"idempotency-key": "k"})
        assert refused.json()["error"]["code"] == "unsupported_parameter"
    seen = house.b.requests[-1]
    assert (seen.header("openai-beta"), seen.header("authorization")) == ("y", "Bearer sk-B")
    assert seen.query == "include[]=a%20b"


async def test_a_drained_channel_serves_what_only_it_can_serve(house: House, client: httpx2.AsyncClient) -> None:
    async with house.serve() as gateway:
        await make_at_b(house, gateway, client)
        await gateway.gateway.roster.brake("B", BrakeState.DRAINED, None, None)
        house.b.play(reply(200, RESPONSE), reply(200, RESPONSE))
        assert (await make(gateway, client, previous_response_id=NAME)).status_code == 200
        assert (await client.get(f"{gateway.url}/v1/responses/{NAME}")).status_code == 200
        await gateway.gateway.roster.brake("B", BrakeState.OFF, None, None)
        for answer in (
            await make(gateway, client, previous_response_id=NAME),
            await client.get(f"{gateway.url}/v1/responses/{NAME}"),
        ):
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "no_healthy_target")
    assert house.asked == (1, 3)


async def test_the_bindings_cannot_be_read_so_nothing_is_sent(house: House, client: httpx2.AsyncClient) -> None:
    async with house.serve() as gateway:
        with closing(sqlite3.connect(house.directory / "data" / "waybill.db")) as database:
            database.execute("ALTER TABLE bindings RENAME TO elsewhere")
        answer = await make(gateway, client, previous_response_id=NAME)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "ledger_unavailable")
        with closing(sqlite3.connect(house.directory / "data" / "waybill.db")) as database:
            database.execute("ALTER TABLE elsewhere RENAME TO bindings")
    assert house.asked == (0, 0)


async def test_a_deletion_that_is_answered_with_nothing_is_one(house: House, client: httpx2.AsyncClient) -> None:
    async with house.serve() as gateway:
        await make_at_b(house, gateway, client)
        house.b.play(reply(200, b""))
        assert (await client.delete(f"{gateway.url}/v1/responses/{NAME}")).status_code == 200
        assert (await client.delete(f"{gateway.url}/v1/responses/{NAME}")).status_code == 404


async def test_a_turn_in_the_background_does_not_hang_on_its_client(house: House, client: httpx2.AsyncClient) -> None:
    """litellm#36275, PR#36461: the upstream's work ended with the client's socket."""
    async with house.serve() as gateway:
        house.a.play(reply(200, RESPONSE, delay_s=0.3))
        asking = asyncio.ensure_future(make(gateway, client, background=True))
        await house.a.counted(1)
        asking.cancel()
        house.a.play(reply(200, RESPONSE))
        async with asyncio.timeout(5):
            while (await client.get(f"{gateway.url}/v1/responses/{NAME}")).status_code == 404:  # noqa: ASYNC110 - polls, as clients do
                await asyncio.sleep(0.05)
    assert house.asked == (2, 0)


async def test_a_stop_settles_what_was_asked(house: House, client: httpx2.AsyncClient) -> None:
    async with house.serve() as gateway:
        await make_at_b(house, gateway, client)
        house.b.play(Script(name="slow", steps=(Wait(seconds=FOREVER_S),)))
        asking = asyncio.ensure_future(client.get(f"{gateway.url}/v1/responses/{NAME}"))
        await house.b.counted(2)
        await gateway.gateway.cut()
        answer = await asking
        assert answer.status_code in (502, 504)
    events = [json.loads(line) for line in (house.directory / "log.jsonl").read_text("utf-8").splitlines()]
    (record,) = [event for event in events if event.get("endpoint") == "responses/retrieve"]
    assert record["attempts"][0]["outcome"] == "unknown"


async def test_the_sandbox_remembers(tmp_path: Path, client: httpx2.AsyncClient) -> None:
    routes = {
        "version": 1,
        "channels": {"sandbox": {"owner": "sandbox", "kind": "sandbox", "rows": {"chat": {"serves": ["responses"]}}}},
        "routes": {"chat": {"targets": ["sandbox"]}},
    }
    async with running_gateway(yaml.safe_dump(routes), tmp_path) as gateway:
        made = await make(gateway, client)
        at = f"{gateway.url}/v1/responses/{made.json()['id']}"
        assert (await client.get(at)).content == made.content
        assert (await client.get(f"{at}/input_items")).json()["data"][0]["content"][0]["text"] == "x"
        assert (await make(gateway, client, previous_response_id=made.json()["id"])).status_code == 200
        assert (await client.delete(at)).json()["deleted"] is True
        assert (await client.get(at)).json()["error"]["code"] == "response_not_found"
        counted = await client.post(
            f"{gateway.url}/v1/responses/input_tokens", json={"model": "chat", "input": "12345678"}
        )
        assert counted.json() == {"object": "response.input_tokens", "input_tokens": 2}
