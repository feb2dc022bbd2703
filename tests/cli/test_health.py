"""``health`` against real sockets: ready, not ready, slow to say, nobody there."""

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.cli.program import Program


class Answering(BaseHTTPRequestHandler):
    """Answers ``/readyz`` with 200, ``/off/readyz`` with 503 and all else with 404."""

    def do_GET(self) -> None:
        status = {"/readyz": 200, "/off/readyz": 503}.get(self.path, 404)
        body = json.dumps({"status": status}).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class named it
        pass


@pytest.fixture
def port() -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_ready(bare: Program, port: int) -> None:
    ran = bare.run("health", "--url", f"http://127.0.0.1:{port}/")
    assert (ran.code, ran.out, ran.err) == (0, f"http://127.0.0.1:{port} is ready\n", "")


def test_not_ready(bare: Program, port: int) -> None:
    ran = bare.run("health", WAYBILL_URL=f"http://127.0.0.1:{port}/off")
    assert (ran.code, ran.out) == (1, "")
    assert "not ready: it answered 503" in ran.err


def test_the_port_of_the_environment_is_asked(bare: Program, port: int) -> None:
    ran = bare.run("health", "--json", WAYBILL_PORT=str(port), WAYBILL_HOST="0.0.0.0")
    assert (ran.code, json.loads(ran.out)) == (
        0,
        {"ready": True, "url": f"http://127.0.0.1:{port}", "status": 200, "answer": {"status": 200}},
    )


def test_nobody_there(bare: Program) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        ran = bare.run("health", "--url", url, HTTP_PROXY="http://127.0.0.1:9")
    assert (ran.code, ran.err) == (1, f"waybill: {url} is not reachable: connection refused\n")
    broken = bare.run("health", "--url", "not a url", "--json")
    assert (broken.code, json.loads(broken.out)["ready"]) == (1, False)
