"""``adopt``: a picture from elsewhere, in the ledger, the store and the sums, by the real program."""

import asyncio
import json
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.cli.program import Program, Ran
from tests.cli.test_image import SANDBOX
from tests.fakes import answers
from tests.fakes.gateway import NO_TLS, running_gateway
from tests.servers.postgres import Postgres

WHO = ("--owner", "codex", "--billing", "Codex credits")


@pytest.fixture
def place(bare: Program) -> Program:
    """The program beside a routes file, a picture and what it was made from."""
    (bare.directory / "routes.yaml").write_text(SANDBOX)
    (bare.directory / "hero.png").write_bytes(answers.png(64, 48))
    (bare.directory / "fox.png").write_bytes(answers.png(32, 32, seed=7))
    return bare


def adopted(program: Program, *arguments: str) -> dict[str, Any]:
    ran = program.run("adopt", *arguments, *WHO, "--json")
    assert (ran.code, ran.err) == (0, "")
    found: dict[str, Any] = json.loads(ran.out)
    return found


def test_its_owner_its_bill_and_its_cost_stand_beside_the_others(place: Program) -> None:
    ran = place.run("adopt", "hero.png", *WHO, "--cost", "12 CREDITS", "--prompt", "a fox", "--model", "gpt-5.5")
    assert ran.code == 0
    first, *rest = ran.out.splitlines()
    assert first.startswith("ast_")
    assert first.endswith("  64x48 png, 1 kB")
    assert rest[:2] == ["made by codex, on Codex credits", "cost 12.000000 CREDITS, per image"]
    adopted(place, "fox.png", "--cost", "0.04")
    [row] = json.loads(place.run("usage", "--json").out)["data"]
    assert (row["owner"], row["requests"], row["images"], row["missing_price_requests"]) == ("codex", 2, 2, 0)
    assert {(one["currency"], one["amount_micro"], one["state"]) for one in row["cost"]} == {
        ("CREDITS", 12_000_000, "exact"),
        ("USD", 40_000, "exact"),
    }
    newest = json.loads(place.run("logs", "--json", "--model", "gpt-5.5").out)
    assert (newest["endpoint"], newest["route_owner"], newest["billing"]) == ("adopt", "codex", "Codex credits")
    assert newest["request_shape"]["prompt_chars"] == 5
    assert "prompt" not in newest["request_shape"]


def test_without_a_cost_it_is_missing_and_not_zero(place: Program) -> None:
    shown = place.run("adopt", "hero.png", *WHO)
    assert "cost not told, so it is missing" in shown.out
    [row] = json.loads(place.run("usage", "--json").out)["data"]
    assert (row["missing_price_requests"], row["cost"]) == (1, [])


def test_its_lineage_and_its_waybill(place: Program) -> None:
    parent = adopted(place, "fox.png")["asset"]["asset_id"]
    child = adopted(place, "hero.png", "--parent", parent, "--tag", "repo=site", "--sidecar", "--rights", "ours")
    assert child["asset"]["parents"] == [{"asset_id": parent, "role": "image"}]
    note = json.loads((place.directory / "hero.png.waybill.json").read_text())
    assert (note["file"], note["sha256"]) == ("hero.png", child["asset"]["sha256"])
    assert (note["tags"], note["output_rights"]) == ({"repo": "site"}, "ours")
    assert note["result"]["images"][0]["asset_id"] == child["asset"]["asset_id"]
    assert note["request_shape"]["input_images"][0]["asset_id"] == parent
    kept = Path(child["asset"]["path"])
    assert kept.read_bytes() == (place.directory / "hero.png").read_bytes()
    assert not kept.samefile(place.directory / "hero.png")


def test_the_same_bytes_once(place: Program) -> None:
    first = adopted(place, "hero.png")["asset"]["asset_id"]
    again = place.run("adopt", "hero.png", *WHO)
    assert again.code == 2
    assert again.err == f"waybill: hero.png is kept already, as {first}: --again adopts it once more\n"
    assert adopted(place, "hero.png", "--again")["asset"]["asset_id"] != first


async def test_beside_a_running_server(tmp_path: Path) -> None:
    program = Program(directory=tmp_path)
    (tmp_path / "hero.png").write_bytes(answers.png(64, 48))
    async with (
        running_gateway(SANDBOX, tmp_path) as gateway,
        httpx2.AsyncClient(timeout=30, trust_env=False, verify=NO_TLS, base_url=gateway.url) as client,
    ):
        ran: Ran = await asyncio.to_thread(program.run, "adopt", "hero.png", *WHO, "--json")
        assert ran.code == 0, ran.err
        told = json.loads(ran.out)
        asset = (await client.get(f"/api/assets/{told['asset']['asset_id']}")).json()
        assert (asset["sha256"], asset["request_id"]) == (told["asset"]["sha256"], told["record"]["request_id"])
        picture = await client.get(asset["url"])
        assert picture.content == (tmp_path / "hero.png").read_bytes()
        record = (await client.get(f"/api/requests/{asset['request_id']}")).json()
        assert record["endpoint"] == "adopt"


def test_into_postgres_and_an_object_store(tmp_path: Path, postgres: Postgres) -> None:
    moto: Any = import_module("moto.server")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        httpx2.put(f"http://{host}:{port}/pictures", trust_env=False, verify=NO_TLS)
        store = f"s3://pictures/a?endpoint=http://{host}:{port}&region=us-east-1"
        storage = f"storage: {{database: '{postgres.new_database()}', assets: '{store}'}}\n"
        keys = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret"}
        program = Program(directory=tmp_path, env=keys)
        (tmp_path / "routes.yaml").write_text(f"{SANDBOX}{storage}")
        (tmp_path / "hero.png").write_bytes(answers.png(64, 48))
        told = adopted(program, "hero.png", "--cost", "12 CREDITS")
        assert told["asset"]["path"].startswith("s3://pictures/a/")
        [row] = json.loads(program.run("usage", "--json").out)["data"]
        assert (row["owner"], row["images"], row["cost"][0]["amount_micro"]) == ("codex", 1, 12_000_000)
        server.stop()
        down = program.run("adopt", "hero.png", "--again", *WHO)
        assert (down.code, down.out) == (1, "")
        assert down.err.startswith("waybill: it is not kept: ")
        [row] = json.loads(program.run("usage", "--json").out)["data"]
        assert row["requests"] == 1
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere.png", *WHO), "cannot read nowhere.png: No such file or directory"),
        (("routes.yaml", *WHO), "routes.yaml is no picture"),
        (("hero.png", "--owner", "", "--billing", "x"), "--owner must not be empty"),
        (("hero.png", "--owner", "öwner", "--billing", "x"), "--owner must be ASCII"),
        (("hero.png", *WHO, "--cost", "free"), "--cost takes an amount"),
        (("hero.png", *WHO, "--cost", "-1"), "--cost takes an amount"),
        (("hero.png", *WHO, "--parent", "ast_0"), "there is no kept picture ast_0"),
        (("hero.png", *WHO, "--tag", "repo"), "--tag takes NAME=VALUE"),
    ],
)
def test_wrong_words_keep_nothing(place: Program, arguments: tuple[str, ...], said: str) -> None:
    ran = place.run("adopt", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
    assert json.loads(place.run("assets", "list", "--json").out) == {"data": []}
