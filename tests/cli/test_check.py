"""``check``: the table when the file is good, one line for each mistake when it is not."""

import json

import pytest

from gateway.cli.wording import price
from gateway.config.price_blocks import PriceBlock
from gateway.config.prices import prices
from gateway.core.types import JsonObject
from tests.cli.program import REPOSITORY, ROUTES, Program


def test_the_packaged_file_is_good(bare: Program) -> None:
    ran = bare.run("check")
    assert (ran.code, ran.err) == (0, "")
    assert "OPENAI_API_KEY is not set" in ran.out


def test_rows_and_routes(program: Program) -> None:
    ran = program.run("check", OPENAI_API_KEY="sk-planted")
    assert (ran.code, ran.err) == (0, "")
    lines = [" ".join(line.split()) for line in ran.out.splitlines()]
    assert "openai openai direct gpt-image-2 gpt-image-2-2026-04-21 generations, edits no price ready" in lines
    who = "laozhang laozhang.ai gateway gpt-image-2 gpt-image-2"
    assert any(line.startswith(f"{who} generations 0.03 USD per") and "LAOZHANG_API_KEY" in line for line in lines)
    assert any(line.startswith("sandbox sandbox sandbox gpt-image-2") and "asleep" in line for line in lines)
    assert "sk-planted" not in ran.out


def test_the_price_of_each_row_is_shown_and_a_missing_one_is_said(program: Program) -> None:
    ran = program.run("check")
    (said,) = [line for line in ran.out.splitlines() if line.startswith("Rows without a price")]
    assert said == "Rows without a price, whose cost is unknown: openai/gpt-image-2."
    assert "openai/gpt-5.5" in ran.out
    document = json.loads(program.run("check", "--json").out)
    prices = {row["name"]: row["price"] for channel in document["channels"] for row in channel["rows"]}
    assert prices["gpt-5.5"]["unit"] == "tokens"
    assert prices["gpt-5.5"]["id"].startswith("openai/gpt-5.5@20")
    shipped = program.run("check", "--config", str(REPOSITORY / "routes.yaml"))
    assert (shipped.code, "Rows without" in shipped.out) == (0, False)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"unit": "per_image", "amount": "0.02"}, "0.02 USD per picture"),
        ({"unit": "per_image_matrix", "currency": "CNY", "matrix": {"1K": {"*": 1}}}, "by size and quality, CNY"),
        ({"unit": "upstream_reported"}, "as reported, USD"),
        ({"unit": "tokens", "input": 1, "output": 2}, "by token, USD"),
        ({"unit": "ratio", "model_ratio": 1, "completion_ratio": 2}, "by ratio, USD"),
    ],
)
def test_a_price_that_is_written_out_is_said_in_words(written: JsonObject, said: str) -> None:
    assert price(prices().of_row("c/r@1", PriceBlock.model_validate(written))) == said


def test_a_row_that_waits_for_a_smoke_run_is_not_ready(program: Program) -> None:
    text = ROUTES.replace("{model: gpt-image-2-2026-04-21, ", "{require: verified, model: gpt-image-2-2026-04-21, ")
    bounds = "max_cost: 1USD, downgrade: [{on: timeout, set: {quality: low}}], on_failure: {timeout: next}, targets: ["
    (program.directory / "routes.yaml").write_text(text.replace("{targets: [", f"{{{bounds}", 1))
    ran = program.run("check", OPENAI_API_KEY="sk-1")
    assert "not verified" in ran.out
    assert "at most 1 USD" in ran.out
    assert "after timeout: quality low, next target" in ran.out
    document = json.loads(program.run("check", "--json", OPENAI_API_KEY="sk-1").out)
    assert document["channels"][0]["rows"][0]["not_verified"] == ["images/generations", "images/edits"]
    assert document["routes"][0]["max_cost"] == "1.000000 USD"
    assert document["routes"][0]["downgrade"] == [{"on": "timeout", "set": {"quality": "low"}, "same": False}]


def test_a_narrow_terminal_loses_nothing(program: Program) -> None:
    ran = program.run("check", COLUMNS="80")
    assert max(len(line) for line in ran.out.splitlines()) <= 80
    assert "as gpt-image-2-2026-04-21" in ran.out
    assert "openai, direct" in ran.out
    assert "\x1b" not in ran.out


def test_no_target_is_said(program: Program) -> None:
    assert "answered 503" in program.run("check", WAYBILL_HOST="0.0.0.0").out
    assert "answered 503" not in program.run("check", "--sandbox", WAYBILL_HOST="0.0.0.0").out


def test_json(program: Program) -> None:
    document = json.loads(program.run("check", "--json", OPENAI_API_KEY="sk-planted").out)
    assert document["ok"] is True
    openai = document["channels"][0]
    assert (openai["name"], openai["ready"], openai["host"]) == ("openai", True, "api.openai.com")
    assert openai["rows"][0] == {
        "name": "gpt-image-2",
        "model": "gpt-image-2-2026-04-21",
        "serves": ["images/edits", "images/generations"],
        "contract": "gpt-image-2",
        "mode": "enforce",
        "price": None,
        "require": None,
        "not_verified": [],
    }
    assert document["routes"][0]["targets"][1] == {
        "channel": "laozhang",
        "row": "gpt-image-2",
        "unusable": "no_credentials",
        "weight": 1,
        "substitute": False,
    }


RULED = ROUTES.replace(
    "default_for: [images/generations]}",
    "policy: weighted, when: [{if: {n: 99}, use: [openai]}, {if: {n: 2}, use: [openai]}]}",
).replace(
    "[openai, laozhang, sandbox]", "[{channel: openai, weight: 3}, {channel: laozhang, substitute: true}, sandbox]"
)


def test_a_rule_that_can_never_match_is_a_warning_and_no_mistake(program: Program) -> None:
    (program.directory / "routes.yaml").write_text(RULED)
    ran = program.run("check", OPENAI_API_KEY="sk-1", LAOZHANG_API_KEY="sk-2")
    assert ran.code == 0
    (said,) = [line for line in ran.out.splitlines() if line.startswith("Warning")]
    assert said.endswith("routes.gpt-image-2.when[0]: can never match: 'n' is never so: the API takes 1 to 10")
    assert "openai  ready  weight 3" in ran.out
    assert "laozhang  ready  substitute" in ran.out
    document = json.loads(program.run("check", "--json").out)
    assert [warning["path"] for warning in document["warnings"]] == ["routes.gpt-image-2.when[0]"]
    assert (document["routes"][0]["policy"], document["routes"][0]["rules"]) == ("weighted", 2)


def test_every_mistake_has_its_place(bare: Program) -> None:
    text = (
        ROUTES.replace("kind: gateway", "kind: gatewy").replace("[openai]}", "[opnai]}").replace("owner: sandbox", "")
    )
    (bare.directory / "routes.yaml").write_text(text)
    ran = bare.run("check")
    assert (ran.code, ran.out) == (2, "")
    lines = ran.err.splitlines()
    assert len(lines) == 3
    assert [line.split(":")[0] for line in lines] == ["routes.yaml"] * 3
    assert lines[0].startswith("routes.yaml:13:11: channels.laozhang.kind: ")
    document = json.loads(bare.run("check", "--json").out)
    assert document["ok"] is False
    first = document["mistakes"][0]
    assert (first["line"], first["column"], first["path"]) == (13, 11, "channels.laozhang.kind")


def test_a_file_that_is_not_there(bare: Program) -> None:
    ran = bare.run("check", "--config", "nowhere.yaml")
    assert ran.code == 2
    assert ran.err.startswith("nowhere.yaml:1:1: ")


def test_a_model_that_retires_is_a_warning(program: Program) -> None:
    text = ROUTES.replace("model: gpt-image-2-2026-04-21", "model: gpt-image-1.5")
    (program.directory / "routes.yaml").write_text(
        text.replace("gpt-image-1.5,", "gpt-image-1.5, contract: {retired_on: 2026-01-01},")
    )
    ran = program.run("check")
    assert ran.code == 0
    assert "the model gpt-image-1.5 answers no more since 2026-01-01" in " ".join(ran.out.split())
    (row,) = json.loads(program.run("check", "--json").out)["retiring"]
    assert row == {
        "target": "openai/gpt-image-2",
        "model": "gpt-image-1.5",
        "retired_on": "2026-01-01",
        "over": True,
    }


def test_a_channel_that_no_route_names_is_told_of(program: Program) -> None:
    assert "no route names" not in program.run("check").out
    (program.directory / "routes.yaml").write_text(ROUTES.replace("[openai, laozhang, sandbox]", "[openai, sandbox]"))
    ran = program.run("check")
    assert (ran.code, ran.err) == (0, "")
    assert "Channels that no route names, so that no request goes there: laozhang." in ran.out
    assert json.loads(program.run("check", "--json").out)["unrouted"] == ["laozhang"]


def test_an_extra_that_is_not_installed_is_told_of(program: Program) -> None:
    stores = "{database: 'postgresql://u:geheim@h/d', shared: 'redis://:geheim@h', assets: 's3://pictures/x'}"
    (program.directory / "routes.yaml").write_text(f"{ROUTES}storage: {stores}\n")
    assert "will not start" not in program.run("check").out
    assert json.loads(program.run("check", "--json").out)["missing_extras"] == []
    hidden = "import sys\nsys.modules.update(dict.fromkeys(('psycopg', 'redis', 'obstore')))\n"
    (program.directory / "sitecustomize.py").write_text(hidden)
    without = f"{program.directory}:{REPOSITORY}"
    ran = program.run("check", PYTHONPATH=without)
    assert ran.code == 0
    for path, extra in (("database", "postgres"), ("shared", "redis"), ("assets", "s3")):
        said = f"storage.{path} needs the extra {extra}, which is not installed: .venv/bin/pip install -e '.[{extra}]'"
        assert f"`waybill serve` will not start: {said}" in ran.out
    assert "geheim" not in ran.out
    missing = json.loads(program.run("check", "--json", PYTHONPATH=without).out)["missing_extras"]
    assert missing[0] == {
        "extra": "postgres",
        "path": "storage.database",
        "install": ".venv/bin/pip install -e '.[postgres]'",
    }
    served = program.run("serve", "--port", "0", PYTHONPATH=without)
    assert served.code == 1
    assert served.err.endswith("install the extra, .venv/bin/pip install -e '.[postgres]'\n")
