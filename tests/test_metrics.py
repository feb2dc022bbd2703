"""What is counted, under which names, at which cost."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from gateway.config import Loaded
from gateway.core.record import AttemptRecord, Mapping3, Owner, Record, ResultRecord
from gateway.core.table import Settings
from gateway.core.types import (
    Action,
    AttemptId,
    Facts,
    Failure,
    FailureClass,
    Fault,
    ImageFacts,
    Outcome,
    RequestId,
    Surface,
)
from gateway.metrics import Gauges, Metrics, outcome
from gateway.reload import ConfigStatus, Rejected, Why
from tests.web.house import channel, table_of

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
TABLE = table_of((channel("openai"), channel("azure", "AZURE_KEY is not set"), channel("cold")))
FAILED = Failure(
    kind=FailureClass.OVERLOADED, detail="503", outcome=Outcome.REFUSED, fault=Fault.UPSTREAM, action=Action.NEXT
)
PICTURE = ImageFacts(sha256="00", bytes=1, format="png")


def attempt(name: str, seconds: float, failure: Failure | None = None) -> AttemptRecord:
    return AttemptRecord(
        n=1,
        attempt_id=AttemptId("att_0"),
        channel=name,
        owner="o",
        row="gpt-image-2",
        surface="images/generations",
        sent_model="m",
        started_ms=0,
        duration_ms=seconds * 1000,
        outcome=Outcome.REFUSED if failure else Outcome.DELIVERED,
        failure=failure,
    )


SERVED = Record(
    time=NOON,
    request_id=RequestId("req_0"),
    endpoint="images/generations",
    stream=False,
    result=ResultRecord(status=200, delivery="b64_json", images=(PICTURE, PICTURE)),
    latency_ms=12_020.0,
    upstream_ms=12_000.0,
    facts=Facts(surface=Surface.GENERATIONS, asked_model="gpt-image-2"),
    owner=Owner(route_owner="o", channel="openai", row="r", base_url_host="h"),
    mapping=Mapping3(asked="gpt-image-2", sent="s"),
    attempts=(attempt("azure", 2.0, FAILED), attempt("openai", 10.0)),
)
BARE = Record(
    time=NOON,
    request_id=RequestId("req_1"),
    endpoint="unknown",
    stream=False,
    result=ResultRecord(status=404, code="unknown_url"),
    latency_ms=0.4,
)
CONFIG = ConfigStatus(
    loaded=Loaded(settings=Settings(database=""), table=TABLE, path=Path("routes.yaml")), since=NOON, taken=2, refused=1
)


@dataclass
class Bench:
    config: ConfigStatus = CONFIG
    held: dict[str, str] = field(default_factory=lambda: {"cold": "ejected"})

    def metrics(self) -> Metrics:
        return Metrics(
            lambda: TABLE,
            Gauges(
                in_flight=lambda: 7,
                channel_in_flight=lambda name: 3 if name == "openai" else 0,
                held_back=lambda: self.held,
                ledger_queue=lambda: 4,
                ledger_unwritten=lambda: 1,
                log_queue=lambda: 5,
                log_dropped=lambda: 6,
                shared_up=lambda: True,
                others=lambda: 1,
                spool_memory=lambda: 1000,
                spool_disk=lambda: 2000,
                assets=lambda: {"kept": 5, "missing": 1},
                config=lambda: self.config,
            ),
        )


Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


def samples(metrics: Metrics) -> Samples:
    families = text_string_to_metric_families(metrics.exposition().decode())
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def of(found: Samples, name: str, **labels: str) -> float | None:
    return found.get((name, frozenset(labels.items())))


def test_a_request_is_counted_with_its_attempts_its_pictures_and_its_times() -> None:
    metrics = Bench().metrics()
    metrics.count(SERVED)
    metrics.count(SERVED)
    found = samples(metrics)
    endpoint = "images/generations"
    assert (
        of(
            found,
            "waybill_requests_total",
            endpoint=endpoint,
            model="gpt-image-2",
            channel="openai",
            outcome="delivered",
        )
        == 2
    )
    assert of(found, "waybill_attempts_total", channel="azure", failure_class="overloaded") == 2
    assert of(found, "waybill_attempts_total", channel="openai", failure_class="none") == 2
    assert of(found, "waybill_images_total", endpoint=endpoint, channel="openai") == 4
    assert of(found, "waybill_upstream_seconds_sum", channel="openai") == 20
    assert of(found, "waybill_upstream_seconds_bucket", channel="openai", le="5.0") == 0
    assert of(found, "waybill_upstream_seconds_bucket", channel="openai", le="10.0") == 2
    assert of(found, "waybill_upstream_seconds_bucket", channel="openai", le="600.0") == 2
    assert of(found, "waybill_gateway_seconds_sum", endpoint=endpoint) == pytest.approx(0.04)
    assert of(found, "waybill_gateway_seconds_bucket", endpoint=endpoint, le="0.025") == 2


def test_words_of_callers_are_no_labels() -> None:
    metrics = Bench().metrics()
    for number in range(50):
        facts = Facts(surface=Surface.GENERATIONS, asked_model=f"model-{number}")
        metrics.count(replace(SERVED, facts=facts, mapping=None, owner=None, attempts=()))
    metrics.count(BARE)
    text = metrics.exposition().decode()
    assert "model-" not in text
    assert 'model="other"' in text
    found = samples(metrics)
    assert of(found, "waybill_requests_total", endpoint="unknown", model="none", channel="none", outcome="refused") == 1


@pytest.mark.parametrize(
    ("record", "word"),
    [
        (SERVED, "delivered"),
        (replace(SERVED, attempts=()), "answered"),
        (replace(SERVED, result=ResultRecord(status=502)), "failed"),
        (replace(SERVED, result=ResultRecord(status=400), attempts=()), "refused"),
        (replace(SERVED, result=ResultRecord(status=503), attempts=()), "unserved"),
        (replace(SERVED, result=ResultRecord(status=499)), "client_gone"),
    ],
)
def test_how_a_request_ended_is_one_word(record: Record, word: str) -> None:
    assert outcome(record) == word


async def test_tasks_are_those_of_the_loop() -> None:
    before = of(samples(Bench().metrics()), "waybill_tasks") or 0
    waiting = [asyncio.ensure_future(asyncio.sleep(60)) for _ in range(3)]
    assert of(samples(Bench().metrics()), "waybill_tasks") == before + 3
    for one in waiting:
        one.cancel()


def test_what_is_looked_up_is_looked_up_at_the_scrape() -> None:
    bench = Bench()
    metrics = bench.metrics()
    found = samples(metrics)
    assert of(found, "waybill_requests_in_flight") == 7
    assert of(found, "waybill_channel_in_flight", channel="openai") == 3
    assert of(found, "waybill_queue_depth", queue="ledger") == 4
    assert of(found, "waybill_queue_depth", queue="log") == 5
    assert of(found, "waybill_ledger_unwritten") == 1
    assert of(found, "waybill_log_dropped_total") == 6
    assert (of(found, "waybill_shared_up"), of(found, "waybill_replicas")) == (1, 2)
    assert of(found, "waybill_spool_bytes", place="disk") == 2000
    assert of(found, "waybill_channel_up", channel="openai", state="ready") == 1
    assert of(found, "waybill_channel_up", channel="azure", state="not_ready") == 0
    assert of(found, "waybill_channel_up", channel="cold", state="ejected") == 0
    assert of(found, "waybill_config_info", version="v1") == 1
    assert of(found, "waybill_config_last_reload_successful") == 1
    assert of(found, "waybill_config_last_reload_success_timestamp_seconds") == NOON.timestamp()
    assert of(found, "waybill_config_reloads_total", result="refused") == 1
    bench.held = {}
    bench.config = replace(CONFIG, rejected=Rejected(time=NOON, why=Why.FILE, count=1, mistakes=("m",)))
    found = samples(metrics)
    assert of(found, "waybill_channel_up", channel="cold", state="ready") == 1
    assert of(found, "waybill_channel_up", channel="cold", state="ejected") is None
    assert of(found, "waybill_config_last_reload_successful") == 0


def test_the_program_and_its_process_are_there_and_no_clutter() -> None:
    text = Bench().metrics().exposition().decode()
    assert "waybill_build_info{" in text
    assert "_created" not in text


def test_two_counters_do_not_share_anything() -> None:
    one, other = Bench().metrics(), Bench().metrics()
    one.count(SERVED)
    assert "waybill_requests_total{" not in other.exposition().decode()


def test_counting_costs_next_to_nothing() -> None:
    metrics = Bench().metrics()
    metrics.count(SERVED)
    rounds, best = 2_000, 1.0
    for _ in range(5):
        started = time.perf_counter()
        for _ in range(rounds):
            metrics.count(SERVED)
        best = min(best, (time.perf_counter() - started) / rounds)
    assert best < 20e-6  # 4 on an idle machine
