"""The operator's calls on a socket."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest
from msgspec.structs import replace

from gateway.config import Loaded, Mistake
from gateway.core.brake import Brake, BrakeState
from gateway.core.table import Secret, Settings
from gateway.core.types import JsonObject
from gateway.ports import LedgerUnavailable
from gateway.reload import Reloader
from gateway.web.admin import MOST_BYTES, Control
from gateway.web.door import Door
from tests.web.house import MOMENT, House, Reply, Ticking, ask, get, post, serving, table_of

HOST = "Host: 127.0.0.1"
TOMORROW = "2026-11-21T12:00:00Z"


@dataclass
class Brakes:
    set_to: list[tuple[str, BrakeState, datetime | None, str | None]] = field(default_factory=list)
    is_broken: bool = False

    async def brake(self, name: str, state: BrakeState, until: datetime | None, reason: str | None) -> Brake | None:
        if self.is_broken:
            raise LedgerUnavailable("the ledger is closed")
        if name == "nobody":
            return None
        self.set_to.append((name, state, until, reason))
        return Brake(state=state, until=until, reason=reason)

    def report(self) -> JsonObject:
        return {"channels": [{"channel": "openai"}]}


@dataclass
class Desk:
    """The operator's desk: what the next reading of the file gives, and who asks."""

    house: House
    brakes: Brakes = field(default_factory=Brakes)
    found: Loaded | list[Mistake] = field(default_factory=list)
    port: int = 0

    async def call(self, method: str, path: str, body: bytes = b"", *headers: str) -> Reply:
        given = post(path, body, *headers) if method == "POST" else get(path, *headers, method=method)
        return await ask(self.port, given.replace(b"Host: gateway.test", HOST.encode()))


LOADED = Loaded(settings=Settings(database=""), table=table_of(), path=Path("routes.yaml"), checksum="ab" * 32)


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    made = Desk(house=House())
    async with serving_desk(made, Door(key=None, is_local=True)) as one:
        yield one


def serving_desk(desk: Desk, door: Door) -> "Serving":
    return Serving(desk, door)


class Serving:
    def __init__(self, desk: Desk, door: Door) -> None:
        self.desk = desk
        desk.house.control = Control(
            door=door,
            config=Reloader(LOADED, lambda: desk.found, desk.house.log, Ticking()),
            brakes=desk.brakes,
            clock=Ticking(),
            metrics=lambda: b"waybill_build_info 1\n",
        )
        self._server = serving(desk.house.app())

    async def __aenter__(self) -> Desk:
        self.desk.port = await self._server.__aenter__()
        return self.desk

    async def __aexit__(self, *_: object) -> None:
        await self._server.__aexit__(None, None, None)


def problem(reply: Reply) -> tuple[int, object]:
    assert reply["content-type"] == "application/problem+json"
    assert reply.json["status"] == reply.status
    assert reply.json["type"] == "about:blank"
    assert reply.json["title"]
    return reply.status, reply.json["detail"]


async def test_the_configuration_is_shown(desk: Desk) -> None:
    reply = await desk.call("GET", "/api/config")
    assert reply.status == 200
    assert reply.json == {
        "version": "v1",
        "checksum": f"sha256:{'ab' * 32}",
        "path": "routes.yaml",
        "since": "2026-11-20T12:00:00.000Z",
        "reloads": 0,
        "failed_reloads": 0,
        "needs_restart": [],
        "last_error": None,
    }


async def test_a_good_file_is_taken(desk: Desk) -> None:
    desk.found = replace(LOADED, table=replace(table_of(), version="v2"))
    reply = await desk.call("POST", "/api/config/reload")
    assert (reply.status, reply.json["version"], reply.json["reloads"]) == (200, "v2", 1)


async def test_a_bad_file_is_a_problem_with_its_mistakes(desk: Desk) -> None:
    desk.found = [Mistake(file="routes.yaml", line=3, column=1, path="routes", message="missing")]
    reply = await desk.call("POST", "/api/config/reload")
    assert problem(reply) == (422, "The routes file has mistakes, so nothing has changed.")
    assert (reply.json["version"], reply.json["count"]) == ("v1", 1)
    assert reply.json["mistakes"] == ["routes.yaml:3:1: routes: missing"]
    shown = (await desk.call("GET", "/api/config")).json
    assert shown["last_error"] == {
        "time": "2026-11-20T12:00:00.000Z",
        "why": "request",
        "count": 1,
        "mistakes": ["routes.yaml:3:1: routes: missing"],
    }


async def test_a_brake_is_set_and_said_again(desk: Desk) -> None:
    body = orjson.dumps({"state": "drained", "until": TOMORROW, "reason": "new key"})
    reply = await desk.call("POST", "/api/channels/openai", body)
    assert (reply.status, reply.json) == (
        200,
        {"channel": "openai", "state": "drained", "until": "2026-11-21T12:00:00.000Z", "reason": "new key"},
    )
    assert desk.brakes.set_to == [("openai", BrakeState.DRAINED, MOMENT + timedelta(days=1), "new key")]


async def test_channels_are_shown(desk: Desk) -> None:
    assert (await desk.call("GET", "/api/channels")).json == {"channels": [{"channel": "openai"}]}


async def test_until_may_be_in_any_zone(desk: Desk) -> None:
    body = orjson.dumps({"state": "off", "until": "2026-11-21T14:00:00+02:00"})
    assert (await desk.call("POST", "/api/channels/openai", body)).json["until"] == "2026-11-21T12:00:00.000Z"
    until = desk.brakes.set_to[0][2]
    assert until is not None
    assert until.tzinfo is UTC


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "must be a JSON object"),
        (b"[]", "must be a JSON object"),
        (b"{", "must be a JSON object"),
        (b"{}", "must be one of on, drained, off"),
        (b'{"state": "On"}', "must be one of"),
        (b'{"state": 1}', "must be one of"),
        (b'{"state": ["on"]}', "must be one of"),
        (b'{"state": "on", "untli": null}', "may have the keys"),
        (b'{"state": "off", "until": "tomorrow"}', "must be like"),
        (b'{"state": "off", "until": 1}', "must be like"),
        (b'{"state": "off", "until": "2026-11-21T12:00:00"}', "must be like"),
        (b'{"state": "off", "until": "0001-01-01T00:00:00+23:00"}', "must be like"),
        (b'{"state": "off", "until": "2026-11-20T12:00:00Z"}', "is over"),
        (b'{"state": "off", "reason": 5}', "one line"),
        (b'{"state": "off", "reason": "a\\nb"}', "one line"),
        (b'{"state": "off", "reason": "' + b"x" * 201 + b'"}', "one line"),
    ],
)
async def test_what_is_no_brake_is_a_problem_and_sets_none(desk: Desk, body: bytes, says: str) -> None:
    status, detail = problem(await desk.call("POST", "/api/channels/openai", body))
    assert status == 400
    assert says in str(detail)
    assert desk.brakes.set_to == []


async def test_a_body_has_its_bound(desk: Desk) -> None:
    reply = await desk.call("POST", "/api/channels/openai", b" " * (MOST_BYTES + 1))
    assert problem(reply)[0] == 413


async def test_a_channel_there_is_not_and_a_ledger_that_fails(desk: Desk) -> None:
    assert problem(await desk.call("POST", "/api/channels/nobody", b'{"state": "on"}'))[0] == 404
    desk.brakes.is_broken = True
    assert problem(await desk.call("POST", "/api/channels/openai", b'{"state": "on"}'))[0] == 503


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("POST", "/api/config", 405, "GET, HEAD"),
        ("GET", "/api/config/reload", 405, "POST"),
        ("GET", "/api/channels/openai", 405, "POST"),
        ("GET", "/api/nothing", 404, None),
        ("GET", "/api/", 404, None),
        ("POST", "/api/config/", 404, None),
    ],
)
async def test_other_addresses_and_methods_are_problems(
    desk: Desk, method: str, path: str, status: int, allow: str | None
) -> None:
    reply = await desk.call(method, path)
    assert (problem(reply)[0], reply["allow"]) == (status, allow)


async def test_nobody_is_told_anything_before_the_door(desk: Desk) -> None:
    for path in ("/api/config", "/api/nothing", "/api/channels/nobody"):
        assert problem(await desk.call("GET", path, b"", "Origin: https://evil.example"))[0] == 403
    locked = Desk(house=House())
    async with serving_desk(locked, Door(key=Secret("op-1"), is_local=True)):
        assert problem(await locked.call("GET", "/api/config"))[0] == 401
        assert problem(await locked.call("POST", "/api/nothing"))[0] == 401
        assert (await locked.call("GET", "/api/config", b"", "Authorization: Bearer op-1")).status == 200
        assert (await locked.call("GET", "/metrics")).status == 200
    assert locked.brakes.set_to == []


async def test_what_can_be_read_can_be_asked_for_without_its_body_and_no_cache_keeps_it(desk: Desk) -> None:
    given = get("/api/config", method="HEAD").replace(b"Host: gateway.test", HOST.encode())
    reply = await ask(desk.port, given, head_only=True)
    assert (reply.status, reply["cache-control"]) == (200, "no-store")
    assert (await desk.call("GET", "/api/config"))["cache-control"] == "no-store"


async def test_figures_are_text(desk: Desk) -> None:
    reply = await desk.call("GET", "/metrics")
    assert (reply.status, reply.body) == (200, b"waybill_build_info 1\n")
    assert str(reply["content-type"]).startswith("text/plain; version=")
    assert problem_free(await desk.call("POST", "/metrics")) == 405


def problem_free(reply: Reply) -> int:
    assert reply["content-type"] == "application/json"
    return reply.status


async def test_the_operator_is_heard_under_any_load_and_leaves_no_record(desk: Desk) -> None:
    desk.house.load.in_flight = desk.house.max_in_flight
    assert (await desk.call("GET", "/api/config")).status == 200
    assert (await desk.call("GET", "/metrics")).status == 200
    assert (await desk.call("GET", "/v1/models")).status == 503
    assert [record.endpoint for record in desk.house.books.notes] == ["models"]
    assert desk.house.books.rows == []


async def test_without_an_operator_there_is_no_such_address() -> None:
    async with serving(House().app()) as port:
        assert (await ask(port, get("/api/config"))).status == 404
        assert (await ask(port, get("/metrics"))).status == 404
