"""What operators were told of, over real databases: one of many servers tells it, once in a while, and one its end."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from gateway.ports import LedgerUnavailable
from gateway.stores.alerts_sql import open_alerts
from gateway.stores.ledger_sql import SqlLedger

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
HOUR = 3_600.0


def test_one_of_many_tells_it_and_one_its_end(ledger: SqlLedger, url: str) -> None:
    assert ledger.commits == 0  # it has made the tables
    servers = [open_alerts(url) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for hours, told in ((0, 1), (0.9, 0), (1.1, 1)):
            now = NOW + timedelta(hours=hours)
            assert sum(pool.map(lambda one, now=now: one.first("budget k 80%", now, HOUR), servers)) == told
        assert sum(pool.map(lambda one: one.last("budget k 80%"), servers)) == 1
        assert sum(pool.map(lambda one: one.last("budget k 80%"), servers)) == 0
        assert sum(pool.map(lambda one: one.first("budget k 80%", NOW, HOUR), servers)) == 1
        assert servers[0].first("budget k 100%", NOW, HOUR)


def test_without_tables_nobody_can_be_asked(url: str) -> None:
    with pytest.raises(LedgerUnavailable):
        open_alerts(url).first("disk data", NOW, HOUR)
