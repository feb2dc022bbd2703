import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from uvicorn.server import ServerState

from gateway.core.ids import is_id
from gateway.exchange import Presence
from gateway.ports import Job
from gateway.relay import Result
from gateway.web.protocol import Protocol, ServerConfig
from gateway.web.receipt import Receipt
from gateway.web.server import Drain, build_server, new_event_loop, random_request_id
from tests.web.house import House, Kept, ask, bound, get, post, read_reply, record_of, serving, until

PROGRAM = """
import sys
from gateway.web.server import build_server, new_event_loop
from tests.web.house import House, bound
import asyncio

listener = bound()
server = build_server(House().app(), on_ready=lambda: print(listener.getsockname()[1], flush=True))
with asyncio.Runner(loop_factory=new_event_loop) as runner:
    runner.run(server.serve(sockets=[listener]))
print("done", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_in_an_orderly_way(number: signal.Signals) -> None:
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=root, env=os.environ
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        port = int(process.stdout.readline())
        with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
            client.sendall(get("/healthz"))
            assert client.recv(65536).startswith(b"HTTP/1.1 200")
            process.send_signal(number)
            assert process.wait(10) == 0
        assert process.stdout.read() == b"done\n"
        assert process.stderr.read() == b""


def house_that_waits(release: asyncio.Event) -> House:
    house = House()

    async def slow(job: Job, _presence: Presence) -> Result:
        await release.wait()
        return Result(status=200, record=record_of(job.request_id), body=Kept(b"{}"))

    house.line.serve = slow
    return house


async def test_connections_are_taken_during_the_lead_and_after_it_none() -> None:
    release, listening, begun = asyncio.Event(), asyncio.Event(), asyncio.Event()
    house = house_that_waits(release)
    listener = bound()
    port = listener.getsockname()[1]
    drain = Drain(lead_s=0.4, begin=begun.set)
    server = build_server(house.app(), on_ready=listening.set, drain=drain)
    async with asyncio.TaskGroup() as group:
        group.create_task(server.serve(sockets=[listener]))
        await listening.wait()
        server.leave()
        assert begun.is_set()
        late = group.create_task(ask(port, post("/v1/images/generations")))
        await until(lambda: house.line.jobs)
        await asyncio.sleep(0.8)
        with pytest.raises(ConnectionRefusedError):
            await ask(port, get("/healthz"))
        release.set()
        assert (await late).status == 200


async def test_what_is_not_finished_in_time_is_cut_and_then_answered() -> None:
    release, listening = asyncio.Event(), asyncio.Event()
    house = house_that_waits(release)

    async def cut() -> None:
        release.set()

    listener = bound()
    port = listener.getsockname()[1]
    server = build_server(house.app(), on_ready=listening.set, drain=Drain(grace_s=0.2, cut=cut))
    async with asyncio.TaskGroup() as group:
        group.create_task(server.serve(sockets=[listener]))
        await listening.wait()
        asked = group.create_task(ask(port, post("/v1/images/generations")))
        await until(lambda: house.line.jobs)
        server.leave()
        assert (await asked).status == 200


async def test_told_again_it_has_a_second_left_and_cancels_what_a_cut_does_not_end() -> None:
    listening, cancelled = asyncio.Event(), asyncio.Event()
    house = House()

    async def stubborn(_job: Job, _presence: Presence) -> Result:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        raise AssertionError

    house.line.serve = stubborn
    listener = bound()
    port = listener.getsockname()[1]
    server = build_server(house.app(), on_ready=listening.set, drain=Drain(settle_s=0.1))
    async with asyncio.TaskGroup() as group:
        group.create_task(server.serve(sockets=[listener]))
        await listening.wait()
        asked = group.create_task(ask(port, post("/v1/images/generations")))
        await until(lambda: house.line.jobs)
        begun = asyncio.get_running_loop().time()
        server.leave()
        await asyncio.sleep(0.2)
        assert not cancelled.is_set()
        server.leave()
        answer = await asked
        assert (answer.status, answer.error["code"], answer["x-should-retry"]) == (
            502,
            "upstream_unknown_outcome",
            "false",
        )
    assert cancelled.is_set()
    assert asyncio.get_running_loop().time() - begun < 2


async def test_a_request_whose_head_is_on_its_way_is_answered_and_the_last_on_its_connection() -> None:
    house, listening = House(), asyncio.Event()
    listener = bound()
    server = build_server(house.app(), on_ready=listening.set)
    async with asyncio.TaskGroup() as group:
        group.create_task(server.serve(sockets=[listener]))
        await listening.wait()
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.getsockname()[1])
        request = post("/v1/images/generations")
        writer.write(request[:30])
        await asyncio.sleep(0.1)
        server.leave()
        await asyncio.sleep(0.3)
        writer.write(request[30:])
        assert (await read_reply(reader)).status == 200
        assert await reader.read() == b""
        writer.close()


async def test_a_running_request_is_finished_before_the_end() -> None:
    house, release, listening = House(), asyncio.Event(), asyncio.Event()

    async def slow(job: Job, _presence: Presence) -> Result:
        await release.wait()
        return Result(status=200, record=record_of(job.request_id), body=Kept(b"{}"))

    house.line.serve = slow
    listener = bound()
    port = listener.getsockname()[1]
    server = build_server(house.app(), on_ready=listening.set)
    async with asyncio.TaskGroup() as group:
        group.create_task(server.serve(sockets=[listener]))
        await listening.wait()
        asked = group.create_task(ask(port, post("/v1/images/generations")))
        await until(lambda: house.line.jobs)
        server.should_exit = True
        await asyncio.sleep(0.25)
        assert not house.line.presences[0].gone
        release.set()
        reply = await asked
    assert reply.status == 200


class Endless:
    """An answer too long for any buffer."""

    def __init__(self) -> None:
        self.closed = False

    length = 2**40

    async def chunks(self) -> AsyncIterator[bytes]:
        while True:
            yield bytes(262_144)

    def close(self) -> None:
        self.closed = True


async def test_an_answer_nobody_reads_is_cut() -> None:
    house, endless = House(), Endless()

    async def big(job: Job, _presence: Presence) -> Result:
        return Result(status=200, record=record_of(job.request_id), body=endless)

    house.line.serve = big
    async with serving(house.app(), Receipt(stall_s=0.2)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(post("/v1/images/generations"))
        await reader.readuntil(b"\r\n")
        await until(lambda: endless.closed)
        writer.transport.abort()


async def test_a_reader_that_pauses_gets_all_of_its_answer() -> None:
    house = House()
    kept = Kept(*[bytes(262_144)] * 40)

    async def big(job: Job, _presence: Presence) -> Result:
        return Result(status=200, record=record_of(job.request_id), body=kept)

    house.line.serve = big
    async with serving(house.app(), Receipt(stall_s=1.0)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(post("/v1/images/generations"))
        await asyncio.sleep(0.2)
        assert len((await read_reply(reader)).body) == kept.length
        writer.close()


async def test_what_an_application_leaves_unread_closes_the_connection() -> None:
    """An application that answers without reading cannot leave body bytes to be taken for the next request."""

    async def careless(scope: dict[str, object], receive: object, send: object) -> None:
        assert callable(send)
        assert callable(receive)
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async with serving(careless) as port:  # type: ignore[arg-type]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(get("/", "Content-Length: 100", method="POST") + b"GET / HTTP/1.1\r\n")
        assert (await read_reply(reader)).status == 200
        assert await reader.read() == b""
        writer.close()


async def test_an_idle_body_is_not_cut_while_we_do_not_read() -> None:
    house = House()
    release = asyncio.Event()
    reading = house.desk.read

    async def busy(incoming: object) -> object:
        await release.wait()
        return await reading(incoming)  # type: ignore[arg-type]

    house.desk.read = busy  # type: ignore[method-assign, assignment]
    async with serving(house.app(), Receipt(idle_s=0.1)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(post("/v1/images/generations", bytes(900_000)))
        await asyncio.sleep(0.4)
        release.set()
        assert (await read_reply(reader)).status == 200
        writer.close()


async def test_an_idle_connection_is_closed() -> None:
    async with serving(House().app(), Receipt(keep_alive_s=0)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(get("/healthz"))
        assert (await read_reply(reader)).status == 200
        assert await reader.read() == b""
        writer.close()


class Stuck(asyncio.Transport):
    """A socket whose peer has stopped reading."""

    def __init__(self) -> None:
        super().__init__()
        self.aborted = False
        self.closed = False

    def get_write_buffer_size(self) -> int:
        return 1

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True


async def test_an_idle_connection_with_an_unread_answer_is_cut() -> None:
    config = ServerConfig(House().app(), Receipt(), random_request_id)
    protocol, stuck = Protocol(config, ServerState(), {}), Stuck()
    protocol.connection_made(stuck)
    protocol.timeout_keep_alive_handler()
    assert stuck.aborted
    protocol.connection_lost(None)


async def test_a_close_does_not_wait_for_ever_for_its_reader() -> None:
    config = ServerConfig(House().app(), Receipt(stall_s=0.05), random_request_id)
    protocol, stuck = Protocol(config, ServerState(), {}), Stuck()
    protocol.connection_made(stuck)
    stuck.close()
    protocol.on_response_complete()
    await asyncio.sleep(0.1)
    assert stuck.aborted
    protocol.connection_lost(None)


def test_ids_for_what_is_no_request_are_ids() -> None:
    assert is_id("req", random_request_id())


def test_there_is_a_loop_to_run_on() -> None:
    loop = new_event_loop()
    loop.close()
