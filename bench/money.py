"""What money costs: processor time of a key check, a limit, a hold and a settlement; and holds a second in one process.

``python -m bench.money [--times N] [--rounds N] [--holds N] [--servers]``: two gateways over one canned upstream, in
turns: one is open, the other asks for a key with credits and limits, and charges. With ``--servers`` both keep their
books on PostgreSQL and their limits in Redis, else on SQLite and in memory. Then holds and settlements without HTTP,
straight into a SQLite ledger. Processor time is the gateway's own, as the system reports it. Others on the machine make
it dearer for both; so the turns are short and change places, and the median of their differences is what counts.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.load import generation, run
from bench.process import ROOT, Watched, canned_upstream, served
from gateway.core.types import AttemptId, RequestId
from gateway.ports import AttemptIntent, Capture, Hold, RequestIntent, Settlement
from gateway.stores.ledger_sql import SqlLedger, open_ledger
from tests.servers.postgres import postgres_server
from tests.servers.redis import redis_server

CONNECTIONS = 32
AT_ONCE = 256
CHARGED = ", charge: {unit: credits, per_image: 1}"
LATE_S = 1.0


def make_key(directory: Path) -> dict[str, str]:
    """Make a key that can pay for everything."""
    orders = ("--credits", "100000000", "--rpm", "1000000", "--ipm", "1000000", "--concurrency", "500")
    command = [sys.executable, "-m", "gateway", "keys", "create", "--name", "bench", *orders, "--json"]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, "--data-dir", str(directory / "data")],
        cwd=directory, env=environment, stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    made: dict[str, str] = json.loads(done.stdout)
    return made


def only_key(directory: Path) -> dict[str, object]:
    """Read the only key, as it is listed."""
    command = [sys.executable, "-m", "gateway", "keys", "list", "--json", "--data-dir", str(directory / "data")]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=directory, env=environment, stdout=subprocess.PIPE, check=True)
    [found] = json.loads(done.stdout)["data"]
    return dict(found)


async def cpu_ms(gateway: Watched, request: bytes, times: int) -> float:
    """Give the processor time of a request."""
    before = gateway.cpu_s()
    await run(gateway.port, request, connections=CONNECTIONS, times=times)
    return (gateway.cpu_s() - before) / times * 1000


@contextmanager
def storages(*, servers: bool) -> Iterator[list[str]]:
    """Give where each of two gateways keeps what it knows: a database and a Redis of its own, or nothing said."""
    if not servers:
        yield ["", ""]
        return
    with postgres_server() as postgres, redis_server() as one, redis_server() as two:
        names = [(postgres.new_database(), redis.url) for redis in (one, two)]
        yield [f'storage: {{database: "{database}", shared: "{shared}"}}\n' for database, shared in names]


async def compare(times: int, rounds: int, *, servers: bool) -> tuple[list[float], list[float]]:
    """Give the processor time of a request without money and with it, round by round."""
    off: list[float] = []
    on: list[float] = []
    with ExitStack() as stack:
        upstream = stack.enter_context(canned_upstream(1.0))
        places = [Path(stack.enter_context(tempfile.TemporaryDirectory())) for _ in range(2)]
        kept = stack.enter_context(storages(servers=servers))
        open_one, keyed = (
            stack.enter_context(served(upstream, place, CHARGED, storage))
            for place, storage in zip(places, kept, strict=True)
        )
        key = (await asyncio.to_thread(make_key, places[1]))["key"]
        await asyncio.sleep(1.5)  # until it has closed
        free = generation("small")
        paid = free.replace(b"sk-anything", key.encode())
        for gateway, request in ((open_one, free), (keyed, paid)):
            await run(gateway.port, request, connections=CONNECTIONS, times=300)
        turns = [(open_one, free, off), (keyed, paid, on)]
        for _ in range(rounds):
            for gateway, request, seen in turns:
                seen.append(await cpu_ms(gateway, request, times))
            turns.reverse()
        listed = await asyncio.to_thread(only_key, places[1])
    if 100_000_000 - int(str(listed["credits"])) != times * rounds + 300:
        raise RuntimeError("not every request was charged once")
    return off, on


async def hold_all(ledger: SqlLedger, key_id: str, count: int) -> tuple[float, Sequence[float]]:
    """Hold and settle ``count`` times; gives the seconds the holds took in all, and each by itself."""
    now, waits = datetime.now(UTC), []
    numbers = iter(range(count))

    async def hold() -> None:
        for number in numbers:
            name = RequestId(f"req_{number:032x}")
            intent = RequestIntent(request_id=name, time=now, endpoint="images/generations", asked_model="m",
                                   config_version="v", key_id=key_id)  # fmt: skip
            attempt = AttemptIntent(request_id=name, attempt_id=AttemptId(f"att_{number:032x}"), n=1, channel="c",
                                    owner="o", row="m", surface="images/generations", region=None, sent_model="m",
                                    started=now)  # fmt: skip
            began = time.perf_counter()
            refused = await ledger.begin(
                intent, attempt, Hold(key_id=key_id, expires=now + timedelta(hours=1), credits=1)
            )
            waits.append(time.perf_counter() - began)
            if refused is not None:
                raise RuntimeError(refused.code)

    began = time.perf_counter()
    await asyncio.gather(*(hold() for _ in range(AT_ONCE)))
    took_s = time.perf_counter() - began
    for first in range(0, count, AT_ONCE):  # no more at once than the ledger's queue takes
        await asyncio.gather(*(ledger.settle(_ended(at, now)) for at in range(first, min(count, first + AT_ONCE))))
    return took_s, waits


def _ended(number: int, now: datetime) -> Settlement:
    return Settlement(
        request_id=RequestId(f"req_{number:032x}"), time=now, endpoint="images/generations", asked_model="m", owner="o",
        channel="c", status=200, failure=None, record={}, attempts=(), images=1, capture=Capture(credits=1, micro=None),
    )  # fmt: skip


def hold_rate(count: int) -> tuple[float, float]:
    """Give holds a second, and the longest wait of one in seconds; raises when one is lost or left."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "routes.yaml").write_text(
            "version: 1\nchannels: {s: {owner: o, kind: sandbox, rows: {m: {serves: [images/generations]}}}}\n"
            "routes: {m: {targets: [s]}}\n",
            "utf-8",
        )
        key_id = make_key(directory)["id"]
        ledger = open_ledger(f"sqlite:///{directory / 'data' / 'waybill.db'}", serve=True)
        try:
            took_s, waits = asyncio.run(hold_all(ledger, key_id, count))
        finally:
            ledger.close()
        key = only_key(directory)
        if (key["credits"], key["credits_held"]) != (100_000_000 - count, 0):
            raise RuntimeError("a hold was lost")
    return count / took_s, max(waits)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=500, help="requests in each turn")
    parser.add_argument("--rounds", type=int, default=16, help="turns of each gateway")
    parser.add_argument("--holds", type=int, default=6_000, help="holds straight into the ledger")
    parser.add_argument("--servers", action="store_true", help="on PostgreSQL and Redis instead of SQLite and memory")
    options = parser.parse_args()
    off, on = asyncio.run(compare(options.times, options.rounds, servers=options.servers))
    without, with_ = statistics.median(off), statistics.median(on)
    more = statistics.median(keyed - free for free, keyed in zip(off, on, strict=True))
    rate, longest_s = hold_rate(options.holds)
    sys.stdout.write(
        f"without money {without:.3f} ms CPU, with it {with_:.3f} ms: {with_ / without:.2f} x, "
        f"{more:+.3f} ms a request\n"
        f"{rate:,.0f} holds/s, the slowest {longest_s * 1000:.0f} ms, none lost\n"
        f"load {os.getloadavg()[0]:.1f}\n"
    )
    return 0 if longest_s < LATE_S else 1


if __name__ == "__main__":
    sys.exit(main())
