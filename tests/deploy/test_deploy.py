"""What lies under deploy/ agrees with the program; and its arrangement, without containers, serves through nginx."""

import asyncio
import json
import re
import shutil
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from gateway.config import Loaded, load
from gateway.core.table import BodyLimits
from tests.fakes.server import REPOSITORY, run_program, server_process
from tests.servers.postgres import Postgres

DEPLOY = REPOSITORY / "deploy"
METRIC = re.compile(r"waybill_[a-z_]+")
ROUTES = """version: 1
storage: {database: "%s"}
channels:
  sandbox: {owner: nobody, kind: sandbox, rows: {pic: {serves: [images/generations]}}}
routes:
  pic: {targets: [sandbox]}
"""


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
    routes = ROUTES % postgres.new_database()
    async with AsyncExitStack() as running:
        one, two = [await running.enter_async_context(server_process(routes, tmp_path / name)) for name in ("1", "2")]
        key = json.loads(await run_program(tmp_path / "1", "keys", "create", "--name", "app", "--json"))["key"]
        file = nginx_for(tmp_path, unused_port, one.port, two.port)
        nginx = shutil.which("nginx") or ""
        tried = await asyncio.create_subprocess_exec(nginx, "-t", "-q", "-p", str(tmp_path), "-c", str(file))
        assert await tried.wait() == 0
        balancer = await asyncio.create_subprocess_exec(nginx, "-p", str(tmp_path), "-c", str(file))
        try:
            async with httpx2.AsyncClient(
                base_url=f"http://127.0.0.1:{unused_port}", headers={"authorization": f"Bearer {key}"}
            ) as client:
                for _ in range(8):
                    answer = await _answered(client)
                    assert answer.status_code == 200
        finally:
            balancer.terminate()
            await balancer.wait()
        for replica in (one, two):
            assert any(event["event"] == "request.finished" for event in replica.events())


async def _answered(client: httpx2.AsyncClient) -> httpx2.Response:
    async with asyncio.timeout(20):
        while True:
            try:
                return await client.post("/v1/images/generations", json={"model": "pic", "prompt": "a cat"})
            except httpx2.ConnectError:
                await asyncio.sleep(0.05)


@pytest.fixture
def unused_port(unused_tcp_port_factory: Any) -> int:
    return int(unused_tcp_port_factory())
