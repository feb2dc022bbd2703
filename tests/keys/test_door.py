"""Who is let in, over real HTTP: open, then closed for good; what a key may use; what is another's."""

import asyncio
import time
from pathlib import Path

import httpx2
import openai
import pytest

from tests.cli.program import Program
from tests.fakes.answers import image_answer, responses_answer
from tests.fakes.script import reply
from tests.keys.house import GENERATION, KeyedHouse, keyed_house

PICTURE = reply(200, image_answer())
TURN = reply(200, responses_answer(picture=False))


def waybill(house: KeyedHouse, *arguments: str) -> str:
    """Run the command line beside the server."""
    directory = house.database.parents[1]
    ran = Program(directory=directory).run("keys", *arguments, WAYBILL_DATA_DIR=str(directory / "data"))
    assert ran.code == 0, ran.err
    return ran.out


async def test_it_is_open_until_the_first_key_and_closed_for_good_from_then_on(tmp_path: Path) -> None:
    async with keyed_house(tmp_path) as house:
        house.upstream.play(PICTURE, PICTURE)
        for shown in (None, "anything"):
            answer = await house.generate(shown)
            assert answer.status_code == 200
            assert "key_id" not in await house.gateway.record(answer.headers["x-request-id"])
        await asyncio.to_thread(waybill, house, "create", "--name", "app", "--json")
        made = time.monotonic()
        await house.closed()
        assert time.monotonic() - made < 1.0
        [listed] = await house.keys()
        await house.client.delete(f"{house.gateway.url}/api/keys/{listed['id']}")
        assert (await house.generate("anything")).status_code == 401
        assert house.upstream.count == 2


async def test_a_revocation_by_another_process_holds_within_a_second(tmp_path: Path) -> None:
    async with keyed_house(tmp_path) as house:
        house.upstream.play(*[PICTURE] * 200)
        key = await house.create()
        await house.closed()
        assert (await house.generate(key)).status_code == 200
        [listed] = await house.keys()
        await asyncio.to_thread(waybill, house, "revoke", listed["id"])
        revoked = time.monotonic()
        while (await house.get("/v1/models", key)).status_code == 200:
            assert time.monotonic() - revoked < 1.0
            await asyncio.sleep(0.02)
        assert (await house.generate(key)).status_code == 401


async def test_every_wrong_key_gets_the_same_answer_and_buys_nothing(tmp_path: Path) -> None:
    async with keyed_house(tmp_path) as house:
        key = await house.create()
        expired = await house.create(name="short", expires="1m")
        await house.closed()
        assert (await house.get("/v1/models", expired)).status_code == 200
        twins = [key[:-1], key + "x", key.lower(), key[:20], "wb-", "' OR 1=1 --", "%", "_" * 46, "x" * 20_000]
        bodies = set()
        for shown in twins:
            answer = await house.generate(shown)
            assert answer.status_code == 401, shown
            assert answer.headers["www-authenticate"] == "Bearer"
            assert answer.headers["x-should-retry"] == "false"
            bodies.add(answer.content)
        for headers in (
            [],
            [("authorization", f"Bearer {key}"), ("authorization", f"Bearer {key}")],
            [("authorization", f"Basic {key}")],
            [("authorization", key)],
            [("authorization", "Bearer")],
            [("authorization", "")],
            [("authorization", f"Bearer {key} {key}")],
        ):
            answer = await house.client.post(
                f"{house.gateway.url}/v1/images/generations", json=GENERATION, headers=httpx2.Headers(headers)
            )
            assert answer.status_code == 401, headers
            bodies.add(answer.content)
        assert len(bodies) == 1
        assert b"invalid_api_key" in bodies.pop()
        assert house.upstream.count == 0
        written = house.rows("requests")
        assert {row["status"] for row in written} <= {200, 401}
        assert house.rows("attempts") == []
        assert not any(key[3:] in str(row) for row in [*written, *house.rows("keys")])
        assert key not in house.gateway.log.read_text()


async def test_a_bearer_of_a_megabyte_is_refused_before_anything(tmp_path: Path) -> None:
    async with keyed_house(tmp_path) as house:
        await house.create()
        await house.closed()
        reader, writer = await asyncio.open_connection("127.0.0.1", int(house.gateway.url.rpartition(":")[2]))
        writer.write(b"GET /v1/models HTTP/1.1\r\nhost: a\r\nauthorization: Bearer " + b"x" * 1_000_000 + b"\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(200), 5)
        assert answer == b"" or b" 4" in answer[:13]
        writer.close()


async def test_the_door_is_shut_before_the_body_is_read(tmp_path: Path) -> None:
    async with keyed_house(tmp_path) as house:
        await house.create()
        await house.closed()
        reader, writer = await asyncio.open_connection("127.0.0.1", int(house.gateway.url.rpartition(":")[2]))
        head = b"POST /v1/images/generations HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
        writer.write(head + b"content-length: 30000000\r\n\r\n{")
        assert (await asyncio.wait_for(reader.read(200), 5)).startswith(b"HTTP/1.1 401 ")
        writer.close()


async def test_a_key_uses_and_sees_its_models_only(tmp_path: Path) -> None:
    async with keyed_house(tmp_path) as house:
        house.upstream.play(PICTURE)
        key, whole = await house.create(models=["pic"]), await house.create(name="whole")
        await house.closed()
        listed = (await house.get("/v1/models", key)).json()["data"]
        assert [model["id"] for model in listed] == ["pic"]
        assert listed[0]["waybill"] == {
            "surfaces": ["images/generations", "images/edits"],
            "contract": "gpt-image-2",
            "retires_on": None,
        }
        assert (await house.get("/v1/models/other", key)).status_code == 404
        assert (await house.get("/v1/models/other", whole)).status_code == 200
        refused = await house.generate(key, model="other")
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "model_not_allowed")
        turn = {"model": "chat", "input": "hi"}
        assert (await house.post("responses", turn, key)).status_code == 403
        tool = {"tools": [{"type": "image_generation", "model": "other"}]}
        both = await house.create(name="both", models=["chat"])
        assert (await house.post("responses", {**turn, **tool}, both)).status_code == 403
        assert (await house.generate(key, model="nothing")).status_code == 404
        assert (await house.generate(key)).status_code == 200
        assert house.upstream.count == 1


async def test_permission_comes_before_balance(tmp_path: Path) -> None:
    charge = {"unit": "credits", "per_image": 5}
    async with keyed_house(tmp_path, {"charge": charge}) as house:
        key = await house.create(models=["other"], credits=0)
        await house.closed()
        assert (await house.generate(key)).status_code == 403


async def test_what_is_another_keys_is_not_there(tmp_path: Path) -> None:
    async with keyed_house(tmp_path) as house:
        house.upstream.play(TURN)
        mine, yours = await house.create(), await house.create(name="other")
        await house.closed()
        made = await house.post("responses", {"model": "chat", "input": "hi"}, mine)
        name = made.json()["id"]
        stranger = await house.get(f"/v1/responses/{name}", yours)
        unknown = await house.get(f"/v1/responses/{'resp_' + 'f' * len(name[5:])}", yours)
        assert stranger.status_code == unknown.status_code == 404
        assert stranger.content == unknown.content
        follow = {"model": "chat", "input": "more", "previous_response_id": name}
        assert (await house.post("responses", follow, yours)).status_code == 404
        assert house.upstream.count == 1


async def test_the_record_says_whose_key_it_was_and_rules_may_ask(tmp_path: Path) -> None:
    rules = [{"if": {"key": "blocked"}, "use": ["A"]}, {"if": {"team": "web", "tag.use": "hero"}, "use": ["A"]}]
    async with keyed_house(tmp_path, {"when": rules}) as house:
        house.upstream.play(PICTURE)
        key = await house.create(team="web", tags={"use": "hero", "cost": "9"})
        await house.closed()
        answer = await house.post("images/generations", GENERATION, key, x_request_tags="use=mine,run=7")
        assert answer.status_code == 200, answer.text
        record = await house.gateway.record(answer.headers["x-request-id"])
        [listed] = await house.keys()
        assert (record["key_id"], record["team"]) == (listed["id"], "web")
        assert record["tags"] == {"use": "hero", "run": "7", "cost": "9"}
        [row] = [row for row in house.rows("requests") if row["status"] == 200 and row["endpoint"] != "models"]
        assert (row["key_id"], row["team"]) == (listed["id"], "web")


async def test_scopes(tmp_path: Path) -> None:
    async with keyed_house(tmp_path) as house:
        use = await house.create()
        await house.closed()
        assert (await house.get("/api/keys", use)).status_code == 403
        assert (await house.get("/api/keys")).status_code == 200  # nobody rules yet, and this is its machine
        admin = await house.create(name="ops", scopes="admin")
        for _ in range(100):
            if (await house.get("/api/keys")).status_code == 401:
                break
            await asyncio.sleep(0.02)
        assert (await house.get("/api/keys")).status_code == 401
        assert (await house.get("/api/keys", use)).status_code == 403
        assert (await house.get("/api/keys", "wb-nothing")).status_code == 401
        assert (await house.get("/api/keys", admin)).status_code == 200
        refused = await house.generate(admin)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "model_not_allowed")


@pytest.mark.parametrize(
    "order",
    [
        {},
        {"name": ""},
        {"name": "x" * 1_000_000},
        {"name": "a\nb"},
        {"name": "a", "credits": -1},
        {"name": "a", "credits": 1.5},
        {"name": "a", "credits": True},
        {"name": "a", "credits": 10**18},
        {"name": "a", "budget": "20XYZ/30d"},
        {"name": "a", "budget": "20EUR/30d"},
        {"name": "a", "budget": "-20USD/30d"},
        {"name": "a", "budget": "0USD/30d"},
        {"name": "a", "budget": "20USD"},
        {"name": "a", "budget": "20USD/0d"},
        {"name": "a", "budget": 20},
        {"name": "a", "rpm": 0},
        {"name": "a", "ipm": "many"},
        {"name": "a", "scopes": "root"},
        {"name": "a", "scopes": []},
        {"name": "a", "models": ""},
        {"name": "a", "models": [1]},
        {"name": "a", "tags": {"a b": "c"}},
        {"name": "a", "expires": "soon"},
        {"name": "a", "expires": "99999999d"},
        {"name": "a", "keep": "no"},
        {"name": "a", "owner": "x"},
    ],
    ids=str,
)
async def test_an_order_that_cannot_be_is_refused_and_nothing_is_written(
    tmp_path: Path, order: dict[str, object]
) -> None:
    async with keyed_house(tmp_path) as house:
        answer = await house.client.post(f"{house.gateway.url}/api/keys", json=order)
        assert answer.status_code in {400, 413}, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert house.rows("keys") == []


@pytest.mark.parametrize("name", ["'; DROP TABLE keys; --", "%_\\", 'a"b', "ключ"])
async def test_names_are_only_names(tmp_path: Path, name: str) -> None:
    async with keyed_house(tmp_path) as house:
        await house.create(name=name, team=name)
        listed = await house.key()
        assert (listed["name"], listed["team"]) == (name, name)


@pytest.mark.parametrize("name", ["%", "key_%", "_" * 36, "' OR '1'='1"])
async def test_filters_take_names_as_they_are(tmp_path: Path, name: str) -> None:
    async with keyed_house(tmp_path) as house:
        house.upstream.play(PICTURE)
        key = await house.create()
        await house.closed()
        assert (await house.generate(key)).status_code == 200
        for field in ("key", "model", "owner", "channel"):
            answer = await house.client.get(f"{house.gateway.url}/api/requests", params={field: name})
            assert (answer.status_code, answer.json()["data"]) == (200, [])


@pytest.mark.parametrize("amount", [0, -5, 1.5, "many", None, True, 10**15])
async def test_a_credit_that_cannot_be_changes_nothing(tmp_path: Path, amount: object) -> None:
    async with keyed_house(tmp_path) as house:
        await house.create(credits=7)
        listed = await house.key()
        path = f"{house.gateway.url}/api/keys/{listed['id']}/credit"
        assert (await house.client.post(path, json={"credits": amount})).status_code == 400
        assert (await house.key())["credits"] == 7
        assert (await house.client.post(path, json={"credits": 3})).json()["credits"] == 10
        assert (await house.client.post(path.replace("key_", "yek_"), json={"credits": 3})).status_code == 404
        house.check_books()


async def test_the_official_sdk_with_a_key(tmp_path: Path) -> None:
    async with keyed_house(tmp_path) as house:
        house.upstream.play(PICTURE)
        key = await house.create(models=["pic"])
        await house.closed()
        client = openai.DefaultAsyncHttpxClient(trust_env=False)
        async with openai.AsyncOpenAI(base_url=f"{house.gateway.url}/v1", api_key=key, http_client=client) as sdk:
            assert [model.id async for model in await sdk.models.list()] == ["pic"]
            assert (await sdk.images.generate(model="pic", prompt="a cat")).data
            with pytest.raises(openai.PermissionDeniedError):
                await sdk.images.generate(model="other", prompt="a cat")
        client = openai.DefaultAsyncHttpxClient(trust_env=False)
        async with openai.AsyncOpenAI(base_url=f"{house.gateway.url}/v1", api_key="wb-no", http_client=client) as sdk:
            with pytest.raises(openai.AuthenticationError) as refused:
                await sdk.images.generate(model="pic", prompt="a cat")
        assert refused.value.code == "invalid_api_key"
        assert house.upstream.count == 1
