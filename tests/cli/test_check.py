"""``check``: the table when the file is good, one line for each mistake when it is not."""

import json

from tests.cli.program import ROUTES, Program


def test_the_packaged_file_is_good(bare: Program) -> None:
    ran = bare.run("check")
    assert (ran.code, ran.err) == (0, "")
    assert "OPENAI_API_KEY is not set" in ran.out


def test_rows_and_routes(program: Program) -> None:
    ran = program.run("check", OPENAI_API_KEY="sk-planted")
    assert (ran.code, ran.err) == (0, "")
    lines = [" ".join(line.split()) for line in ran.out.splitlines()]
    assert "openai openai direct gpt-image-2 gpt-image-2-2026-04-21 generations, edits ready" in lines
    assert "laozhang laozhang.ai gateway gpt-image-2 gpt-image-2 generations LAOZHANG_API_KEY is not set" in lines
    assert any(line.startswith("sandbox sandbox sandbox gpt-image-2") and "asleep" in line for line in lines)
    assert "sk-planted" not in ran.out


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
    }
    assert document["routes"][0]["targets"][1] == {
        "channel": "laozhang",
        "row": "gpt-image-2",
        "unusable": "no_credentials",
    }


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
