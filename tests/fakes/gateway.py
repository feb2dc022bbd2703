"""A whole gateway on a loopback socket inside the test's event loop, wired by the composition root itself."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway import config
from gateway.launcher import bind
from gateway.main import build
from gateway.running import Gateway
from gateway.web.server import build_server

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # for clients that need none: reading all authorities takes 30 ms


@dataclass(slots=True, kw_only=True)
class RunningGateway:
    """One server and what it has logged."""

    url: str
    gateway: Gateway
    log: Path

    def events(self) -> list[dict[str, Any]]:
        """Every line logged so far."""
        return [json.loads(line) for line in self.log.read_text("utf-8").splitlines()]

    async def record(self, request_id: str) -> dict[str, Any]:
        """The record of one request; the log's thread gets two seconds to write it."""
        for _ in range(200):
            for event in self.events():
                if event.get("event") == "request.finished" and event["request_id"] == request_id:
                    return event
            await asyncio.sleep(0.01)
        raise AssertionError(f"no record of {request_id} in the log")


@asynccontextmanager
async def running_gateway(
    routes: str, directory: Path, env: Mapping[str, str] | None = None
) -> AsyncIterator[RunningGateway]:
    """Serve ``routes`` (YAML text) with everything under ``directory``."""
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / "routes.yaml"
    file.write_text(routes, "utf-8")
    loaded = config.load(file, env=env or {}, data_dir=directory / "data", sandbox_allowed=True)
    assert not isinstance(loaded, list), "\n".join(str(mistake) for mistake in loaded)
    log = directory / "log.jsonl"
    with log.open("wb") as out, bind("127.0.0.1", 0) as listener:
        gateway = build(loaded, directory / "data", out)
        await gateway.start()
        # ``server.serve`` without its signals and its loop, which looks ten times a second whether to end.
        server = build_server(gateway.app)
        server.config.load()
        server.lifespan = server.config.lifespan_class(server.config)
        await server.startup(sockets=[listener])
        await server.on_tick(0)
        try:
            port = listener.getsockname()[1]
            yield RunningGateway(url=f"http://127.0.0.1:{port}", gateway=gateway, log=log)
        finally:
            await asyncio.wait_for(server.shutdown(sockets=[listener]), 20)
            unwritten = await gateway.stop()
        assert unwritten == 0
