"""What every test may use, and the rule that nothing is skipped where everything is installed."""

import os
from collections.abc import Iterator

import pytest

from tests.servers.postgres import Postgres, postgres_server


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Turn a skip into a failure on a machine that has everything."""
    if report.skipped and os.environ.get("WAYBILL_TEST_NO_SKIP") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped where nothing may be: {report.longrepr}"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server that tests share, each in a database of its own. Not to be killed."""
    with postgres_server() as server:
        yield server
