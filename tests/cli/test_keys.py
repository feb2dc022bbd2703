"""``waybill keys`` without a server, and the addresses a server binds with and without keys."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.cli.program import Program


def create(program: Program, *options: str) -> dict[str, Any]:
    ran = program.run("keys", "create", "--json", *options)
    assert ran.code == 0, ran.err
    found: dict[str, Any] = json.loads(ran.out)
    return found


def listed(program: Program) -> list[dict[str, Any]]:
    ran = program.run("keys", "list", "--json")
    assert ran.code == 0, ran.err
    found: list[dict[str, Any]] = json.loads(ran.out)["data"]
    return found


def test_a_key_is_made_shown_once_listed_credited_and_revoked(program: Program) -> None:
    made = create(program, "--name", "app", "--credits", "10", "--budget", "20USD/30d", "--rpm", "60", "--team", "web")
    assert set(made) == {"id", "key"}
    assert re.fullmatch(r"key_[0-9a-f]{32}", made["id"])
    assert re.fullmatch(r"wb-[A-Za-z0-9_-]{43}", made["key"])
    [key] = listed(program)
    assert (key["id"], key["name"], key["credits"], key["rpm"], key["team"]) == (made["id"], "app", 10, 60, "web")
    assert (key["budget"]["terms"], key["scopes"], key["models"]) == ("20USD/30d", ["use"], None)
    shown = program.run("keys", "list")
    assert made["id"] in shown.out
    assert made["key"] not in shown.out
    assert "app has" not in program.run("keys", "credit", made["id"], "5").out
    assert listed(program)[0]["credits"] == 15
    assert program.run("keys", "revoke", made["id"]).out == f"{made['id']} is revoked\n"
    assert program.run("keys", "revoke", made["id"]).code == 0  # again changes nothing
    assert listed(program)[0]["revoked_at"] is not None
    assert program.run("keys", "credit", made["id"], "5").code == 1
    database = (program.directory / "data" / "waybill.db").read_bytes()
    assert made["key"].encode() not in database


def test_names_need_not_be_unique_and_the_newest_is_first(program: Program) -> None:
    made = [create(program, "--name", "app")["id"] for _ in range(2)]
    assert [key["id"] for key in listed(program)] == made[::-1]


def test_every_option_reaches_the_key(program: Program) -> None:
    create(
        program,
        *("--name", "app", "--ipm", "5", "--concurrency", "2", "--models", "gpt-image-2, gpt-5.5", "--tags", "a=b,c=d"),
        *("--scopes", "use,admin", "--expires", "90d", "--no-keep"),
    )
    [key] = listed(program)
    assert (key["ipm"], key["concurrency"], key["models"]) == (5, 2, ["gpt-image-2", "gpt-5.5"])
    assert (key["tags"], key["scopes"], key["credits"]) == ({"a": "b", "c": "d"}, ["admin", "use"], None)
    assert key["expires_at"] > key["created_at"]
    assert not key["keep"]


def test_a_model_without_a_route_makes_no_key_unless_it_is_agreed_to(program: Program) -> None:
    wanted = ("keys", "create", "--name", "app", "--models", "gpt-image-9,nope")
    ran = program.run(*wanted)
    assert (ran.code, ran.out) == (2, "")
    assert "there is no route 'gpt-image-9' in routes.yaml; did you mean 'gpt-image-2'?" in ran.err
    assert "there is no route 'nope'" in ran.err
    assert "no key was made" in ran.err
    assert listed(program) == [], "the first key closes the gateway: one that was not wanted must not"
    agreed = program.run(*wanted, "--yes")
    assert agreed.code == 0
    assert "no route 'gpt-image-9' yet" in agreed.err
    assert [key["models"] for key in listed(program)] == [["gpt-image-9", "nope"]]


@pytest.mark.parametrize("columns", [60, 80, 100, 140])
def test_ids_stand_in_one_piece_at_every_width(program: Program, columns: int) -> None:
    models = "gpt-image-2,gpt-5.5"
    made = [
        create(program, "--name", "an app with a longer name", "--budget", "20USD/30d", "--models", models),
        create(program, "--name", "b", "--credits", "10", "--rpm", "60", "--ipm", "5", "--expires", "90d"),
    ]
    out = program.run("keys", "list", COLUMNS=str(columns)).out
    assert max(len(line) for line in out.splitlines()) <= columns
    for key in made:
        assert key["id"] in out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--name", "a", "--credits", "-1"], "--credits must be a whole number"),
        (["--name", "a", "--credits", "1.5"], "credits must be a whole number"),
        (["--name", "a", "--budget", "20XYZ/30d"], "a currency that prices are in: USD"),
        (["--name", "a", "--budget", "20"], "--budget must be an amount, a currency and a window, like 20USD/30d"),
        (["--name", "x" * 100_000], "name must be one line"),
        (["--name", ""], "name must be one line"),
        (["--name", "a", "--rpm", "0"], "rpm must be a whole number"),
        (["--name", "a", "--expires", "never"], "expires must be a time"),
        (["--name", "a", "--scopes", "root"], "scopes must be use, admin or both"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(program: Program, options: list[str], said: str) -> None:
    ran = program.run("keys", "create", *options)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
    assert listed(program) == []


@pytest.mark.parametrize("amount", ["0", "1.5", "many", "9" * 20])
def test_a_credit_that_cannot_be_changes_nothing(program: Program, amount: str) -> None:
    made = create(program, "--name", "app", "--credits", "3")
    assert program.run("keys", "credit", made["id"], amount).code == 2
    assert program.run("keys", "credit", "key_none", "1").code == 1
    assert listed(program)[0]["credits"] == 3


def test_an_address_that_others_reach_is_bound_only_with_a_good_key(program: Program, tmp_path: Path) -> None:
    refused = program.run("serve", "--host", "0.0.0.0", "--port", "0")
    assert refused.code == 2
    assert "waybill keys create" in refused.err
    made = create(program, "--name", "app")
    program.run("keys", "revoke", made["id"])
    assert program.run("serve", "--host", "0.0.0.0", "--port", "0").code == 2
    assert (tmp_path / "data" / "waybill.db").exists()
