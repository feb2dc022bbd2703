"""Two servers in processes of their own over one PostgreSQL, one Redis and one object store; started once."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path

import httpx2
import pytest
import yaml
from moto.server import ThreadedMotoServer

from tests.fakes.gateway import NO_TLS
from tests.fakes.server import environment
from tests.fakes.upstream import FakeUpstream, closed_port
from tests.keys.house import BY_PICTURE, FLAT, GENERATION
from tests.servers.postgres import Postgres
from tests.servers.redis import redis_server

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}


@dataclass(slots=True, kw_only=True)
class Replica:
    """One server's process."""

    directory: Path
    url: str = ""
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, or start it again, and wait until it is ready."""
        command = [sys.executable, "-m", "gateway", "serve", "--port", "0", "--data-dir", "data"]
        log = self.directory / "log.jsonl"
        with log.open("wb") as out, (self.directory / "stderr.txt").open("ab") as err:
            env = {**environment(self.directory), **CREDENTIALS}
            self.process = subprocess.Popen(command, cwd=self.directory, env=env, stdout=out, stderr=err)
        deadline = time.monotonic() + 30
        while b"\n" not in log.read_bytes():
            assert time.monotonic() < deadline
            assert self.process.poll() is None, (self.directory / "stderr.txt").read_text("utf-8")
            time.sleep(0.02)
        self.url = str(json.loads(log.read_bytes().partition(b"\n")[0])["url"])

    def kill(self) -> None:
        """End it at once."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What lasts for all tests. ``ports``: where the upstreams of the channels A and B are to listen."""

    one: Replica
    two: Replica
    ports: Mapping[str, int]
    database: str


def routes_of(ports: Mapping[str, int], storage: Mapping[str, str]) -> str:
    rows = {
        "pic": {"model": "gpt-image-2", "serves": ["images/generations"], "price": FLAT},
        "chat": {"model": "chat", "serves": ["responses"]},
    }
    channels = {
        name: {
            "owner": f"owner-{name}", "kind": "direct", "base_url": f"http://127.0.0.1:{port}/v1",
            "api_key": f"sk-{name}", "max_in_flight": 500, "rows": rows,
        }
        for name, port in ports.items()
    }  # fmt: skip
    routes = {"pic": {"targets": ["A"], "charge": BY_PICTURE}, "chat": {"targets": ["A", "B"]}}
    return yaml.safe_dump({"version": 1, "storage": dict(storage), "channels": channels, "routes": routes})


@pytest.fixture(scope="session")
def ground(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    bucket_server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    bucket_server.start()
    host, port = bucket_server.get_host_and_port()
    with closing(HTTPConnection(host, port, timeout=10)) as client:
        client.request("PUT", "/assets")
        client.getresponse().read()
    with redis_server() as redis:
        database = postgres.new_database()
        storage = {
            "database": database,
            "shared": redis.url,
            "assets": f"s3://assets/w?endpoint=http://{host}:{port}&region=us-east-1",
        }
        ports = {"A": closed_port(), "B": closed_port()}
        replicas = [Replica(directory=tmp_path_factory.mktemp(name)) for name in ("one", "two")]
        try:
            for replica in replicas:
                (replica.directory / "routes.yaml").write_text(routes_of(ports, storage), "utf-8")
                replica.start()
            yield Ground(one=replicas[0], two=replicas[1], ports=ports, database=database)
        finally:
            for replica in replicas:
                replica.kill()
            bucket_server.stop()


@dataclass(slots=True, kw_only=True)
class Fleet:
    """The two servers, their upstreams and a client."""

    ground: Ground
    upstreams: Mapping[str, FakeUpstream]
    client: httpx2.AsyncClient
    shown: dict[str, str] = field(default_factory=dict)

    @property
    def bought(self) -> int:
        return sum(one.count for one in self.upstreams.values())

    def at(self, number: int) -> Replica:
        return (self.ground.one, self.ground.two)[number % 2]

    async def key(self, **order: object) -> dict[str, str]:
        """Make a key at the first server; its headers, once both servers ask for one."""
        made = await self.client.post(f"{self.at(0).url}/api/keys", json={"name": "app", **order})
        assert made.status_code == 200, made.text
        self.shown = {"authorization": f"Bearer {made.json()['key']}"}
        for number in range(2):
            async with asyncio.timeout(5):
                while (await self.client.get(f"{self.at(number).url}/v1/models")).status_code != 401:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        return {"id": made.json()["id"]}

    async def ask(
        self, number: int, path: str = "images/generations", body: object = None, **headers: str
    ) -> httpx2.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.post(
            f"{self.at(number).url}/v1/{path}",
            json=GENERATION if body is None else body,
            headers={**self.shown, **named},
        )

    async def listed(self, key_id: str) -> dict[str, object]:
        data = (await self.client.get(f"{self.at(1).url}/api/keys")).json()["data"]
        [found] = [one for one in data if one["id"] == key_id]
        return dict(found)


@pytest.fixture
async def fleet(ground: Ground) -> AsyncIterator[Fleet]:
    limits = httpx2.Limits(max_connections=None)
    upstreams = {name: FakeUpstream(key=f"sk-{name}") for name in ground.ports}
    for name, upstream in upstreams.items():
        await upstream.start(ground.ports[name])
    async with httpx2.AsyncClient(timeout=60, trust_env=False, verify=NO_TLS, limits=limits) as client:
        yield Fleet(ground=ground, upstreams=upstreams, client=client)
    for upstream in upstreams.values():
        await upstream.close()
        assert upstream.problems == []
