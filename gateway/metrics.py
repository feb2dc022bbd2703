"""What an operator watches, counted as requests end and read when Prometheus asks.

Rules. One update per finished request, from its record, so that a figure and the ledger never disagree; a few
microseconds, no waiting and no lock: the counts are plain numbers, the library only writes them out. Labels are words
of ours, of the routes file, or ``other``: nobody can make series by asking. What can be looked up (queues, places
taken, how channels stand) is looked up at the scrape and costs nothing before.
"""

import asyncio
import sys
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TypeAlias

from msgspec import Struct
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway import __version__
from gateway.core.prices import MICRO
from gateway.core.record import Record
from gateway.core.table import RouteTable
from gateway.flights.rescue import Figures
from gateway.reload import ConfigStatus

# Pictures take from a second to ten minutes; the gateway's own share is milliseconds unless a client uploads slowly.
UPSTREAM_BUCKETS = (0.25, 0.5, 1, 2.5, 5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 240, 300, 420, 600)
GATEWAY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)

Labels: TypeAlias = tuple[str, ...]

NONE = "none"
OTHER = "other"
CLIENT_GONE = 499


class Gauges(Struct, frozen=True, kw_only=True):
    """What is looked up at the scrape. Numbers of requests, lines and bytes.

    ``assets``: what became of pictures that were to be kept, by word. ``held_back``: channels that may not be asked
    although they are ready, each with the reason.
    """

    in_flight: Callable[[], int]
    channel_in_flight: Callable[[str], int]
    held_back: Callable[[], Mapping[str, str]]
    ledger_queue: Callable[[], int]
    ledger_unwritten: Callable[[], int]
    log_queue: Callable[[], int]
    log_dropped: Callable[[], int]
    shared_up: Callable[[], bool]
    others: Callable[[], int]
    spool_memory: Callable[[], int]
    spool_disk: Callable[[], int]
    assets: Callable[[], Mapping[str, int]]
    config: Callable[[], ConfigStatus]
    flights: Callable[[], Figures] = Figures
    alerts: Callable[[], Mapping[Labels, int]] = dict
    alerts_unsent: Callable[[], int] = int


class _Times(Struct):
    """A histogram: how many times fell below each bound (and above the last), and their sum in seconds."""

    bounds: Sequence[float]
    counts: list[int]
    total: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one time."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Give the counts as Prometheus has them: each bound with all that fell below it."""
        names = [*(str(float(bound)) for bound in self.bounds), "+Inf"]
        return list(zip(names, map(float, accumulate(self.counts)), strict=True))


class Metrics:
    """One instance counts for the process, on its event loop: hence plain numbers and no lock."""

    def __init__(self, table: Callable[[], RouteTable], gauges: Gauges) -> None:
        self._table = table
        self._requests: defaultdict[Labels, int] = defaultdict(int)
        self._attempts: defaultdict[Labels, int] = defaultdict(int)
        self._images: defaultdict[Labels, int] = defaultdict(int)
        self._upstream: defaultdict[Labels, _Times] = defaultdict(lambda: _times(UPSTREAM_BUCKETS))
        self._gateway: defaultdict[Labels, _Times] = defaultdict(lambda: _times(GATEWAY_BUCKETS))
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Counted(self._counted))
        self._registry.register(_AtScrape(table, gauges))
        ProcessCollector(registry=self._registry)

    def count(self, record: Record) -> None:
        """Count one request that has ended."""
        endpoint, owner = record.endpoint, record.owner
        channel = owner.channel if owner is not None else NONE
        self._requests[endpoint, self._model(record), channel, outcome(record)] += 1
        for attempt in record.attempts:
            failure = attempt.failure
            self._attempts[attempt.channel, failure.kind if failure is not None else NONE] += 1
            self._upstream[attempt.channel,].add(attempt.duration_ms / 1000)
        self._gateway[endpoint,].add(record.gateway_ms / 1000)
        result = record.result
        if result.images and result.delivery != NONE:
            self._images[endpoint, channel] += len(result.images)

    def exposition(self) -> bytes:
        """Give all figures in Prometheus' text format."""
        return generate_latest(self._registry)

    def _model(self, record: Record) -> str:
        """Give the route's name; words of callers are not labels."""
        name = record.asked
        if name is None:
            return NONE
        return name if name in self._table().routes else OTHER

    def _counted(self) -> Iterator[Metric]:
        yield _counter(
            "waybill_requests",
            "Requests of the API that ended.",
            ("endpoint", "model", "channel", "outcome"),
            self._requests,
        )
        yield _counter(
            "waybill_attempts",
            "Attempts that ended; failure_class none: delivered.",
            ("channel", "failure_class"),
            self._attempts,
        )
        yield _counter("waybill_images", "Pictures delivered.", ("endpoint", "channel"), self._images)
        yield _histogram("waybill_upstream_seconds", "Time one attempt took.", ("channel",), self._upstream)
        yield _histogram(
            "waybill_gateway_seconds",
            "Time of a request that was not an upstream's, the client's upload included.",
            ("endpoint",),
            self._gateway,
        )


def _tasks() -> int:
    """Count the tasks of the loop that is scraped; where none runs there are none."""
    try:
        return len(asyncio.all_tasks())
    except RuntimeError:
        return 0


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


class _Counted(Collector):
    """What was counted as requests ended."""

    def __init__(self, give: Callable[[], Iterator[Metric]]) -> None:
        self._give = give

    def collect(self) -> Iterator[Metric]:
        """Give the counts of this moment."""
        yield from self._give()


class _AtScrape(Collector):
    """What is only looked up when somebody asks."""

    def __init__(self, table: Callable[[], RouteTable], gauges: Gauges) -> None:
        self._table = table
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        """Look everything up."""
        yield from self._process()
        yield from self._pictures()
        yield from self._channels()
        yield from self._config()
        yield from self._flights()
        yield from self._alerts()

    def _alerts(self) -> Iterator[Metric]:
        gauges = self._gauges
        yield _counter("waybill_alerts", "Alerts that were told.", ("kind", "state"), gauges.alerts())
        unsent = gauges.alerts_unsent()
        yield CounterMetricFamily("waybill_alerts_unsent", "Alerts that the webhook did not take.", unsent)

    def _flights(self) -> Iterator[Metric]:
        figures = self._gauges.flights()
        yield _gauge("waybill_flights_aloft", "Requests under way, with a client or without.", figures.aloft)
        yield _gauge(
            "waybill_flights_unclaimed",
            "Requests that no client waits for, and none has the answer of.",
            figures.unclaimed,
        )
        for name, said, count in (
            ("waybill_flights_replayed", "Answers that were given again.", figures.replayed),
            ("waybill_flights_lost", "Requests whose caller was told that there is no answer.", figures.lost),
            ("waybill_flights_rescued", "Requests given to a client after another had left.", figures.rescued),
            ("waybill_pictures_rescued", "Their pictures.", figures.pictures),
        ):
            yield CounterMetricFamily(name, said, count)
        money = CounterMetricFamily("waybill_money_rescued", "What they cost, in whole units.", labels=("currency",))
        for currency, amount_micro in figures.money.items():
            money.add_metric((currency,), amount_micro / MICRO)
        yield money

    def _process(self) -> Iterator[Metric]:
        gauges = self._gauges
        version = f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}"
        yield _labelled("waybill_build_info", "The program.", ("version", "python"), [((__version__, version), 1)])
        yield _gauge("waybill_requests_in_flight", "Requests under way.", gauges.in_flight())
        yield _gauge("waybill_tasks", "Tasks of the event loop.", _tasks())
        yield _labelled(
            "waybill_queue_depth",
            "What waits to be written: commands of the ledger, lines of the log.",
            ("queue",),
            [(("ledger",), gauges.ledger_queue()), (("log",), gauges.log_queue())],
        )
        yield _gauge(
            "waybill_ledger_unwritten", "Settlements that are not in the ledger yet.", gauges.ledger_unwritten()
        )
        yield _gauge("waybill_shared_up", "Whether what replicas share can be reached.", int(gauges.shared_up()))
        yield _gauge("waybill_replicas", "Servers of this ledger, this one included.", gauges.others() + 1)
        yield CounterMetricFamily(
            "waybill_log_dropped", "Log lines dropped because nobody took them.", gauges.log_dropped()
        )
        yield _labelled(
            "waybill_spool_bytes",
            "Bodies under way.",
            ("place",),
            [(("memory",), gauges.spool_memory()), (("disk",), gauges.spool_disk())],
        )

    def _pictures(self) -> Iterator[Metric]:
        kept = CounterMetricFamily("waybill_assets", "Pictures that were to be kept.", labels=("fate",))
        for fate, count in self._gauges.assets().items():
            kept.add_metric((fate,), count)
        yield kept

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


def _times(bounds: Sequence[float]) -> _Times:
    return _Times(bounds, [0] * (len(bounds) + 1))


def _counter(name: str, said: str, labels: Labels, counts: Mapping[Labels, int]) -> Metric:
    family = CounterMetricFamily(name, said, labels=labels)
    for words, count in counts.items():
        family.add_metric(words, count)
    return family


def _histogram(name: str, said: str, labels: Labels, times: Mapping[Labels, _Times]) -> Metric:
    family = HistogramMetricFamily(name, said, labels=labels)
    for words, held in times.items():
        family.add_metric(words, held.buckets(), held.total)
    return family


def _gauge(name: str, said: str, value: float) -> Metric:
    return GaugeMetricFamily(name, said, value=float(value))


def _labelled(name: str, said: str, labels: Labels, values: Iterable[tuple[Labels, float]]) -> Metric:
    family = GaugeMetricFamily(name, said, labels=labels)
    for words, value in values:
        family.add_metric(words, float(value))
    return family
