"""``health`` against real sockets: ready, not ready, slow to say, nobody there."""

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from gateway.config.served import note_served
from tests.cli.program import ROUTES, Program


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


def test_an_sdks_base_url_is_taken(bare: Program, port: int) -> None:
    for url in (f"http://127.0.0.1:{port}/v1", f"http://127.0.0.1:{port}/v1/"):
        for ran in (bare.run("health", "--url", url), bare.run("health", WAYBILL_URL=url)):
            assert (ran.code, ran.out) == (0, f"http://127.0.0.1:{port} is ready\n")


def test_the_server_of_the_data_directory_is_asked(bare: Program, port: int) -> None:
    note_served(bare.directory, f"http://127.0.0.1:{port}")
    ran = bare.run("health", "--data-dir", ".")
    assert (ran.code, ran.out) == (0, f"http://127.0.0.1:{port} is ready\n")
    assert bare.run("health", WAYBILL_DATA_DIR=".").code == 0
    assert bare.run("health", "--data-dir", ".", "--url", "http://127.0.0.1:9").code == 1
    assert bare.run("health", "--data-dir", ".", WAYBILL_URL="http://127.0.0.1:9").code == 1


def test_the_public_address_of_a_file_that_is_named_is_asked(program: Program, port: int) -> None:
    file = program.directory / "public.yaml"
    file.write_text(f"{ROUTES}server: {{public_url: 'http://127.0.0.1:{port}'}}\n")
    ran = program.run("health", "--config", "public.yaml")
    assert (ran.code, ran.out) == (0, f"http://127.0.0.1:{port} is ready\n")
    assert program.run("health", "--config", "public.yaml", "--url", "http://127.0.0.1:9").code == 1
    assert program.run("health", "--config", "public.yaml", WAYBILL_URL="http://127.0.0.1:9").code == 1
    unsaid = program.run("health", WAYBILL_CONFIG="public.yaml", WAYBILL_PORT="9")
    assert unsaid.code == 1, "a check of this machine's server does not go around by its public address"
    for command in (("channels", "list"), ("image", "a fox", "--out", "fox.png"), ("channels", "on", "openai")):
        asked = program.run(*command, "--config", "public.yaml")
        assert (asked.code, "the gateway answered" in asked.err) == (1, True), asked.err
    assert program.run("health", "--config", "nowhere.yaml").code == 2


COMMANDS = (
    ("health",),
    ("image", "a fox", "--out", "fox.png"),
    ("channels", "list"),
    ("channels", "off", "openai"),
    ("explain", "--live"),
    ("smoke", "--model", "gpt-image-2"),
)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_an_address_that_is_none_is_2_before_anything_is_asked(program: Program, command: tuple[str, ...]) -> None:
    for url in ("127.0.0.1:8484", "not a url", "ftp://127.0.0.1", "http://"):
        ran = program.run(*command, "--url", url)
        assert (ran.code, ran.out) == (2, "")
        assert ran.err.startswith("waybill: --url ")
        assert ran.err.endswith(", such as http://127.0.0.1:8484\n")
    of_environment = program.run(*command, WAYBILL_URL="127.0.0.1:8484")
    assert (of_environment.code, of_environment.out) == (2, "")
    assert "WAYBILL_URL: must be an http:// or https:// URL" in of_environment.err
    secret = program.run(*command, "--url", "http://me:secret@127.0.0.1:8484")
    assert secret.code == 2
    assert "WAYBILL_API_KEY" in secret.err
    assert "secret" not in secret.err
