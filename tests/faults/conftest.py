"""The contract suite runs on both event loops, against whatever ``sender`` gives it.

To try another HTTP client, give it here: the tests know ``ports.Sender`` and nothing below it.
"""

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest
import uvloop

from gateway.ports import Sender
from gateway.upstream.client import Upstream
from tests.fakes.tls import Certificate, make_certificate

SMALL_ANSWER_CAP = 4_000_000


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


def open_sockets() -> int:
    """Count this process's sockets."""
    links = []
    for entry in os.scandir("/proc/self/fd") if Path("/proc/self/fd").exists() else ():
        try:
            links.append(os.readlink(entry.path))  # noqa: PTH115 - one system call each
        except OSError:
            continue
    return sum(link.startswith("socket:") for link in links)


@pytest.fixture
async def _nothing_leaks() -> AsyncIterator[None]:
    """No socket and no task is left when everything is closed; pytest turns a ResourceWarning into a failure."""
    sockets, tasks = open_sockets(), len(asyncio.all_tasks())
    gc.freeze()  # what stood before is not looked through again: in a whole run that would take a third of a second
    yield
    try:
        for _ in range(20):
            gc.collect()
            await asyncio.sleep(0.01)
            if open_sockets() <= sockets and len(asyncio.all_tasks()) <= tasks:
                return
    finally:
        gc.unfreeze()
    assert (open_sockets(), len(asyncio.all_tasks())) == (sockets, tasks)


@pytest.fixture
async def sender(_nothing_leaks: None) -> AsyncIterator[Sender]:
    """The client under test."""
    client = Upstream(most_answer_bytes=SMALL_ANSWER_CAP)
    await client.start()
    yield client
    await client.close()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
async def trusting_sender(_nothing_leaks: None, certificate: Certificate) -> AsyncIterator[Sender]:
    """The client under test, trusting the test's own certificate."""
    client = Upstream(ssl_context=certificate.client_context())
    await client.start()
    yield client
    await client.close()
