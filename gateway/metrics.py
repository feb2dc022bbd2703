"""What an operator watches, counted as requests end and read when Prometheus asks.

Rules. One update per finished request, from its record, so that a figure and the ledger never disagree; a few
microseconds, no waiting. Labels are words of ours, of the routes file, or ``other``: nobody can make series by asking.
What can be looked up (queues, places taken, how channels stand) is looked up at the scrape and costs nothing before.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway import __version__
from gateway.core.record import Record
from gateway.core.table import RouteTable
from gateway.reload import ConfigStatus

# Pictures take from a second to ten minutes; the gateway's own share is milliseconds unless a client uploads slowly.
UPSTREAM_BUCKETS = (0.25, 0.5, 1, 2.5, 5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 240, 300, 420, 600)
GATEWAY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)

NONE = "none"
OTHER = "other"
CLIENT_GONE = 499


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauges:
    """What is looked up at the scrape. Numbers of requests, lines and bytes.

    ``held_back``: channels that may not be asked although they are ready, each with the reason.
    """

    in_flight: Callable[[], int]
    channel_in_flight: Callable[[str], int]
    held_back: Callable[[], Mapping[str, str]]
    ledger_queue: Callable[[], int]
    ledger_unwritten: Callable[[], int]
    log_queue: Callable[[], int]
    log_dropped: Callable[[], int]
    spool_memory: Callable[[], int]
    spool_disk: Callable[[], int]
    config: Callable[[], ConfigStatus]


class Metrics:
    """One instance counts for the process."""

    def __init__(self, table: Callable[[], RouteTable], gauges: Gauges) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a gauge beside every counter, which says little
        self._table = table
        self._registry = CollectorRegistry(auto_describe=False)
        self._requests = Counter(
            "waybill_requests",
            "Requests of the API that ended.",
            ("endpoint", "model", "channel", "outcome"),
            registry=self._registry,
        )
        self._attempts = Counter(
            "waybill_attempts",
            "Attempts that ended; failure_class none: delivered.",
            ("channel", "failure_class"),
            registry=self._registry,
        )
        self._images = Counter(
            "waybill_images", "Pictures delivered.", ("endpoint", "channel"), registry=self._registry
        )
        self._upstream = Histogram(
            "waybill_upstream_seconds",
            "Time one attempt took.",
            ("channel",),
            buckets=UPSTREAM_BUCKETS,
            registry=self._registry,
        )
        self._gateway = Histogram(
            "waybill_gateway_seconds",
            "Time of a request that was not an upstream's, the client's upload included.",
            ("endpoint",),
            buckets=GATEWAY_BUCKETS,
            registry=self._registry,
        )
        self._registry.register(_AtScrape(table, gauges))
        ProcessCollector(registry=self._registry)
        # A child is looked up by its labels for every update otherwise, under a lock and with each label made text.
        self._request_of: dict[tuple[str, str, str, str], Counter] = {}
        self._attempt_of: dict[tuple[str, str], Counter] = {}
        self._upstream_of: dict[str, Histogram] = {}
        self._gateway_of: dict[str, Histogram] = {}

    def count(self, record: Record) -> None:
        """Count one request that has ended."""
        endpoint = str(record.endpoint)
        owner = record.owner
        channel = owner.channel if owner is not None else NONE
        key = (endpoint, self._model(record), channel, outcome(record))
        requests = self._request_of.get(key)
        if requests is None:
            requests = self._request_of[key] = self._requests.labels(*key)
        requests.inc()
        for attempt in record.attempts:
            failure = attempt.failure
            self._attempt(attempt.channel, failure.kind.value if failure is not None else NONE)
            self._upstream_time(attempt.channel, attempt.duration_ms / 1000)
        gateway = self._gateway_of.get(endpoint)
        if gateway is None:
            gateway = self._gateway_of[endpoint] = self._gateway.labels(endpoint)
        gateway.observe(record.gateway_ms / 1000)
        if record.result.images and record.result.delivery != NONE:
            self._images.labels(endpoint, channel).inc(len(record.result.images))

    def exposition(self) -> bytes:
        """Give all figures in Prometheus' text format."""
        return generate_latest(self._registry)

    def _attempt(self, channel: str, kind: str) -> None:
        counter = self._attempt_of.get((channel, kind))
        if counter is None:
            counter = self._attempt_of[channel, kind] = self._attempts.labels(channel, kind)
        counter.inc()

    def _upstream_time(self, channel: str, seconds: float) -> None:
        histogram = self._upstream_of.get(channel)
        if histogram is None:
            histogram = self._upstream_of[channel] = self._upstream.labels(channel)
        histogram.observe(seconds)

    def _model(self, record: Record) -> str:
        """Give the route's name; words of callers are not labels."""
        if record.mapping is not None:
            name: str | None = record.mapping.asked
        else:
            name = record.facts.asked_model if record.facts is not None else None
        if name is None:
            return NONE
        return name if name in self._table().routes else OTHER


def outcome(record: Record) -> str:
    """Say in one word how a request ended.

    ``failed`` and ``delivered`` had attempts. Without any it was ``refused`` for the caller's fault, ``unserved`` for
    ours, or ``answered`` from what is in memory.
    """
    status = record.result.status
    if status == CLIENT_GONE:
        return "client_gone"
    if status < 400:
        return "delivered" if record.attempts else "answered"
    if record.attempts:
        return "failed"
    return "refused" if status < 500 else "unserved"


class _AtScrape(Collector):
    """What is only looked up when somebody asks."""

    def __init__(self, table: Callable[[], RouteTable], gauges: Gauges) -> None:
        self._table = table
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        """Look everything up."""
        yield from self._process()
        yield from self._channels()
        yield from self._config()

    def _process(self) -> Iterator[Metric]:
        gauges = self._gauges
        version = f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}"
        yield _labelled("waybill_build_info", "The program.", ("version", "python"), [((__version__, version), 1)])
        yield _gauge("waybill_requests_in_flight", "Requests under way.", gauges.in_flight())
        yield _labelled(
            "waybill_queue_depth",
            "What waits to be written: commands of the ledger, lines of the log.",
            ("queue",),
            [(("ledger",), gauges.ledger_queue()), (("log",), gauges.log_queue())],
        )
        yield _gauge(
            "waybill_ledger_unwritten", "Settlements that are not in the ledger yet.", gauges.ledger_unwritten()
        )
        yield CounterMetricFamily(
            "waybill_log_dropped", "Log lines dropped because nobody took them.", gauges.log_dropped()
        )
        yield _labelled(
            "waybill_spool_bytes",
            "Bodies under way.",
            ("place",),
            [(("memory",), gauges.spool_memory()), (("disk",), gauges.spool_disk())],
        )

    def _channels(self) -> Iterator[Metric]:
        channels, held = self._table().channels, self._gauges.held_back()
        yield _labelled(
            "waybill_channel_up",
            "Whether a channel may be asked; the reason why not, else ready.",
            ("channel", "state"),
            [
                ((name, "not_ready" if one.unready else held.get(name, "ready")), not one.unready and name not in held)
                for name, one in channels.items()
            ],
        )
        yield _labelled(
            "waybill_channel_in_flight",
            "Attempts under way at a channel.",
            ("channel",),
            [((name,), self._gauges.channel_in_flight(name)) for name in channels],
        )

    def _config(self) -> Iterator[Metric]:
        status = self._gauges.config()
        yield _labelled("waybill_config_info", "The routes file in force.", ("version",), [((status.version,), 1)])
        yield _gauge(
            "waybill_config_last_reload_successful",
            "Whether the routes file that was read last is in force.",
            status.rejected is None,
        )
        yield _gauge(
            "waybill_config_last_reload_success_timestamp_seconds",
            "When the routes file in force was taken.",
            status.since.timestamp(),
        )
        reloads = CounterMetricFamily("waybill_config_reloads", "Reloads by result.", labels=("result",))
        reloads.add_metric(("taken",), status.taken)
        reloads.add_metric(("refused",), status.refused)
        yield reloads


def _gauge(name: str, said: str, value: float) -> Metric:
    return GaugeMetricFamily(name, said, value=float(value))


def _labelled(name: str, said: str, labels: tuple[str, ...], values: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    family = GaugeMetricFamily(name, said, labels=labels)
    for words, value in values:
        family.add_metric(words, float(value))
    return family
