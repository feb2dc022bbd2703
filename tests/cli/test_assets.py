"""``waybill assets``, beside a ledger and a store as a server left them."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from gateway.stores.assets_file import FileBlobs
from gateway.stores.assets_sql import open_assets
from gateway.stores.ledger_sql import open_ledger
from tests.cli.program import Program
from tests.fakes.answers import png
from tests.stores.test_retention import Given, House, sha


@pytest.fixture
async def kept(program: Program) -> str:
    """One picture in the program's store, a day old and good for another."""
    data = program.directory / "data"
    data.mkdir()
    url = f"sqlite:///{data}/waybill.db"
    ledger, books, blobs = open_ledger(url, serve=True), open_assets(url), FileBlobs(data / "assets")
    house = House(ledger=ledger, books=books, blobs=blobs, clock=Given(at=datetime.now(UTC) - timedelta(days=1)))
    name = await house.keep(sha("a"), ttl=timedelta(days=2))
    blobs.close()
    books.close()
    ledger.close()
    return name


def test_pictures_are_listed_and_shown(program: Program, kept: str) -> None:
    listed = json.loads(program.run("assets", "list", "--json").out)["data"]
    assert [one["asset_id"] for one in listed] == [kept]
    assert kept in program.run("assets", "list").out
    narrow = program.run("assets", "list", COLUMNS="80").out
    assert kept in narrow, "an id stands in one piece"
    assert max(len(line) for line in narrow.splitlines()) <= 80
    assert program.run("assets", "list", "--verdict", "accepted").out == "No kept pictures match.\n"
    assert json.loads(program.run("assets", "list", "--json", "--verdict", "accepted").out) == {"data": []}
    shown = json.loads(program.run("assets", "show", kept).out)
    assert Path(shown["path"]).is_file()
    assert (shown["verdict"], shown["parents"], shown["children"]) == (None, [], [])
    assert shown["url"].startswith("http://127.0.0.1:8484/assets/")
    assert "unaccepted first" in shown["deletion_policy"]
    assert json.loads(program.run("assets", "show", kept, "--json").out).keys() == shown.keys()
    unknown = program.run("assets", "show", "ast_1")
    assert (unknown.code, unknown.out, unknown.err) == (1, "", "waybill: there is no picture of this id\n")


def test_clearing_up_says_first_what_would_go(program: Program, kept: str) -> None:
    routes = yaml.safe_load((program.directory / "routes.yaml").read_text())
    small = {**routes, "storage": {"asset_max": "1KB"}}
    (program.directory / "routes.yaml").write_text(yaml.safe_dump(small))
    orphan = FileBlobs(program.directory / "data" / "assets").place(sha("b"))
    Path(orphan).parent.mkdir(parents=True)
    Path(orphan).write_bytes(png() * 10)
    os.utime(orphan, (0, 0))
    said = program.run("assets", "gc", "--dry-run").out
    assert said == f"would delete 1 file: {len(png() * 10):,} bytes\n"
    dry = json.loads(program.run("assets", "gc", "--dry-run", "--json").out)
    assert (dry["orphans"], dry["dry_run"]) == (1, True)
    assert Path(orphan).exists()
    done = json.loads(program.run("assets", "gc", "--json").out)
    assert {**done, "dry_run": True} == dry
    assert not Path(orphan).exists()
    assert json.loads(program.run("assets", "gc", "--json").out)["orphans"] == 0
    assert program.run("assets", "gc").out == "nothing to delete\n"
    assert program.run("assets", "gc", "--dry-run").out == "nothing to delete\n"


def test_keys_of_addresses_are_changed(program: Program) -> None:
    assert program.run("assets", "rotate-keys").out == "2 keys in force; running servers know them within 30 seconds\n"
    assert json.loads(program.run("assets", "rotate-keys", "--json").out) == {"keys": 3, "dropped": False}
    assert program.run("assets", "rotate-keys", "--drop").out.startswith("1 key in force; ")


def test_a_store_that_needs_what_is_not_there_is_said(program: Program) -> None:
    text = (program.directory / "routes.yaml").read_text()
    (program.directory / "routes.yaml").write_text(f"{text}storage: {{assets: 's3://Pictures/x'}}\n")
    ran = program.run("assets", "gc")
    assert ran.code == 2
    assert "storage.assets: must name a bucket" in ran.err
