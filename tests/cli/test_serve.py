"""``serve``: the first picture from an empty directory, and what it refuses."""

import base64
import json
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from tests.cli.program import Program


@contextmanager
def serving(program: Program, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    with subprocess.Popen(
        program.argv("serve", "--port", "0", *arguments),
        cwd=program.directory,
        env=program.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            ready = json.loads(process.stdout.readline())
            assert ready["event"] == "server.ready"
            yield process, ready["url"]
        finally:
            process.kill()


def test_an_empty_directory_serves_a_picture_and_logs_it(bare: Program) -> None:
    with serving(bare, "--data-dir", "d") as (process, url):
        assert bare.run("health", "--url", url).code == 0
        request = urllib.request.Request(  # noqa: S310 - our own server
            f"{url}/v1/images/generations",
            data=json.dumps({"model": "gpt-image-2", "prompt": "a fox", "size": "1024x640"}).encode(),
            headers={"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - same
            picture = base64.b64decode(json.load(answer)["data"][0]["b64_json"])
            request_id = answer.headers["x-request-id"]
        assert picture.startswith(b"\x89PNG")
        logged = bare.run("logs", "--json", "--data-dir", "d")
        record = json.loads(logged.out)
        assert (record["request_id"], record["route_owner"]) == (request_id, "sandbox")
        assert "1024x640 png" in bare.run("logs", "--data-dir", "d").out
        for columns in (80, 140):
            shown = bare.run("logs", request_id, "--data-dir", "d", COLUMNS=str(columns)).out
            assert max(len(line) for line in shown.splitlines()) <= columns
            said = " ".join(shown.split())
            for piece in (
                *(request_id, "surface images/generations", "answer 200", "asked for gpt-image-2, size 1024x640, n 1"),
                *("served by sandbox, sandbox/gpt-image-2", "1024x640, png, ast_", "openai/gpt-image-2 no credentials"),
            ):
                assert piece in said
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0


def test_commands_find_the_server_of_their_data_directory(bare: Program) -> None:
    with serving(bare, "--data-dir", "d", "--json") as (process, url):
        for command in (
            ("health",),
            ("channels", "list"),
            ("image", "a fox", "--out", "fox.png"),
            ("explain", "--live"),
        ):
            ran = bare.run(*command, "--data-dir", "d")
            assert ran.code == 0, ran.err
        assert bare.run("health", WAYBILL_DATA_DIR="d").out == f"{url} is ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
    assert not (bare.directory / "d" / "server.json").exists()


def test_an_address_that_can_be_used_is_told_where_it_listens_on_all(bare: Program) -> None:
    assert bare.run("keys", "create", "--name", "app").code == 0
    with serving(bare, "--host", "0.0.0.0") as (process, url):
        assert url.startswith("http://127.0.0.1:")
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=20)
    assert f"  API       {url}/v1\n            listens on every address of this machine" in said


def test_several_workers_are_refused(bare: Program) -> None:
    ran = bare.run("serve", "--workers", "2")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("waybill: --workers above 1 needs stores that processes can share: storage.database")


def test_a_bad_file_is_2(bare: Program) -> None:
    (bare.directory / "routes.yaml").write_text("version: 2\n")
    ran = bare.run("serve", "--port", "0")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("routes.yaml:1:")


def test_a_data_directory_has_one_server_whatever_its_ledger_is_called(bare: Program) -> None:
    with serving(bare, "--data-dir", "d"):
        (bare.directory / "other.yaml").write_text(
            "version: 1\nstorage: {database: 'sqlite:///other.db'}\n"
            "channels: {s: {owner: o, kind: sandbox, api: sandbox, rows: {pic: {serves: [images/generations]}}}}\n"
            "routes: {pic: {targets: [s]}}\n"
        )
        second = bare.run("serve", "--port", "0", "--data-dir", "d", "--config", "other.yaml")
    assert second.code == 1
    assert "spool is in use by a server" in second.err
