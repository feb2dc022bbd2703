"""A full ledger, and how long it takes to read: ``python -m bench.million [--rows N] [--keep FILE] [--json FILE]``.

Fills a SQLite ledger with requests as a busy gateway leaves them (five channels, eight models, forty keys, a tenth
tried twice, one in twelve failed, one in a thousand interrupted), with plain SQL, and asks it what the operator's calls
ask: every combination of filters, first pages and later ones, and the sums. Exit code 1 when a ceiling is missed.
"""

import argparse
import itertools
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar

from msgspec.structs import replace
from sqlalchemy import ColumnElement, Connection, Engine, insert, literal_column, text, true

from bench.house import Figure, machine, show
from gateway.core.spend import Dimension, UsageQuery
from gateway.ports.readings import RequestQuery, Standing
from gateway.stores.engine import open_engine
from gateway.stores.ledger_sql import open_ledger
from gateway.stores.place import Access
from gateway.stores.readings import page_in
from gateway.stores.schema import attempt_sums, request_sums
from gateway.stores.tally import attempt_counts, request_counts
from gateway.stores.usage import sums

DAYS = 90
END = datetime(2026, 11, 20, tzinfo=UTC)
START_MS = round((END - timedelta(days=DAYS)).timestamp() * 1000)
PAGE_CEILING_MS = 50.0
USAGE_CEILING_MS = 1_000.0
DAY_CEILING_MS = 100.0
ROUNDS = 5
QUICK_MS = 20.0

T = TypeVar("T")

RECORD = {
    "time": "@time", "request_id": "@id", "key_id": "@key", "team": "@team", "endpoint": "images/generations",
    "stream": False, "asked_model": "@model", "route_owner": "@owner", "channel": "@channel", "row": "@model",
    "base_url_host": "api.example.com", "billing": "Contract 4711", "output_rights": "as per the terms",
    "tags": {"project": "@project"}, "model_mapping": {"asked": "@model", "sent": "@model", "served": "unverified"},
    "config_version": "sha256:0123456789abcdef",
    "request_shape": {
        "prompt_hash": "hmac:0123456789abcdef0123456789abcdef", "prompt_chars": 214, "size": "1536x1024",
        "quality": "high", "background": "opaque", "output_format": "png", "moderation": "auto", "n": 1,
    },
    "result": {
        "status": 200, "delivery": "b64_json",
        "images": [{
            "asset_id": "ast_0193400000000123456789abcdef0123", "sha256": "0123456789abcdef" * 4, "bytes": 2145678,
            "width": 1536, "height": 1024, "format": "png", "alpha": False,
            "storage_pointer": {"path": "01/0123456789abcdef.png", "expires_at": "2026-12-20T00:00:00.000Z"},
        }],
        "warnings": [],
    },
    "usage": {
        "input_tokens": 61, "output_tokens": 6208, "total_tokens": 6269,
        "input_tokens_details": {"text_tokens": 61, "image_tokens": 0},
    },
    "cost": {
        "amount_micro": 186545, "currency": "USD", "unit": "tokens", "state": "exact", "price_id": "gpt@2026-11-01",
        "lines": [
            {"attempt": 1, "item": "text_in", "quantity": 61, "amount_micro": 305, "currency": "USD", "price_id": "p"},
            {"attempt": 1, "item": "image_out", "quantity": 6208, "amount_micro": 186240, "currency": "USD",
             "price_id": "p"},
        ],
    },
    "attempts": [{
        "n": 1, "attempt_id": "att_0193400000000123456789abcdef0123", "channel": "@channel", "owner": "@owner",
        "row": "@model", "surface": "images/generations", "sent_model": "@model", "started_ms": 1.4,
        "first_byte_ms": 18234.2, "duration_ms": 18301.9, "status": 200, "outcome": "delivered",
        "upstream_request_id": "req_up_0123456789abcdef", "cost_micro": 186545,
    }],
    "retry_count": 0, "latency_ms": 18304.8, "upstream_ms": 18301.9, "gateway_ms": 2.9,
}  # fmt: skip

# A cheap hash spreads what belongs to a number; m(k) is its k-th digit.
NUMBERS = """
CREATE TEMP TABLE numbers AS
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :rows)
SELECT i, (i * 2654435761) % 4294967296 AS h, :start + (i * :span) / :rows AS ms FROM n
"""
NAMED = """
CREATE TEMP TABLE named AS SELECT i, ms, h,
    printf('req_%012x%020x', ms, h) AS request_id,
    'owner-' || (h % 3) AS owner, 'channel-' || (h % 3) || '-' || ((h / 7) % 2) AS channel,
    'model-' || (CASE WHEN h % 3 = 0 THEN (h / 11) % 3 ELSE 3 + (h / 11) % 5 END) AS model,
    printf('key_%032x', (h / 101) % 40) AS key_id, 'team-' || ((h / 101) % 40 / 6) AS team,
    'project=' || ((h / 997) % 500) AS tag,
    CASE WHEN (h / 13) % 12 <> 0 THEN NULL WHEN (h / 17) % 4 = 0 THEN 'content_policy'
         WHEN (h / 17) % 4 = 1 THEN 'timeout' WHEN (h / 17) % 4 = 2 THEN 'rate_limited'
         ELSE 'invalid_size' END AS failure
FROM numbers
"""
REQUESTS = """
INSERT INTO requests (request_id, time_us, endpoint, asked_model, owner, channel, status, failure, state,
    config_version, record, images, key_id, team, credits)
SELECT request_id, ms * 1000, 'images/generations', model, owner, channel,
    CASE WHEN h % 1000 = 1 THEN NULL WHEN failure IS NULL THEN 200 WHEN failure = 'timeout' THEN 504
         WHEN failure = 'rate_limited' THEN 429 ELSE 400 END,
    CASE WHEN h % 1000 = 1 THEN NULL ELSE failure END,
    CASE WHEN h % 1000 = 1 THEN 'interrupted' ELSE 'done' END, 'sha256:0123456789abcdef',
    CASE WHEN h % 1000 = 1 THEN NULL ELSE replace(replace(replace(replace(replace(replace(:record,
        '@id', request_id), '@key', key_id), '@team', team), '@model', model), '@owner', owner), '@channel', channel)
    END,
    CASE WHEN failure IS NULL THEN 1 ELSE 0 END, key_id, team, CASE WHEN failure IS NULL THEN 14 ELSE 0 END
FROM named
"""
ATTEMPTS = """
INSERT INTO attempts (request_id, n, attempt_id, channel, owner, row, surface, sent_model, started_us, state, outcome,
    failure, status, duration_ms, cost_micro, cost_currency, cost_unit, cost_state, exposure_micro, price_id)
SELECT request_id, tries.n, printf('att_%012x%012x%08x', ms, h, tries.n), channel, owner, model, 'images/generations',
    model, ms * 1000, CASE WHEN h % 1000 = 1 THEN 'interrupted' ELSE 'ended' END,
    CASE WHEN h % 1000 = 1 THEN 'unknown' WHEN tries.n = 1 AND h % 10 = 0 OR failure IS NOT NULL THEN 'refused'
         ELSE 'delivered' END,
    failure, 200, 18301, 186545, 'USD', CASE WHEN h % 3 = 0 THEN 'tokens' ELSE 'per_image' END,
    CASE WHEN h % 1000 = 1 THEN 'estimated' ELSE 'exact' END, NULL, 'gpt@2026-11-01'
FROM named JOIN (SELECT 1 AS n UNION ALL SELECT 2) AS tries ON tries.n = 1 OR named.h % 10 = 0
"""


def fill(database: str, rows: int) -> Engine:
    """Make a ledger of so many requests; gives an engine that reads it."""
    open_ledger(database, serve=False).close()
    engine = open_engine(database, Access.WRITE, busy_ms=5_000)
    with engine.begin() as connection:
        connection.execute(text(NUMBERS), {"rows": rows, "start": START_MS, "span": DAYS * 86_400_000})
        connection.execute(text(NAMED))
        connection.execute(text(REQUESTS), {"record": json.dumps(RECORD, separators=(",", ":"))})
        connection.execute(text(ATTEMPTS))
        connection.execute(text("INSERT INTO request_tags SELECT tag, request_id FROM named"))
        nowhere: ColumnElement[int] = literal_column("0")
        for table, counts in (
            (request_sums, request_counts(true(), shard=nowhere)),
            (attempt_sums, attempt_counts(true(), shard=nowhere)),
        ):
            connection.execute(insert(table).from_select([one.name for one in counts.selected_columns], counts))
    return open_engine(database, Access.READ, busy_ms=5_000)


def queries() -> Iterator[tuple[str, RequestQuery]]:
    """Give every combination of filters twice: with what is frequent, and with what is rare or never meets."""
    values: dict[str, tuple[RequestQuery, RequestQuery]] = {
        "owner": (RequestQuery(owner="owner-1"), RequestQuery(owner="owner-0")),
        "channel": (RequestQuery(channel="channel-1-0"), RequestQuery(channel="channel-0-1")),
        "model": (RequestQuery(model="model-4"), RequestQuery(model="model-5")),
        "key": (RequestQuery(key=f"key_{5:032x}"), RequestQuery(key=f"key_{6:032x}")),
        "class": (RequestQuery(failure="timeout"), RequestQuery(failure="invalid_size")),
        "status": (RequestQuery(status=504), RequestQuery(status=200)),
        "standing": (RequestQuery(standing=Standing.FAILED), RequestQuery(standing=Standing.INTERRUPTED)),
        "since": (RequestQuery(since=END - timedelta(days=60)), RequestQuery(since=END - timedelta(days=89))),
        "until": (RequestQuery(until=END - timedelta(days=1)), RequestQuery(until=END - timedelta(days=30))),
        "tag": (RequestQuery(tags=("project=7",)), RequestQuery(tags=("project=8", "project=9"))),
    }
    for count in range(len(values) + 1):
        for names in itertools.combinations(values, count):
            for at, kind in enumerate(("frequent", "rare")):
                yield f"{'+'.join(names)} ({kind})", merged(tuple(values[name][at] for name in names))


def merged(chosen: tuple[RequestQuery, ...]) -> RequestQuery:
    query = RequestQuery()
    for one in chosen:
        query = RequestQuery(
            owner=one.owner or query.owner,
            channel=one.channel or query.channel,
            model=one.model or query.model,
            key=one.key or query.key,
            failure=one.failure or query.failure,
            status=one.status or query.status,
            standing=one.standing or query.standing,
            tags=one.tags or query.tags,
            since=one.since or query.since,
            until=one.until or query.until,
        )
    return query


def paging(engine: Engine) -> list[Figure]:
    """Ask for three pages of every combination."""
    took: list[tuple[float, str]] = []
    short = 0
    for name, query in queries():
        before: str | None = None
        for number in range(3):
            asked = replace(query, before=before)
            page, ms = timed(engine, partial(page_in, query=asked))
            took.append((ms, f"{name} page {number + 1}"))
            short += len(page.data) < query.limit and page.next is not None
            before = page.next
            if before is None:
                break
    took.sort(reverse=True)
    times = [one for one, _ in took]
    worst = "; ".join(f"{name} {one:.0f}" for one, name in took[:3])
    return [
        Figure(name="slowest page of requests", value=times[0], unit="ms", ceiling=PAGE_CEILING_MS, note=worst),
        Figure(name="  the middle one", value=statistics.median(times), unit="ms", note=f"of {len(times):,}"),
        Figure(name="  pages that came short", value=short, unit="pages"),
    ]


def summing(engine: Engine) -> list[Figure]:
    """Ask for the sums over everything, over a day, over a month's days, and over less than a day."""
    day, some = timedelta(days=1), (Dimension.OWNER, Dimension.MODEL)
    asked = (
        ("usage by owner, model over everything", some, None, None, USAGE_CEILING_MS),
        ("usage by owner, channel, model over everything", tuple(Dimension)[:3], None, None, USAGE_CEILING_MS),
        ("usage by owner, model of a day", some, END - day, END, DAY_CEILING_MS),
        ("usage by day, key of a month", (Dimension.DAY, Dimension.KEY), END - 30 * day, END, USAGE_CEILING_MS),
        ("usage by owner, model of 24 hours from noon", some, END - 1.5 * day, END - day / 2, None),
    )
    figures = []
    for name, by, since, until, ceiling in asked:
        query = UsageQuery(by=by, since=since, until=until)
        _, ms = timed(engine, partial(sums, query=query))
        figures.append(Figure(name=name, value=ms, unit="ms", ceiling=ceiling))
    return figures


def timed(engine: Engine, what: Callable[[Connection], T], rounds: int = ROUNDS) -> tuple[T, float]:
    """Run it, connection and all; what seems slow is run again, and the fastest counts: others use this machine too."""
    best_ms = math.inf
    while True:
        started = time.perf_counter()
        with engine.begin() as connection:
            found = what(connection)
        best_ms, rounds = min(best_ms, (time.perf_counter() - started) * 1000), rounds - 1
        if best_ms < QUICK_MS or not rounds:
            return found, best_ms


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="requests in the ledger")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="use this ledger, and make it when it is not there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        file = (options.keep or Path(directory) / "waybill.db").absolute()
        started = time.perf_counter()
        database = f"sqlite:///{file}"
        engine = open_engine(database, Access.READ, busy_ms=5_000) if file.exists() else fill(database, options.rows)
        size = f"{file.stat().st_size / 1e9:.2f} GB"
        figures = [
            Figure(name="the ledger", value=time.perf_counter() - started, unit="s to fill", note=size),
            *paging(engine),
            *summing(engine),
        ]
    where = machine()
    show(where, figures)
    if options.json is not None:
        options.json.write_text(json.dumps({**where, "figures": [[one.name, one.value, one.unit] for one in figures]}))
    return 0 if all(figure.holds for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
