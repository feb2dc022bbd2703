"""Alerts on their way: from the log's events over a real socket, to a receiver that refuses or is not there."""

import hashlib
import hmac
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from gateway.alarms import AlarmMeans, Alarms
from gateway.clock import SystemClock
from gateway.core.alert_signs import Spending
from gateway.core.alerts import AlertKind, AlertSettings, AlertState
from gateway.core.types import JsonObject
from gateway.ports import Tellers
from gateway.stores.alerts_sql import open_alerts
from gateway.stores.jsontext import encode
from gateway.stores.ledger_sql import upgrade_ledger
from gateway.webhook import Webhook

BARRED: JsonObject = {"event": "target.barred", "channel": "a", "reason": "quota_exhausted", "for_s": 600.0}


@dataclass(slots=True)
class Receiver:
    """What a webhook got; answers with ``statuses`` in turn, then 200."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    got: list[tuple[Mapping[str, str], bytes]] = field(default_factory=list)


@contextmanager
def receiver(*statuses: int) -> Iterator[Receiver]:
    told = Receiver(statuses=list(statuses))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            told.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(told.statuses.pop(0) if told.statuses else 200)
            self.send_header("location", f"{told.url}/elsewhere")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass(slots=True)
class Log:
    lines: list[JsonObject] = field(default_factory=list)

    def emit(self, event: JsonObject) -> None:
        self.lines.append(event)


def until(happened: Callable[[], bool]) -> None:
    for _ in range(500):
        if happened():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen")


def alarms(
    url: str | None,
    directory: Path,
    spent: Sequence[Spending] = (),
    *,
    disk: int = 99,
    tellers: Tellers | None = None,
) -> Alarms:
    return Alarms(
        AlarmMeans(
            settings=AlertSettings(webhook=url, secret="s3cret", disk=disk),
            clock=SystemClock(),
            spending=lambda: spent,
            disks={"data": directory},
            reserve=0,
            encode=encode,
            look_s=0.02,
            tellers=tellers,
        )
    )


def test_an_alert_is_logged_posted_signed_told_once_and_resolved(tmp_path: Path) -> None:
    log = Log()
    with receiver() as there:
        telling = alarms(there.url, tmp_path)
        telling.start(log)
        for event in (BARRED, BARRED, {**BARRED, "event": "target.restored"}):
            telling.hear(event)
        until(lambda: len(there.got) == 2)
        telling.close()
    documents = [json.loads(body) for _, body in there.got]
    assert [one["state"] for one in documents] == ["firing", "resolved"]
    assert [dict(line) for line in log.lines] == documents
    headers, body = there.got[0]
    moment, _, code = headers["x-waybill-signature"].partition(",v1=")
    signed = moment.removeprefix("t=").encode() + b"." + body
    assert hmac.compare_digest(code, hmac.new(b"s3cret", signed, hashlib.sha256).hexdigest())
    assert telling.told == {
        (AlertKind.QUOTA_EXHAUSTED, AlertState.FIRING): 1,
        (AlertKind.QUOTA_EXHAUSTED, AlertState.RESOLVED): 1,
    }


def test_budgets_and_disks_are_looked_at(tmp_path: Path) -> None:
    log = Log()
    telling = alarms(None, tmp_path, [Spending(key_id="k", spent_micro=9, amount_micro=10, currency="USD")], disk=1)
    telling.start(log)
    until(lambda: len(log.lines) >= 2)
    telling.close()
    assert {str(line["subject"]) for line in log.lines} >= {"k 80%"}
    assert "k 100%" not in {str(line["subject"]) for line in log.lines}


def sending(url: str) -> Webhook:
    hook = Webhook(url, None, epoch=time.time, pauses_s=(0.01, 0.01))
    hook.start()
    return hook


def test_a_receiver_in_trouble_is_asked_again_and_one_that_refuses_is_not() -> None:
    with receiver(503, 429, 200, 400, 302) as there:
        hook = sending(there.url)
        for body in (b"1", b"2", b"3"):
            hook.send(body)
        until(lambda: hook.sent + hook.unsent == 3)
        hook.close()
    assert [body for _, body in there.got] == [b"1", b"1", b"1", b"2", b"3"]
    assert (hook.sent, hook.unsent) == (1, 2)
    assert "x-waybill-signature" not in there.got[0][0]


def test_a_receiver_that_is_not_there_loses_alerts_and_nothing_else() -> None:
    hook = sending("http://127.0.0.1:1/hook?token=x")
    for _ in range(400):
        hook.send(b"{}")
    until(lambda: hook.unsent > 100)
    hook.close()
    hook.send(b"{}")
    assert hook.sent == 0


def test_of_servers_that_see_the_same_thing_one_tells_it_and_one_tells_its_end(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/waybill.db"
    upgrade_ledger(url)
    log = Log()
    with receiver() as there:
        two = [alarms(there.url, tmp_path, tellers=open_alerts(url)) for _ in range(2)]
        for telling in two:
            telling.start(log)
            telling.hear(BARRED)
        until(lambda: sum(len(telling._standing) for telling in two) == 2)
        until(lambda: len(log.lines) == 1)
        for telling in two:
            telling.hear({**BARRED, "event": "target.restored"})
        until(lambda: len(log.lines) == 2)
        for telling in two:
            telling.close()
        again = alarms(there.url, tmp_path, tellers=open_alerts(url))
        again.start(log)
        again.hear(BARRED)  # it was over: told anew
        until(lambda: len(there.got) == 3)
        again.close()
        restarted = alarms(there.url, tmp_path, tellers=open_alerts(url))
        restarted.start(log)
        restarted.hear(BARRED)
        until(lambda: bool(restarted._standing))
        restarted.close()
    states = [json.loads(body)["state"] for _, body in there.got]
    assert states == ["firing", "resolved", "firing"]
    assert [line["state"] for line in log.lines] == states


@contextmanager
def dripping(pieces: Sequence[bytes], every_s: float) -> Iterator[str]:
    """A receiver that takes every connection and answers in pieces, without an end."""
    listener = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def drip(line: socket.socket) -> None:
        with line, suppress(OSError):
            while not ended.wait(every_s):
                for piece in pieces:
                    line.sendall(piece)

    def take() -> None:
        with suppress(OSError):
            while True:
                line, _ = listener.accept()
                threading.Thread(target=drip, args=(line,), daemon=True).start()

    taking = threading.Thread(target=take, daemon=True)
    taking.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/hook"
    finally:
        ended.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        taking.join()


@pytest.mark.parametrize(
    "pieces", [(), (b"H",), (b"HTTP/1.1 100 Continue\r\n\r\n",)], ids=["hangs", "drips", "goes on"]
)
def test_a_receiver_that_drips_or_hangs_is_cut_off(pieces: Sequence[bytes]) -> None:
    with dripping(pieces, 0.02) as url:
        hook = Webhook(url, None, epoch=time.time, pauses_s=(), post_s=0.3)
        hook.start()
        began = time.monotonic()
        for _ in range(2):
            hook.send(b"{}")
        until(lambda: hook.unsent == 2)
        assert 0.6 <= time.monotonic() - began < 2.0
        hook.close()
