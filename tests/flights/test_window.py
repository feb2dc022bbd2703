"""How long a client waits: by itself 90 s where others can connect, and without bound where only this machine can."""

import json
from pathlib import Path

import httpx2
import pytest

from tests.fakes.server import run_program, server_process
from tests.fakes.upstream import FakeUpstream
from tests.flights.airport import GENERATION, PICTURE, routes, slow

EVERYWHERE = ("--host", "0.0.0.0")


async def new_key(directory: Path, file: str) -> str:
    directory.mkdir(exist_ok=True)
    (directory / "routes.yaml").write_text(file, "utf-8")
    made = await run_program(directory, "keys", "create", "--name", "app", "--json")
    return str(json.loads(made)["key"])


def stated(file: str, window: str | None) -> str:
    return file.replace("client_window: 'off'", "{}" if window is None else f"client_window: {window}")


@pytest.mark.parametrize(
    ("window", "here", "everywhere"), [(None, None, 90.0), ("off", None, None), ("45s", 45.0, 45.0)]
)
async def test_the_window_that_holds(tmp_path: Path, window: str | None, here: object, everywhere: object) -> None:
    async with FakeUpstream(key="sk-A") as upstream:
        file = stated(routes(upstream), window)
        async with server_process(file, tmp_path / "here") as server:
            assert server.ready["client_window_s"] == here
        await new_key(tmp_path / "everywhere", file)
        async with server_process(file, tmp_path / "everywhere", *EVERYWHERE) as server:
            assert server.ready["client_window_s"] == everywhere


async def test_who_connects_from_elsewhere_is_told_to_come_back(tmp_path: Path) -> None:
    async with FakeUpstream(key="sk-A", default=slow(1.5)) as upstream:
        file = stated(routes(upstream), "400ms")
        headers = {"authorization": f"Bearer {await new_key(tmp_path, file)}"}
        async with server_process(file, tmp_path, *EVERYWHERE) as server, httpx2.AsyncClient(trust_env=False) as client:
            where = f"http://127.0.0.1:{server.port}/v1/images/generations"
            answers = [await client.post(where, json=GENERATION, headers=headers)]
            while answers[-1].status_code == 503:
                answers.append(await client.post(where, json=GENERATION, headers=headers))
            assert (answers[-1].status_code, answers[-1].content) == (200, PICTURE)
            assert len(answers) > 2
            assert upstream.count == 1
