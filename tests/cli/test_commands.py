"""What holds for every command: version, help, unknown words, where settings come from."""

import json

import pytest

from gateway import __version__
from tests.cli.program import Program


def test_version_and_help(bare: Program) -> None:
    assert bare.run("--version").out == f"waybill {__version__}\n"
    shown = bare.run("--help")
    assert shown.code == 0
    for command in ("serve", "check", "explain", "logs", "schema", "health"):
        assert command in shown.out


def test_a_command_that_is_not_built_does_not_exist(bare: Program) -> None:
    ran = bare.run("dashboard")
    assert (ran.code, ran.out) == (2, "")
    assert "No such command 'dashboard'" in ran.err


def test_wrong_usage_is_2(bare: Program) -> None:
    assert bare.run("check", "--nonsense").code == 2
    assert bare.run("explain", "--endpoint", "chat/completions").code == 2


def test_schema_is_json(bare: Program) -> None:
    ran = bare.run("schema")
    assert ran.code == 0
    assert {"channels", "routes"} <= set(json.loads(ran.out)["properties"])


def test_a_bad_variable_stops_a_command(bare: Program) -> None:
    ran = bare.run("check", WAYBILL_PORT="eight")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("environment: WAYBILL_PORT: ")
    assert "eight" not in ran.err


def test_flag_over_environment_over_default(program: Program) -> None:
    file = program.directory / "routes.yaml"
    for name in ("flag.yaml", "env.yaml"):
        (program.directory / name).write_text(file.read_text())

    def path(*arguments: str, **env: str) -> str:
        return str(json.loads(program.run("check", "--json", *arguments, **env).out)["path"])

    assert path("--config", "flag.yaml", WAYBILL_CONFIG="env.yaml") == "flag.yaml"
    assert path(WAYBILL_CONFIG="env.yaml") == "env.yaml"
    assert path(WAYBILL_CONFIG="") == "routes.yaml"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("serve", "--port", "abc"), "'--port': must be a whole number."),
        (("serve", "--port", "65536"), "'--port': must be 65535 or less."),
        (("logs", "-n", "0"), "'--limit' / '-n': must be 1 or more."),
        (("assets", "list", "--verdict", "foo"), "'--verdict': must be one of 'accepted', 'rejected'."),
        (("explain", "-e", "foo"), "must be one of 'images/generations', 'images/edits', 'responses'."),
        (("image", "a fox", "-o", "a.png", "--timeout", "soon"), "'--timeout': must be a number."),
    ],
)
def test_a_value_that_cannot_be_is_refused_in_our_words(
    program: Program, arguments: tuple[str, ...], said: str
) -> None:
    ran = program.run(*arguments, COLUMNS="140")
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
    for word in ("Input", "Value error", "parse"):
        assert word not in ran.err
