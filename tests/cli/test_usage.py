"""``usage``: a real ledger, summed up by the real program."""

import json
from fractions import Fraction
from pathlib import Path

import pytest
from msgspec.structs import replace

from gateway.core.money import Cost, billed, exposed, line
from gateway.core.prices import Item
from gateway.stores.ledger_sql import open_ledger
from tests.cli.program import Program
from tests.stores.conftest import beside
from tests.stores.rows import attempt, request, result, settlement


def cost(micro: int, currency: str = "USD") -> Cost:
    return billed([line(Item.IMAGE_OUT, 1, Fraction(micro), currency, "p")], unit="tokens", exact=True)


async def filled(directory: Path) -> None:
    directory.mkdir()
    ledger = open_ledger(f"sqlite:///{directory / 'waybill.db'}", serve=True)
    await ledger.begin(request(1), attempt(1))
    await ledger.begin(None, attempt(1, 2))
    lost = replace(result(1, failure="timeout", outcome="unknown"), cost=exposed(cost(70_000)))
    await ledger.settle(replace(settlement(1, lost, replace(result(1, 2), cost=cost(52_680))), images=1))
    await ledger.begin(request(2), attempt(2, owner="cn"))
    await ledger.settle(settlement(2, replace(result(2), cost=cost(300_000, "CNY")), owner="cn"))
    await ledger.begin(request(3), attempt(3))
    await ledger.settle(settlement(3, result(3)))
    ledger.close()


async def test_usage(program: Program) -> None:
    await filled(program.directory / "data")
    ran = program.run("usage")
    assert (ran.code, ran.err) == (0, "")
    lines = [" ".join(line.split()) for line in ran.out.splitlines()]
    assert "acme 2 1 0 about 0.070000 USD tokens 0.070000 USD" in lines
    assert "0.070000 may not be owed" in lines
    assert "0.052680 USD tokens" in lines
    assert "unknown (1)" in lines, "a price that nobody knows is missing, and not nothing"
    assert "cn 1 0 0 0.300000 CNY tokens -" in lines

    answer = json.loads(program.run("usage", "--by", "channel, model", "--json").out)
    assert [(row["channel"], row["model"], row["requests"]) for row in answer["data"]] == [("direct", "gpt-image-1", 3)]
    assert [one["currency"] for one in answer["data"][0]["cost"]] == ["CNY", "USD", "USD"]
    assert answer["data"][0]["waste_micro"] == 70_000
    assert program.run("usage", "--until", "2026-11-21", "--by", "day").out.splitlines()[3].startswith("2026-11-20")


@pytest.mark.parametrize("columns", [60, 80, 100, 120, 140])
async def test_a_group_stands_in_one_piece_at_every_width(program: Program, columns: int) -> None:
    await filled(program.directory / "data")
    key = f"key_{'a1' * 16}"
    with beside(f"sqlite:///{program.directory / 'data' / 'waybill.db'}") as connection:
        for name in ("request_sums", "attempt_sums"):
            connection.exec_driver_sql(f"UPDATE {name} SET key_id = :key", {"key": key})  # noqa: S608 - our own names
    out = program.run("usage", "--by", "day,key,model", COLUMNS=str(columns)).out
    assert max(len(line) for line in out.splitlines()) <= columns
    for piece in (
        key,
        "2026-11-20",
        "about 0.070000 USD  tokens",
        "unknown (1)",
        "requests",
        "0.070000 may not be owed",
    ):
        assert piece in out


async def test_rescued_and_lost_stand_in_the_table_once_there_are_any(program: Program) -> None:
    await filled(program.directory / "data")
    assert "rescued" not in program.run("usage").out
    with beside(f"sqlite:///{program.directory / 'data' / 'waybill.db'}") as connection:
        connection.exec_driver_sql("UPDATE request_sums SET rescued = 2, lost = 1 WHERE owner = 'cn'")
        connection.exec_driver_sql("UPDATE attempt_sums SET rescued_micro = 300000 WHERE owner = 'cn'")
    out = program.run("usage").out
    assert "rescued" in out
    line = next(line for line in out.splitlines() if line.startswith("cn"))
    assert " ".join(line.split()).endswith("2 1")
    assert "0.300000 CNY" in out.splitlines()[out.splitlines().index(line) + 1]
    (row,) = (row for row in json.loads(program.run("usage", "--json").out)["data"] if row["owner"] == "cn")
    figures = ("rescued_images", "rescued_micro", "lost_requests", "lost_micro")
    assert [row[name] for name in figures] == [2, 300_000, 1, 0]


async def test_verdicts_and_credits_stand_in_the_table_once_there_are_any(program: Program) -> None:
    await filled(program.directory / "data")
    assert "accepted" not in program.run("usage").out
    with beside(f"sqlite:///{program.directory / 'data' / 'waybill.db'}") as connection:
        connection.exec_driver_sql(
            "UPDATE request_sums SET accepted = 2, rejected = 1, credits = 14 WHERE owner = 'cn'"
        )
    out = program.run("usage").out
    for word in ("accepted", "rejected", "cost per", "credits"):
        assert word in out
    line = next(line for line in out.splitlines() if line.startswith("cn"))
    assert " ".join(line.split()).endswith("0.150000 CNY 14")


def test_an_empty_directory_has_no_usage(program: Program) -> None:
    ran = program.run("usage")
    assert (ran.code, ran.out) == (0, "The ledger holds no requests of that time.\n")
    assert json.loads(program.run("usage", "--json").out) == {"data": []}
    assert not (program.directory / "data").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--by", "colour"), "--by takes each of owner, channel, model, key, team, day at most once"),
        (("--by", "owner,owner"), "--by takes each of"),
        (("--since", "yesterday"), "--since takes a day, written like 2026-11-20"),
        (("--until", "2026-02-30"), "--until takes a day"),
    ],
)
def test_an_option_that_cannot_be_read_is_2(program: Program, arguments: tuple[str, ...], said: str) -> None:
    ran = program.run("usage", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err


def test_a_ledger_that_cannot_be_read_is_2(program: Program) -> None:
    (program.directory / "data").mkdir()
    (program.directory / "data" / "waybill.db").write_text("not a database, but long enough to be taken for one" * 99)
    assert program.run("usage").code == 2
