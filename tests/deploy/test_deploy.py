"""What lies under deploy/ agrees with the program; and its arrangement, without containers, serves through nginx."""

import asyncio
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import AsyncExitStack, closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from moto.server import ThreadedMotoServer

from gateway.config import Loaded, load
from gateway.core.table import BodyLimits
from tests.fakes.server import REPOSITORY, run_program, server_process
from tests.servers.postgres import Postgres
from tests.servers.redis import redis_server

DEPLOY = REPOSITORY / "deploy"
METRIC = re.compile(r"waybill_[a-z_]+")
PIC = {"model": "pic", "prompt": "a cat", "response_format": "url"}


def routes() -> str:
    """Write the arrangement's own routes file, with a channel that needs no account."""
    document = yaml.safe_load((DEPLOY / "routes.yaml").read_text("utf-8"))
    rows = {"pic": {"serves": ["images/generations"]}}
    document["channels"] = {"sandbox": {"owner": "nobody", "kind": "sandbox", "rows": rows}}
    document["routes"] = {"pic": {"targets": ["sandbox"]}}
    return yaml.safe_dump(document)


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
    return found


def nginx_for(directory: Path, port: int, *replicas: int) -> Path:
    """Write the configuration for loopback: only addresses and where files go differ."""
    text = (DEPLOY / "nginx.conf").read_text("utf-8")
    for number, replica in enumerate(replicas, 1):
        text = text.replace(f"waybill-{number}:8484", f"127.0.0.1:{replica}")
    text = text.replace("listen 8080", f"listen 127.0.0.1:{port}")
    text = text.replace("http {", f"http {{ access_log off; client_body_temp_path {directory}/body;", 1)
    file = directory / "nginx.conf"
    file.write_text(f"daemon off; pid {directory}/pid; error_log stderr; {text}", "utf-8")
    return file


def test_the_page_makes_the_secrets_and_names_the_services_of_the_arrangement(tmp_path: Path) -> None:
    text = (REPOSITORY / "docs/deploy.md").read_text("utf-8")
    first = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)[0]
    (tmp_path / "deploy").mkdir()
    environment = {"PATH": os.environ["PATH"], "OPENAI_API_KEY": "sk-planted"}
    subprocess.run(["bash", "-euc", first], cwd=tmp_path, env=environment, check=True, timeout=60)
    wanted = set(re.findall(r"\$\{([A-Z0-9_]+):\?\}", (DEPLOY / "compose.yaml").read_text("utf-8")))
    made = dict(line.split("=") for line in (tmp_path / "deploy/.env").read_text("utf-8").splitlines())
    assert set(made) == wanted
    for secret in compose()["secrets"].values():
        assert (tmp_path / "deploy" / secret["file"]).read_text("utf-8").strip()
    assert set(re.findall(r"(?:logs|exec) ([a-z]+-[a-z0-9]+)", text)) <= set(compose()["services"])


def test_every_metric_on_the_dashboard_and_in_the_rules_exists() -> None:
    known = set(METRIC.findall((REPOSITORY / "docs/operations.md").read_text("utf-8")))
    dashboard = (DEPLOY / "grafana/waybill.json").read_text("utf-8")
    rules = (DEPLOY / "prometheus/alerts.yaml").read_text("utf-8")
    assert json.loads(dashboard)["panels"]
    assert yaml.safe_load(rules)["groups"]
    used = {name.removesuffix("_bucket") for name in METRIC.findall(dashboard + rules)}
    assert used <= known


def test_compose_agrees_with_the_program(tmp_path: Path) -> None:
    services = compose()["services"]
    env = {**services["waybill-1"]["environment"], "POSTGRES_PASSWORD": "x", "OPENAI_API_KEY": "k"}
    env |= {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "DATABASE_URL": "postgresql://w:x@postgres/w"}
    loaded = load(DEPLOY / "routes.yaml", env=env, data_dir=tmp_path, sandbox_allowed=False)
    assert isinstance(loaded, Loaded), loaded
    docker = (REPOSITORY / "Dockerfile").read_text("utf-8")
    ports = set(re.findall(r"server waybill-\d:(\d+)", (DEPLOY / "nginx.conf").read_text("utf-8")))
    assert set(re.findall(r"^EXPOSE (\d+)", docker, re.MULTILINE)) == ports
    for service in services.values():
        assert set(service.get("depends_on", ())) <= services.keys()


def test_nginx_takes_the_largest_body() -> None:
    text = (DEPLOY / "nginx.conf").read_text("utf-8")
    [most] = re.findall(r"client_max_body_size (\d+)m", text)
    assert int(most) * 1_000_000 > BodyLimits().multipart
    assert "proxy_buffering off" in text


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
async def test_two_replicas_serve_through_nginx(tmp_path: Path, postgres: Postgres, unused_port: int) -> None:
    async with AsyncExitStack() as running:
        env = {
            "DATABASE_URL": postgres.new_database(),
            "REDIS_URL": running.enter_context(redis_server()).url,
            "ASSETS_URL": running.enter_context(bucket()),
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
        }
        one, two = [
            await running.enter_async_context(server_process(routes(), tmp_path / name, **env)) for name in ("1", "2")
        ]
        made = await run_program(tmp_path / "1", "keys", "create", "--name", "app", "--json", **env)
        key = json.loads(made)["key"]
        file = nginx_for(tmp_path, unused_port, one.port, two.port)
        nginx = shutil.which("nginx") or ""
        tried = await asyncio.create_subprocess_exec(nginx, "-t", "-q", "-p", str(tmp_path), "-c", str(file))
        assert await tried.wait() == 0
        balancer = await asyncio.create_subprocess_exec(nginx, "-p", str(tmp_path), "-c", str(file))
        try:
            async with httpx2.AsyncClient(
                base_url=f"http://127.0.0.1:{unused_port}", headers={"authorization": f"Bearer {key}"}
            ) as client:
                links = []
                for _ in range(8):
                    answer = await _answered(client)
                    assert answer.status_code == 200
                    links.append(answer.json()["data"][0]["url"])
                assert {(await client.get(link)).headers["content-type"] for link in links} == {"image/png"}
                assert (await client.get("/readyz")).json()["shared"] == "ok"
        finally:
            balancer.terminate()
            await balancer.wait()
        ended = [[one for one in replica.events() if one["event"] == "request.finished"] for replica in (one, two)]
        hashes = {event["request_shape"]["prompt_hash"] for events in ended for event in events}
        assert [bool(events) for events in ended] == [True, True]
        assert len(hashes) == 1  # one key for both


@contextmanager
def bucket() -> Iterator[str]:
    """An S3 API with an empty bucket, as ``storage.assets`` says it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        with closing(HTTPConnection(host, port, timeout=10)) as client:
            client.request("PUT", "/waybill")
            client.getresponse().read()
        yield f"s3://waybill/pictures?endpoint=http://{host}:{port}&region=us-east-1"
    finally:
        server.stop()


async def _answered(client: httpx2.AsyncClient) -> httpx2.Response:
    async with asyncio.timeout(20):
        while True:
            try:
                return await client.post("/v1/images/generations", json=PIC)
            except httpx2.ConnectError:
                await asyncio.sleep(0.05)


@pytest.fixture
def unused_port(unused_tcp_port_factory: Any) -> int:
    return int(unused_tcp_port_factory())
