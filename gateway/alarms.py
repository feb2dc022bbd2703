"""Tells the operator what is wrong: listens to the log's events, looks at budgets and disks, and hands alerts on.

Rules. ``hear`` is called with every event, from any thread: it reads it and queues, and must neither wait nor raise.
One thread decides (``core.alerts``), logs each alert as an event and gives it to the webhook. Of several servers that
see the same thing one tells it; what is about a server's own disks or pictures each tells for itself, and so does each
what it sees while it cannot be agreed on.
"""

import queue
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from gateway.core.alert_signs import Filling, Spending, signs_in, signs_of_filling, signs_of_spending
from gateway.core.alerts import OF_ONE_SERVER, Alert, AlertKind, AlertSettings, AlertState, Signal, Standing, judge
from gateway.core.record import timestamp
from gateway.core.types import JsonObject
from gateway.ports import Clock, Events, LedgerUnavailable, Tellers
from gateway.webhook import Webhook

QUEUE_LIMIT: Final = 4_096
LOOK_S: Final = 30.0
CLOSE_GRACE_S: Final = 2.0


class AlarmMeans(Struct, frozen=True, kw_only=True):
    """What is worked with. ``spending`` may block and raise ``LedgerUnavailable``; ``disks``: names and directories.

    ``encode`` gives the JSON of a value. ``reserve``: bytes of a disk that are the ledger's. ``tellers``: all servers
    that may tell the same; absent: there is only this one.
    """

    settings: AlertSettings
    clock: Clock
    spending: Callable[[], Sequence[Spending]]
    disks: Mapping[str, Path]
    reserve: int
    encode: Callable[[JsonObject], bytes]
    tellers: Tellers | None = None
    look_s: float = LOOK_S


class Alarms:
    """One for the process; ``start`` gives it the log."""

    def __init__(self, means: AlarmMeans) -> None:
        self._means = means
        self._queue: queue.SimpleQueue[Signal | None] = queue.SimpleQueue()
        self._standing: Standing = {}
        self._thread: threading.Thread | None = None
        url = means.settings.webhook
        self._webhook = (
            None if url is None else Webhook(url, means.settings.secret, epoch=lambda: means.clock.now().timestamp())
        )
        self.told: Counter[tuple[AlertKind, AlertState]] = Counter()

    @property
    def unsent(self) -> int:
        """Alerts that the webhook did not take."""
        return 0 if self._webhook is None else self._webhook.unsent

    def hear(self, event: JsonObject) -> None:
        """Take an event of the log in. Never blocks and never raises."""
        for signal in signs_in(event):
            if self._queue.qsize() < QUEUE_LIMIT:
                self._queue.put(signal)

    def start(self, log: Events) -> None:
        """Begin to tell."""
        if self._webhook is not None:
            self._webhook.start()
        self._thread = threading.Thread(target=self._live, args=(log,), name="alarms", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Tell what was heard, and end. Idempotent."""
        if self._thread is None:
            return
        self._queue.put(None)
        self._thread.join(CLOSE_GRACE_S)
        self._thread = None
        if self._webhook is not None:
            self._webhook.close()

    # --- everything below runs in the thread ---

    def _live(self, log: Events) -> None:
        clock = self._means.clock
        next_look = clock.monotonic() + self._means.look_s
        while True:
            try:
                signal = self._queue.get(timeout=max(0.0, next_look - clock.monotonic()))
            except queue.Empty:
                for seen in self._look():
                    self._tell(seen, log)
                next_look = clock.monotonic() + self._means.look_s
                continue
            if signal is None:
                return
            self._tell(signal, log)

    def _tell(self, signal: Signal, log: Events) -> None:
        clock = self._means.clock
        repeat_s = self._means.settings.repeat_s
        self._standing, alert = judge(self._standing, signal, clock.monotonic(), repeat_s)
        if alert is None or not self._is_mine(alert):
            return
        self.told[alert.kind, alert.state] += 1
        said: JsonObject = {"event": "alert", "time": timestamp(clock.now()), **alert.as_json()}
        log.emit(said)
        if self._webhook is not None:
            self._webhook.send(self._means.encode(said))

    def _is_mine(self, alert: Alert) -> bool:
        """Whether it is this server that tells it."""
        tellers, settings = self._means.tellers, self._means.settings
        if tellers is None or alert.kind in OF_ONE_SERVER:
            return True
        about = f"{alert.kind.value} {alert.subject}"
        try:
            if alert.state is AlertState.RESOLVED:
                return tellers.last(about)
            return tellers.first(about, self._means.clock.now(), settings.repeat_s)
        except LedgerUnavailable:
            return True

    def _look(self) -> Iterator[Signal]:
        settings = self._means.settings
        yield from signs_of_filling(self._disks(), settings.disk)
        try:
            spent = self._means.spending()
        except LedgerUnavailable:
            return  # said elsewhere; a budget is looked at again
        yield from signs_of_spending(spent, settings.budget)

    def _disks(self) -> Iterator[Filling]:
        for name, directory in self._means.disks.items():
            try:
                usage = shutil.disk_usage(directory)
            except OSError:
                continue  # not there yet
            yield Filling(name=name, total=usage.total, free=usage.free, reserve=self._means.reserve)
