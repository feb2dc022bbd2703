"""What every test may use, and the rule that nothing is skipped where everything is installed."""

import os

import pytest


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Turn a skip into a failure on a machine that has everything."""
    if report.skipped and os.environ.get("WAYBILL_TEST_NO_SKIP") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped where nothing may be: {report.longrepr}"
