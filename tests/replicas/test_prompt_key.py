"""A server whose key for prompts is another than that of its ledger says so, once it serves."""

from pathlib import Path

import yaml

from tests.fakes.server import server_process
from tests.servers.postgres import Postgres

PIC = {"serves": ["images/generations"]}
ROUTES = {
    "version": 1,
    "channels": {
        "sandbox": {"owner": "nobody", "kind": "sandbox", "rows": {"pic": {"serves": ["images/generations"]}}}
    },
    "routes": {"pic": {"targets": ["sandbox"]}},
}


async def test_a_key_that_is_another_is_told(tmp_path: Path, postgres: Postgres) -> None:
    file = yaml.safe_dump({**ROUTES, "storage": {"database": postgres.new_database(), "assets": f"file:{tmp_path}"}})
    (tmp_path / "c" / "data").mkdir(parents=True)
    (tmp_path / "c" / "data" / "prompt.key").write_bytes(b"k" * 32)
    names: dict[str, list[str]] = {}
    for replica in ("a", "b", "c"):
        async with server_process(file, tmp_path / replica) as server:
            names[replica] = [str(event["event"]) for event in server.events()][:2]
    assert names["c"] == ["server.ready", "prompt_key.differs"]
    assert "prompt_key.differs" not in {*names["a"], *names["b"]}
