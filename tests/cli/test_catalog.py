"""``catalog``: a router's price list over a real socket, against the rows of a real file, by the real program."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.config import load
from gateway.core.types import Surface
from gateway.core.verification import Verification, proof_of
from gateway.stores.ledger_sql import upgrade_ledger
from gateway.stores.verified_sql import record_verification
from tests.cli.program import Program, Ran
from tests.fakes.router import CatalogRouter, catalog_router, flat, listed

ROUTES = """\
# yaml-language-server: $schema=routes.schema.json
version: 1
channels:
  router:   # whose catalog it is
    owner: flatkey.ai
    kind: gateway
    base_url: {url}
    api_key: sk-secret
    rows:
      # the first one
      gpt-image-2: {{serves: [images/generations], price: {{unit: per_image, amount: 0.03}}}}   # as agreed
      aged:
        model: gpt-image-1.5
        serves:
          - images/generations

  # the second
  other:
    owner: laozhang.ai
    kind: gateway
    base_url: {url}
    api_key: sk-secret
    rows: {{gpt-image-2: {{serves: [images/generations]}}}}
routes:
  gpt-image-2: {{targets: [router, other]}}
"""


def beside(router: CatalogRouter, directory: Path) -> Program:
    (directory / "routes.yaml").write_text(ROUTES.format(url=router.url))
    return Program(directory=directory)


def told(ran: Ran) -> dict[str, dict[str, Any]]:
    return {model["model"]: model for model in json.loads(ran.out)["models"]}


def test_rows_are_held_against_the_list(tmp_path: Path) -> None:
    with catalog_router(flat("gpt-image-2", 0.035), listed("gpt-image-2.5-flare"), listed("gpt-5.5")) as router:
        router.rows[2]["supported_endpoint_types"] = ["openai", "openai-response"]
        ran = beside(router, tmp_path).run("catalog", "diff", "router", "--json")
        assert (ran.code, ran.err) == (1, "")
        models = told(ran)
        assert list(models) == ["gpt-image-2", "gpt-image-1.5", "gpt-image-2.5-flare"]
        assert models["gpt-image-2"] == {
            "model": "gpt-image-2",
            "row": "gpt-image-2",
            "standing": "changed",
            "price": "0.03 USD per picture",
            "listed": {"unit": "per_image", "amount": 0.035},
            "claims": ["images/generations"],
            "endpoint_types": ["image-generation"],
            "verified": [],
            "failed": [],
            "flags": ["flat_on_tokens"],
        }
        assert (models["gpt-image-1.5"]["row"], models["gpt-image-1.5"]["standing"]) == ("aged", "vanished")
        assert models["gpt-image-2.5-flare"]["standing"] == "new"
        [(path, headers)] = router.asked
        assert path == "/api/pricing"
        assert "authorization" not in {name.lower() for name in headers}


def test_rows_that_agree_are_0(tmp_path: Path) -> None:
    with catalog_router(flat("gpt-image-2", 0.025)) as router:
        router.groups = {"default": 1, "vip": 1.2}
        program = beside(router, tmp_path)
        ran = program.run("catalog", "diff", "router", "-m", "gpt-image-2", "--group", "vip", "--json")
        assert (ran.code, told(ran)["gpt-image-2"]["standing"]) == (0, "same")
        document = json.loads(ran.out)
        assert (document["differs"], document["group"], document["group_ratio"]) == (False, "vip", 1.2)
        assert "not_in_group" in told(ran)["gpt-image-2"]["flags"]
        shown = program.run("catalog", "diff", "router", "-m", "gpt-image-2", "--group", "vip")
        assert "as listed" in shown.out
        narrow = program.run("catalog", "diff", "router", COLUMNS="80")
        assert all(len(line) <= 80 for line in narrow.out.splitlines()[1:])


@pytest.mark.parametrize(
    ("row", "flag"),
    [
        (listed("gpt-image-2", model_ratio=37.5), "default_ratio"),
        (listed("gpt-image-2", completion_ratio=2), "default_completion"),
        (listed("gpt-image-2", completion_ratio=0), "no_completion"),
        (listed("gpt-image-2", completion_ratio=None), "no_price"),
        (flat("gpt-image-2", 0), "no_price"),
        (flat("gpt-image-2", 0.03), "flat_on_tokens"),
        (listed("gpt-image-2", billing_mode="tiered_expr"), "tiered"),
        (listed("gpt-image-2-all"), "bundle"),
        (listed("gpt-image-2", enable_groups=["vip"]), "not_in_group"),
        (listed("gpt-image-2", supported_endpoint_types=["openai"]), "no_image_surface"),
    ],
)
def test_what_is_odd_is_flagged(tmp_path: Path, row: dict[str, Any], flag: str) -> None:
    file = tmp_path / "pricing.json"
    file.write_text(json.dumps({"success": True, "data": [row], "group_ratio": {"default": 1}}))
    (tmp_path / "routes.yaml").write_text(ROUTES.format(url="https://router.invalid/v1"))
    ran = Program(directory=tmp_path).run("catalog", "diff", "router", "--file", "pricing.json", "--json")
    assert flag in told(ran)[row["model_name"]]["flags"]


def test_a_list_that_changes_is_told(tmp_path: Path) -> None:
    with catalog_router(flat("gpt-image-2", 0.03), listed("gpt-image-1.5"), flat("gone", 1)) as router:
        program = beside(router, tmp_path)
        first = program.run("catalog", "diff", "router", "--json")
        assert json.loads(first.out)["pricing_version_changed"] is False
        assert told(first)["gpt-image-2"]["flags"] == ["flat_on_tokens"]
        router.rows = [flat("gpt-image-2", 0.04), listed("gpt-image-1.5"), listed("gpt-image-2.6-flare")]
        router.version = "v2"
        second = program.run("catalog", "diff", "router", "--json")
        document = json.loads(second.out)
        assert (second.code, document["pricing_version_changed"], document["vanished"]) == (1, True, ["gone"])
        assert "price_changed" in told(second)["gpt-image-2"]["flags"]
        assert told(second)["gpt-image-2.6-flare"]["flags"] == ["is_new"]
        third = program.run("catalog", "diff", "router")
        assert "the list's version" not in third.out
        assert (
            json.loads((tmp_path / "data" / "catalog" / "router.json").read_text())["list"]["pricing_version"] == "v2"
        )


def test_import_adds_rows_and_nothing_else(tmp_path: Path) -> None:
    rows = (
        listed("gpt-image-2.6-flare", completion_ratio=2),
        flat("flux-pro-all", 0.02),
        listed("vip-image", enable_groups=["vip"]),
    )
    with catalog_router(*rows) as router:
        program = beside(router, tmp_path)
        file = tmp_path / "routes.yaml"
        before = file.read_text()
        file.chmod(0o640)
        ran = program.run("catalog", "import", "router", "--yes")
        assert ran.code == 0
        assert ran.err == "2 rows written into routes.yaml; the old file is routes.yaml.bak\n"
        added = [line for line in file.read_text().splitlines() if line not in before.splitlines()]
        assert [line.strip().partition(":")[0] for line in added if "#" not in line] == [
            "gpt-image-2.6-flare",
            "flux-pro-all",
        ]
        assert [line for line in file.read_text().splitlines() if line not in added] == before.splitlines()
        assert (tmp_path / "routes.yaml.bak").read_text() == before
        assert file.stat().st_mode & 0o777 == 0o640
        assert "      # completion ratio 2 is what a router assumes when nobody has set one" in added
        checked = json.loads(program.run("check", "--json").out)
        made = {row["name"]: row for row in checked["channels"][0]["rows"]}
        assert made["gpt-image-2.6-flare"]["price"]["unit"] == "ratio"
        assert made["flux-pro-all"]["price"]["unit"] == "per_image"
        again = program.run("catalog", "import", "router", "--yes")
        assert (again.code, again.err) == (0, "")
        assert "Every model of the list that makes pictures has a row." in again.out
        assert program.run("catalog", "diff", "router", "--json", "-m", "flux-pro-all").code == 0


def test_what_smoke_runs_found_stands_beside_what_is_claimed(tmp_path: Path) -> None:
    with catalog_router(flat("gpt-image-2", 0.03)) as router:
        program = beside(router, tmp_path)
        loaded = load(tmp_path / "routes.yaml", env={}, data_dir=tmp_path / "data", sandbox_allowed=True)
        assert not isinstance(loaded, list)
        channel = loaded.table.channels["router"]
        upgrade_ledger(loaded.settings.database)
        for surface, passed in ((Surface.GENERATIONS, True), (Surface.EDITS, False)):
            proof = proof_of(channel, channel.rows["gpt-image-2"], surface)
            verification = Verification(proof=proof, at=datetime.now(UTC), passed=passed)
            record_verification(loaded.settings.database, verification)
        ran = program.run("catalog", "diff", "router", "-m", "gpt-image-2", "--json")
        model = told(ran)["gpt-image-2"]
        assert (model["claims"], model["verified"], model["failed"]) == (
            ["images/generations"],
            ["images/generations"],
            ["images/edits"],
        )
        shown = " ".join(program.run("catalog", "diff", "router", "-m", "gpt-image-2").out.split())
        assert "verified generations" in shown
        assert "failed edits" in shown


def test_the_channel_says_which_group_it_is_in(tmp_path: Path) -> None:
    with catalog_router(listed("gpt-image-2.6-flare", enable_groups=["vip"])) as router:
        router.groups = {"default": 1, "vip": 0.8}
        program = beside(router, tmp_path)
        file = tmp_path / "routes.yaml"
        file.write_text(file.read_text().replace("    owner: flatkey.ai\n", "    owner: flatkey.ai\n    group: vip\n"))
        ran = program.run("catalog", "import", "router", "--yes", "--json")
        [written] = json.loads(ran.out)["written"]
        assert "group_ratio: 0.8" in written["text"]


def test_import_into_braces_and_of_a_named_model(tmp_path: Path) -> None:
    with catalog_router(listed("gpt-5.5", supported_endpoint_types=["openai-response"])) as router:
        program = beside(router, tmp_path)
        ran = program.run("catalog", "import", "other", "-m", "gpt-5.5", "--yes", "--json")
        assert (ran.code, json.loads(ran.out)["written"][0]["row"]) == (0, "gpt-5.5")
        text = (tmp_path / "routes.yaml").read_text()
        assert "rows: {gpt-5.5: {serves: [responses], price: {unit: ratio, " in text
        assert "require: verified}, gpt-image-2: {serves: [images/generations]}}" in text
        nobody = program.run("catalog", "import", "other", "-m", "gpt-9", "--yes")
        assert (nobody.code, nobody.err) == (1, "waybill: the list has no gpt-9\n")


def test_nothing_is_written_unasked(tmp_path: Path) -> None:
    with catalog_router(listed("gpt-image-2.6-flare")) as router:
        program = beside(router, tmp_path)
        before = (tmp_path / "routes.yaml").read_text()
        ran = program.run("catalog", "import", "router")
        assert ran.code == 2
        assert "gpt-image-2.6-flare: {serves: [images/generations]" in ran.out
        assert ran.err == "waybill: nothing was written: run it in a terminal to be asked, or add --yes\n"
        assert (tmp_path / "routes.yaml").read_text() == before


def test_rows_behind_an_alias_are_left_alone(tmp_path: Path) -> None:
    with catalog_router(listed("gpt-image-2.6-flare")) as router:
        program = beside(router, tmp_path)
        file = tmp_path / "routes.yaml"
        text = (
            file.read_text().replace("    rows:\n", "    rows: &mine\n").replace("rows: {gpt-image-2:", "rows: *mine #")
        )
        file.write_text(text)
        alias = program.run("catalog", "import", "other", "--yes")
        assert alias.code == 2
        assert "the rows of 'other' are not written out in routes.yaml" in alias.err
        anchor = program.run("catalog", "import", "router", "--yes")
        assert anchor.code == 2
        assert "more than the new rows would have changed" in anchor.err
        assert file.read_text() == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "it is not a JSON object"),
        ("{", "it is not a JSON object"),
        ('{"success": false, "message": "not today"}', "the router refused it: not today"),
        ('{"data": {}}', "it has no rows under 'data'"),
    ],
)
def test_what_is_no_list(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "routes.yaml").write_text(ROUTES.format(url="https://router.invalid/v1"))
    ran = Program(directory=tmp_path).run("catalog", "diff", "router", "--file", "-", stdin=text)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == f"waybill: - holds no price list: {said}\n"


def test_wrong_words(tmp_path: Path, program: Program) -> None:
    assert program.run("catalog", "diff", "nobody").err.startswith("waybill: there is no channel 'nobody' in ")
    assert program.run("catalog", "diff", "sandbox").err == "waybill: the sandbox has no price list\n"
    lost = program.run("catalog", "diff", "laozhang", "--from", "http://127.0.0.1:9/api/pricing")
    assert (lost.code, lost.err) == (
        1,
        "waybill: http://127.0.0.1:9/api/pricing cannot be reached: connection refused\n",
    )
    missing = program.run("catalog", "diff", "laozhang", "--file", "nowhere.json")
    assert (missing.code, missing.err) == (2, "waybill: cannot read nowhere.json: No such file or directory\n")
    with catalog_router() as router:
        router.status = 500
        ran = beside(router, tmp_path).run("catalog", "diff", "router")
        assert ran.code == 1
        assert "answered 500" in ran.err


def test_the_shipped_file_is_not_written(bare: Program) -> None:
    (bare.directory / "pricing.json").write_text(json.dumps({"data": [listed("gpt-image-2.6-flare")]}))
    ran = bare.run("catalog", "import", "openai", "--file", "pricing.json", "--yes")
    assert ran.code == 2
    assert "is the shipped file: copy it to ./routes.yaml first" in ran.err


def test_a_price_by_the_token_is_said_per_million_of_them(tmp_path: Path) -> None:
    with catalog_router(listed("gpt-image-2")) as router:
        out = beside(router, tmp_path).run("catalog", "diff", "router", "-m", "gpt-image-2", COLUMNS="200").out
    assert re.search(r"[0-9.]+ USD in, [0-9.]+ USD out per 1M tokens", out)
