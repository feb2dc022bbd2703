"""``serve --workers``: two processes behind one address, with a real PostgreSQL, Redis and object store."""

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from tests.cli.program import Program
from tests.servers.postgres import Postgres
from tests.servers.redis import redis_server

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
ROUTES = """
version: 1
storage: {{database: "{database}", shared: "{shared}", assets: "s3://assets/w?endpoint={s3}&region=us-east-1"}}
channels:
  s: {{owner: o, kind: sandbox, api: sandbox, limits: {{rpm: 20}}, rows: {{pic: {{serves: [images/generations]}}}}}}
routes: {{pic: {{targets: [s]}}}}
"""


@pytest.fixture
def together(bare: Program, postgres: Postgres) -> Iterator[Program]:
    bucket_server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    bucket_server.start()
    s3 = "http://{}:{}".format(*bucket_server.get_host_and_port())
    with closing(HTTPConnection(*bucket_server.get_host_and_port(), timeout=10)) as client:
        client.request("PUT", "/assets")
        client.getresponse().read()
    with redis_server() as redis:
        routes = ROUTES.format(database=postgres.new_database(), shared=redis.url, s3=s3)
        (bare.directory / "routes.yaml").write_text(routes)
        yield bare
    bucket_server.stop()


def draw(url: str) -> int:
    body = json.dumps({"model": "pic", "prompt": "a fox"}).encode()
    request = urllib.request.Request(f"{url}/v1/images/generations", body, {"content-type": "application/json"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - our own server
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        refused.close()
        return refused.code


def lines_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def wait_for(holds: Callable[[], bool], within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_two_workers_share_an_address_a_ledger_and_a_limit(together: Program, tmp_path: Path) -> None:
    log = tmp_path / "log"

    def told(event: str) -> list[dict[str, object]]:
        return [line for line in lines_of(log) if line["event"] == event]

    with log.open("wb") as out:
        process = subprocess.Popen(
            together.argv("serve", "--port", "0", "--workers", "2", "--data-dir", "d"),
            cwd=together.directory,
            env=together.environment(**CREDENTIALS),
            stdout=out,
        )
    try:
        wait_for(lambda: len(told("server.ready")) == 2)
        (url,) = {str(line["url"]) for line in told("server.ready")}
        statuses = [draw(url) for _ in range(8)]
        assert statuses.count(200) in {2, 3}  # a tenth of 20 at once, whoever answers; one more as time goes by
        assert set(statuses) == {200, 429}
        wait_for(lambda: len(told("request.finished")) == 8)
        assert len(together.run("logs", "--json", "--data-dir", "d", **CREDENTIALS).out.splitlines()) == 8
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
        assert len(told("server.stopped")) == 2
    finally:
        process.kill()
        process.wait()


def test_a_worker_that_is_killed_is_said(together: Program, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            together.argv("serve", "--port", "0", "--workers", "2", "--data-dir", "d"),
            cwd=together.directory,
            env=together.environment(**CREDENTIALS),
            stdout=out,
        )
    try:
        wait_for(lambda: log.read_text().count("server.ready") == 2)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGKILL)
        wait_for(lambda: '"worker.ended"' in log.read_text())
        assert process.wait(timeout=20) == 1  # it had hardly begun: it is taken for one that cannot start
    finally:
        process.kill()
        process.wait()
