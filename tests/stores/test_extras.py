"""Without the drivers of servers the program says which extra to install, and needs neither otherwise."""

import subprocess
import sys
from pathlib import Path

import pytest

from gateway.extras import how_to_install

ROOT = Path(__file__).parents[2]
OPEN_LEDGER = "from gateway.stores.ledger_sql import open_ledger; open_ledger('postgresql://u:geheim@h/d', serve=True)"
OPEN_SHARED = "from gateway.stores.redis_line import RedisLine; RedisLine('redis://:geheim@h', ())"

OPEN_OBJECTS = (
    "from gateway.core.table import AssetSettings, ObjectStore; from gateway.stores.assets import open_blobs; "
    "from gateway.core.table import Secret as S; "
    "open_blobs(AssetSettings(store=ObjectStore(bucket='pictures', secret_key=S('geheim'))))"
)


@pytest.mark.parametrize(
    ("missing", "script", "extra"),
    [("psycopg", OPEN_LEDGER, "postgres"), ("redis", OPEN_SHARED, "redis"), ("obstore", OPEN_OBJECTS, "s3")],
)
def test_a_driver_that_is_missing_is_named_with_its_extra(missing: str, script: str, extra: str) -> None:
    without = f"import sys; sys.modules[{missing!r}] = None; {script}"
    ran = subprocess.run([sys.executable, "-c", without], cwd=ROOT, capture_output=True, text=True, check=False)
    last = ran.stderr.strip().splitlines()[-1]
    assert last.startswith("gateway.stores.refusals.LedgerRefused")
    assert last.endswith(f"install the extra, .venv/bin/pip install -e '.[{extra}]'"), "this is a clone"
    assert "geheim" not in ran.stderr.replace(script, "")


def test_a_package_is_named_where_there_is_no_clone(tmp_path: Path) -> None:
    assert how_to_install("s3", tmp_path / "pyproject.toml") == "pip install 'waybill-gateway[s3]'"


def test_a_server_of_a_file_imports_neither() -> None:
    script = "import sys, gateway.main; sys.exit('psycopg' in sys.modules or 'redis' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == 0
