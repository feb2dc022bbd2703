"""kill -9 at the twelve named points, over and over on one data directory, and an audit at each next start.

``python -m tests.crash.rounds [ROUNDS] [--postgres]``: that many rounds at each point (25), as a report. Each start but
the last is doomed at the next point, so that recovering from one crash is what the next one meets. On PostgreSQL a
start has nobody's word that the server before it is dead; it is taken for that when it has not moved for ``LEASE_S``.

The upstream's own count is the truth about money. The ledger may claim more, by one call for each kill between the
commit of a hold and the last byte of the request: whether such a call was sent nobody can know afterwards. It may never
claim less.
"""

import argparse
import asyncio
import base64
import json
import math
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import httpx2
import yaml

from gateway.core.ledger import CREDITS
from tests.crash.doomed import HASTY, POINTS
from tests.fakes.answers import png
from tests.fakes.events import event, picture_event
from tests.fakes.script import Script, reply, stream
from tests.fakes.seen import SeenRequest
from tests.fakes.server import ServerProcess, server_process
from tests.fakes.upstream import FakeUpstream
from tests.keys.house import BY_PICTURE, FLAT, routes_of
from tests.money.books import Books, number, read_books
from tests.servers.postgres import postgres_server

PICTURE_MICRO = 500_000
CREDIT = 1_000_000
BUDGET = "1000000USD/30d"
MOST_REQUESTS = 12
UNSENT = frozenset({"hold, unsent", "mid upload"})  # held, and not whole with the upstream
WITHOUT_TRACE = frozenset({"before hold commit"})
DONE = frozenset({"settled, unanswered"})
SEED = 20261121
LEASE_S = 1.5
SLOW, SLOW_S = "slow", 0.2  # who asks, and how long the upstream says nothing then


@dataclass(slots=True, kw_only=True)
class House:
    """One upstream, one data directory and one key, through all rounds; what is owed, and what clients were told."""

    upstream: FakeUpstream
    directory: Path
    database: str = ""  # of a ledger on a server; else it is a file
    key: str = ""
    dice: random.Random = field(default_factory=lambda: random.Random(SEED))
    asked: int = 0
    unsent: list[int] = field(default_factory=list)  # the pictures of calls that the ledger claims and nobody had
    told: set[str] = field(default_factory=set)  # ids of requests whose answers came whole
    kills: Counter[str] = field(default_factory=Counter)

    @property
    def url(self) -> str:
        return self.database or f"sqlite:///{self.directory}/data/waybill.db"

    def body(self, point: str) -> dict[str, object]:
        self.asked += 1
        shape: dict[str, object] = self.dice.choice([{}, {"n": 2}, {"stream": True}])
        if point == "asset tmp":  # the pictures of streams are all the same here, and so kept already
            shape = {}
        slowly = {"user": SLOW} if point == "sent" else {}
        return {"model": "pic", "prompt": f"number {self.asked}", **shape, **slowly}

    async def round(self, point: str) -> None:
        """Start, audit what the round before left, ask until the end comes."""
        times = self.dice.randint(1, 3)
        program = ("tests.crash.doomed", point, str(times))
        async with (
            self._server(program) as server,
            httpx2.AsyncClient(timeout=20, trust_env=False) as client,
        ):
            if not self.key:
                await self._open(server, client)
            await self._at_rest()
            last: dict[str, object] = {}
            for _ in range(MOST_REQUESTS):
                last = self.body(point)
                if not await self._ask(server, client, last):
                    break
            await asyncio.wait_for(server.process.wait(), 5)
            assert server.process.returncode == -9
        self.kills[point] += 1
        if point in UNSENT:
            self.unsent.append(int(str(last.get("n", 1))))

    async def _open(self, server: ServerProcess, client: httpx2.AsyncClient) -> None:
        """Make the key, and wait until none is let in without."""
        order = {"name": "app", "credits": CREDIT, "budget": BUDGET}
        self.key = (await client.post(f"{server.url}/api/keys", json=order)).json()["key"]
        while (await client.get(f"{server.url}/v1/models")).status_code != 401:  # noqa: ASYNC110 - in another process
            await asyncio.sleep(0.02)

    async def _ask(self, server: ServerProcess, client: httpx2.AsyncClient, body: dict[str, object]) -> bool:
        """Ask once; whether the answer came whole."""
        shown = {"authorization": f"Bearer {self.key}"}
        try:
            answer = await client.post(f"{server.url}/v1/images/generations", json=body, headers=shown)
        except httpx2.TransportError:
            return False
        assert answer.status_code == 200, answer.text
        if "stream" in body:
            assert "image_generation.completed" in answer.text
        self.told.add(answer.headers["x-request-id"])
        return True

    async def finish(self) -> None:
        """Start as in production, audit the last round."""
        program = ("tests.crash.doomed", "mid answer", "1000") if self.database else ("gateway",)
        async with self._server(program) as server:
            await self._at_rest()
            async with httpx2.AsyncClient(timeout=20, trust_env=False) as client:
                assert await self._ask(server, client, self.body(""))
            await asyncio.to_thread(self.audit)

    async def _at_rest(self) -> None:
        """Audit, once nothing is left open of a server that ended."""
        async with asyncio.timeout(5 * LEASE_S):
            while not (await asyncio.to_thread(read_books, self.url)).is_at_rest:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
        await asyncio.to_thread(self.audit)

    @asynccontextmanager
    async def _server(self, program: tuple[str, ...]) -> AsyncIterator[ServerProcess]:
        routes = routes_of(self.upstream, {"charge": BY_PICTURE}, FLAT)
        if self.database:
            routes += yaml.safe_dump({"storage": {"database": self.database}})
        hasty = {HASTY: str(LEASE_S)}
        async with server_process(routes, self.directory, program=program, **hasty) as server:
            yield server

    def audit(self) -> None:
        """Hold the books against the upstream and against what clients were told."""
        books = read_books(self.url)
        books.check_at_rest()
        bought = [pictures_of(seen) for seen in self.upstream.requests]
        owed = [*bought, *self.unsent]
        sent = books.sent()
        outcomes = Counter(one["outcome"] for one in sent)
        assert set(outcomes) <= {"delivered", "unknown"}
        assert len(sent) == len(owed), "a call is missing, or counted twice"
        assert sum(number(one["cost_micro"]) for one in sent) == PICTURE_MICRO * sum(owed)
        assert books.captured("USD") == PICTURE_MICRO * sum(owed)
        exposed = sum(number(one["exposure_micro"]) for one in sent if one["outcome"] == "unknown")
        captured = sum(number(one["cost_micro"]) for one in sent if one["outcome"] == "delivered")
        assert captured + exposed == PICTURE_MICRO * sum(owed)
        self._audit_credits(books)

    def _audit_credits(self, books: Books) -> None:
        done = {str(one["request_id"]): number(one["images"]) for one in books.requests if one["state"] == "done"}
        assert self.told <= done.keys(), "an answer was given that the ledger does not know"
        assert books.captured(CREDITS) == sum(done.values())
        credited = sum(number(one["credits"]) for one in books.requests)
        assert credited == books.captured(CREDITS)
        cut = sum(one["state"] == "interrupted" for one in books.requests)
        certain = sum(self.kills[point] for point in WITHOUT_TRACE | DONE)
        assert cut <= self.kills.total() - certain
        assert cut >= self.kills.total() - certain - self.kills["mid answer"]


def pictures_of(seen: SeenRequest) -> int:
    asked = json.loads(seen.body)
    return int(asked.get("n", 1))


def drawing() -> FakeUpstream:
    """Make an upstream that draws another picture each time."""
    seeds = count(1)

    def choose(seen: SeenRequest) -> Script:
        pause_s = SLOW_S if json.loads(seen.body).get("user") == SLOW else 0.0
        if b'"stream"' in seen.body:
            return stream(pause_s, event(picture_event("completed")))
        drawn = [base64.b64encode(png(64, 48, seed=next(seeds))).decode() for _ in range(pictures_of(seen))]
        return reply(
            200, json.dumps({"created": 1, "data": [{"b64_json": one} for one in drawn]}).encode(), delay_s=pause_s
        )

    return FakeUpstream(key="sk-A", choose=choose)


async def run(directory: Path, points: Iterable[str], database: str = "", within_s: float = math.inf) -> House:
    """Crash at one point after the other, begun within so many seconds; an audit that is not clean raises."""
    until = time.monotonic() + within_s
    async with drawing() as upstream:
        house = House(upstream=upstream, directory=directory, database=database)
        for point in points:
            if time.monotonic() > until:
                break
            try:
                await house.round(point)
            except AssertionError as error:
                raise AssertionError(f"at {point!r}, after {dict(house.kills)}") from error
        await house.finish()
        assert house.kills.total() == sum(house.kills.values())
    return house


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rounds", type=int, nargs="?", default=25, help="at each point")
    parser.add_argument("--postgres", action="store_true", help="with the ledger on a PostgreSQL server")
    options = parser.parse_args()
    began = time.monotonic()
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        database = stack.enter_context(postgres_server()).new_database() if options.postgres else ""
        house = asyncio.run(run(Path(directory), list(POINTS) * options.rounds, database))
        books = read_books(house.url)
    outcomes = Counter(str(one["outcome"]) for one in books.sent())
    for point, kills in house.kills.items():
        sys.stdout.write(f"{kills:4} x {point}\n")
    sys.stdout.write(
        f"{house.kills.total()} kills in {time.monotonic() - began:.0f} s, every audit clean: the upstream had "
        f"{house.upstream.count} calls; the ledger has {outcomes['delivered']} delivered and {outcomes['unknown']} "
        f"exposed, {len(house.unsent)} of these held and not sent whole\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
