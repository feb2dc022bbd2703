from collections.abc import AsyncIterator

import pytest

from gateway.core.table import Route, RouteTarget
from gateway.core.types import Surface
from gateway.reload import Rejected, Why
from gateway.web.health import State
from tests.web.house import MOMENT, House, ask, channel, get, post, serving, table_of


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
async def port(house: House) -> AsyncIterator[int]:
    async with serving(house.app()) as number:
        yield number


async def test_models_are_the_routes_with_a_usable_target(house: House, port: int) -> None:
    asleep = Route(name="asleep", targets=(RouteTarget(channel="azure", row="gpt-image-2", unusable="no key"),))
    house.table = table_of(routes=(table_of().routes["gpt-image-2"], asleep))
    reply = await ask(port, get("/v1/models"))
    assert reply.status == 200
    assert reply["content-type"] == "application/json"
    assert reply.json == {
        "object": "list",
        "data": [
            {
                "id": "gpt-image-2",
                "object": "model",
                "created": 1767225600,
                "owned_by": "openai.example",
                "waybill": {
                    "surfaces": ["images/generations", "images/edits"],
                    "contract": "open",
                    "retires_on": None,
                },
            }
        ],
    }


async def test_surfaces_are_those_of_all_usable_targets(house: House, port: int) -> None:
    house.table = table_of((channel("a", None, Surface.RESPONSES), channel("b", None, Surface.GENERATIONS)))
    reply = await ask(port, get("/v1/models/gpt-image-2"))
    surfaces = ["images/generations", "responses"]
    assert reply.json["waybill"] == {"surfaces": surfaces, "contract": "open", "retires_on": None}
    assert reply.json["owned_by"] == "a.example"


async def test_a_model_may_have_a_slash_in_its_name(house: House, port: int) -> None:
    house.table = table_of(routes=(Route(name="google/image", targets=table_of().routes["gpt-image-2"].targets),))
    assert (await ask(port, get("/v1/models/google/image"))).json["id"] == "google/image"
    assert (await ask(port, get("/v1/models/google%2Fimage"))).json["id"] == "google/image"


@pytest.mark.parametrize("name", ["nothing", "gpt-image-2/", "%00", "..%2f"])
async def test_an_unknown_model_is_not_repeated(port: int, name: str) -> None:
    reply = await ask(port, get(f"/v1/models/{name}"))
    assert (reply.status, reply.error["code"], reply.error["param"]) == (404, "model_not_found", "model")
    assert reply["x-should-retry"] == "false"


async def test_health_and_readiness(house: House, port: int) -> None:
    assert (await ask(port, get("/healthz"))).json == {"status": "ok"}
    ready = await ask(port, get("/readyz"))
    assert (ready.status, ready.json) == (
        200,
        {
            "status": "ok",
            "config_version": "v1",
            "config": {"state": "ok"},
            "ledger": "ok",
            "shared": "memory",
            "replicas": {"others": 0, "differing": []},
            "routes_ready": 1,
            "channels": {"openai": "ready", "azure": "AZURE_KEY is not set"},
        },
    )
    house.state = State(ledger_fault="the ledger is closed")
    unready = await ask(port, get("/readyz"))
    assert (unready.status, unready.json["status"], unready.json["ledger"]) == (
        503,
        "unavailable",
        "the ledger is closed",
    )
    assert (await ask(port, get("/healthz"))).status == 200


async def test_a_process_on_its_way_out_says_so_and_closes_its_connections(house: House, port: int) -> None:
    house.state, house.load.draining = State(draining=True), True
    leaving = await ask(port, get("/readyz"))
    assert (leaving.status, leaving.json["status"], leaving["connection"]) == (503, "draining", "close")
    answered = await ask(port, post("/v1/images/generations"))
    assert (answered.status, answered["connection"]) == (200, "close")


async def test_a_routes_file_that_was_not_taken_shows_and_is_no_reason_to_be_unready(house: House, port: int) -> None:
    rejected = Rejected(time=MOMENT, why=Why.FILE, count=3, mistakes=("routes.yaml:3:1: (file): not YAML",))
    house.state = State(rejected=rejected, channels={"openai": "drained", "azure": "ejected"})
    reply = await ask(port, get("/readyz"))
    assert (reply.status, reply.json["status"]) == (200, "ok")
    assert reply.json["config"] == {
        "state": "reload_failed",
        "time": "2026-11-20T12:00:00.000Z",
        "mistakes": 3,
        "first": "routes.yaml:3:1: (file): not YAML",
    }
    assert reply.json["channels"] == {"openai": "drained", "azure": "AZURE_KEY is not set"}


async def test_no_usable_route_is_shown_but_is_not_unready(house: House, port: int) -> None:
    house.table = table_of((channel("openai", "OPENAI_API_KEY is not set"),))
    reply = await ask(port, get("/readyz"))
    assert (reply.status, reply.json["routes_ready"]) == (200, 0)


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/v1/models", "/v1/models/gpt-image-2"])
async def test_every_page_answers_head_without_a_body(port: int, path: str) -> None:
    reply = await ask(port, get(path, method="HEAD"), head_only=True)
    assert reply.status == 200
    assert int(reply["content-length"] or 0) > 0


async def test_the_root_says_what_this_is(port: int) -> None:
    reply = await ask(port, get("/"))
    assert reply.json["name"] == "waybill"
    assert reply["server"] is None


async def test_a_page_asked_with_a_body_answers_and_closes(port: int) -> None:
    reply = await ask(port, get("/healthz", "Content-Length: 2") + b"{}")
    assert (reply.status, reply["connection"]) == (200, "close")


REFUSED = [
    ("POST", "/v1/models", 405, "GET, HEAD", "method_not_allowed", ""),
    ("DELETE", "/v1/models/gpt-image-2", 405, "GET, HEAD", "method_not_allowed", ""),
    ("OPTIONS", "/healthz", 405, "GET, HEAD", "method_not_allowed", ""),
    ("GET", "/v1/responses", 405, "POST", "method_not_allowed", ""),
    ("PUT", "/v1/images/edits", 405, "POST", "method_not_allowed", ""),
    ("GET", "/nothing", 404, None, "unknown_url", ""),
    ("GET", "/v1", 404, None, "unknown_url", ""),
    ("GET", "/V1/models", 404, None, "unknown_url", ""),
    ("GET", "/v1/models/", 404, None, "model_not_found", ""),
    ("POST", "/v1/images/generations/", 404, None, "unknown_url", "slash"),
    ("POST", "/v1//images/generations", 404, None, "unknown_url", ""),
    ("POST", "//v1/images/generations", 404, None, "unknown_url", ""),
    ("POST", "/v1/chat/completions", 404, None, "unknown_url", "/v1/responses"),
    ("GET", "/v1/chat/completions", 404, None, "unknown_url", "/v1/images/generations"),
    ("POST", "/v1/completions", 404, None, "unknown_url", "/v1/responses"),
    ("POST", "/v1/images/variations", 404, None, "unknown_url", "/v1/images/edits"),
    ("GET", "/v1/files", 404, None, "unknown_url", "this version"),
    ("POST", "/v1/responses/resp_1", 405, "GET, DELETE", "method_not_allowed", ""),
    ("DELETE", "/v1/responses/resp_1/cancel", 405, "POST", "method_not_allowed", ""),
    ("POST", "/v1/responses/resp_1/input_items", 405, "GET", "method_not_allowed", ""),
    ("GET", "/v1/responses/input_tokens", 405, "POST", "method_not_allowed", ""),
    ("GET", "/v1/responses/", 404, None, "unknown_url", "slash"),
    ("POST", "/v1/conversations", 404, None, "unknown_url", "this version"),
    ("GET", "/ui/", 404, None, "unknown_url", ""),
    ("POST", "/v1/images/generation", 404, None, "unknown_url", "POST /v1/images/generations"),
    ("POST", "/images/generations", 404, None, "unknown_url", "base_url must end in /v1, exactly once"),
    ("POST", "/v1/v1/images/generations", 404, None, "unknown_url", "base_url must end in /v1, exactly once"),
    ("POST", "/v1/v1/v1/responses", 404, None, "unknown_url", "base_url must end in /v1, exactly once"),
    ("GET", "/models", 404, None, "unknown_url", "base_url must end in /v1, exactly once"),
    ("POST", "/chat/completions", 404, None, "unknown_url", "base_url must end in /v1, exactly once"),
    ("GET", "/v1/v1/nothing", 404, None, "unknown_url", "nothing at this address."),
]


Refused = tuple[str, str, int, str | None, str, str]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: f"{case[0]} {case[1]}")
async def test_what_is_not_here_says_so(house: House, port: int, case: Refused) -> None:
    method, path, status, allow, code, says = case
    reply = await ask(port, get(path, method=method))
    assert (reply.status, reply["allow"], reply.error["code"]) == (status, allow, code)
    assert set(reply.error) == {"message", "type", "param", "code"}
    assert says in str(reply.error["message"])
    assert str(reply["x-request-id"]).startswith("req_")
    assert house.line.jobs == []


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/realtime", "/socket"])
async def test_a_websocket_is_refused_in_plain_http(port: int, path: str) -> None:
    reply = await ask(port, get(path, "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"))
    assert (reply.status, reply["connection"]) == (404, "close")
    assert "WebSocket" in str(reply.error["message"])


@pytest.mark.parametrize(
    "target",
    [
        "/v1/images/generations",
        "/v1/images/%67enerations",
        "http://other.test/v1/images/generations",
        "/v1/images%2Fgenerations",
        "/v1/images/generations?x=1#y",
    ],
)
async def test_one_path_however_it_is_written(house: House, port: int, target: str) -> None:
    reply = await ask(port, post(target))
    assert reply.status == 200
    assert house.desk.seen[0].surface is Surface.GENERATIONS


@pytest.mark.parametrize(
    "target", ["/v1/images/../images/generations", "/v1/./images/generations", "/v1/images/generations%00"]
)
async def test_no_path_is_tidied_up(house: House, port: int, target: str) -> None:
    assert (await ask(port, post(target))).status == 404
    assert house.line.jobs == []


async def test_requests_that_never_reach_the_relay_are_settled_once_before_their_answer(
    house: House, port: int
) -> None:
    await ask(port, get("/v1/models"))
    assert len(house.books.rows) == 1
    await ask(port, get("/v1/secret-word"))
    await ask(port, get("/v1/images/edits"))
    await ask(port, get("/healthz"))
    await ask(port, get("/nothing"))
    shown = [(record.endpoint, record.result.status, record.result.code) for record in house.books.rows]
    assert shown == [
        ("models", 200, None),
        ("unknown", 404, "unknown_url"),
        ("images/edits", 405, "method_not_allowed"),
    ]
    assert house.books.rows[0].request_id == "req_" + "1".rjust(32, "0")
    assert house.books.rows[0].config_version == "v1"
    assert house.books.notes == []
