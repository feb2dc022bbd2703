"""Many clients, of whom some leave in the middle and come back: what is bought, and what is rescued.

As a program, at any size: ``python -m tests.flights.crowd --clients 1000``. Prints one line of JSON; exit code 1 when
something was bought twice, or fewer than 99 of 100 were rescued.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.core.types import JsonObject
from tests.fakes.upstream import FakeUpstream
from tests.flights.airport import Airport, airport

SEED = 20261121
LEAVING = 0.3
ENOUGH = 0.99


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a crowd. ``bought``: purchases by prompt, as the upstream counted them."""

    distinct: int
    bought: Counter[str]
    left: int
    rescued: int

    @property
    def is_right(self) -> bool:
        """Whether each was bought once, and next to all were rescued."""
        is_once = set(self.bought.values()) == {1} and len(self.bought) == self.distinct
        return is_once and self.rescued >= ENOUGH * self.left


@dataclass(slots=True, kw_only=True)
class Counted:
    """Prompts that an upstream was asked for, read as they come."""

    upstream: FakeUpstream
    bought: Counter[str] = field(default_factory=Counter)
    read: int = 0

    def look(self) -> Counter[str]:
        """Read what is new."""
        for seen in self.upstream.requests[self.read :]:
            self.bought[str(json.loads(seen.body)["prompt"])] += 1
            self.read += 1
        return self.bought


async def crowd(all_: Airport, size: int, at_once: int) -> Outcome:
    """Let ``size`` clients ask, each for a picture of his own; a share of them leaves and asks again."""
    dice, place = random.Random(SEED), asyncio.Semaphore(at_once)
    leaving = [dice.random() < LEAVING for _ in range(size)]
    counted = Counted(upstream=all_.upstream)

    async def visit(number: int) -> bool:
        body: JsonObject = {"model": "pic", "prompt": f"lighthouse {number}"}
        async with place:
            if leaving[number]:
                await leave(all_, body, counted)
                await asyncio.sleep(dice.random() * 0.6)  # in the air, or landed
            answer = await all_.post("images/generations", body)
        assert answer.status_code == 200, answer.text
        return leaving[number] and "x-flight-id" in answer.headers

    rescued = sum(await asyncio.gather(*(visit(number) for number in range(size))))
    return Outcome(distinct=size, bought=counted.look(), left=sum(leaving), rescued=rescued)


async def leave(all_: Airport, body: Any, counted: Counted) -> None:
    """Send a request and leave once the upstream has it."""
    writer = await all_.send(body)
    while not counted.look()[body["prompt"]]:  # noqa: ASYNC110 - no event tells
        await asyncio.sleep(0.02)
    writer.close()
    await writer.wait_closed()


async def main(clients: int, at_once: int) -> int:
    """Let a crowd come to a gateway over SQLite, and say what came of it."""
    with tempfile.TemporaryDirectory() as directory:
        async with airport(Path(directory), max_in_flight=clients) as all_:
            began = time.monotonic()
            came = await crowd(all_, clients, at_once)
            took_s = time.monotonic() - began
            await all_.records(clients + came.rescued)
            owner = (await all_.client.get(f"{all_.gateway.url}/api/usage")).json()["data"][0]
    said = {
        "clients": came.distinct,
        "purchases": came.bought.total(),
        "left": came.left,
        "rescued": came.rescued,
        "rescued_images": owner["rescued_images"],
        "seconds": round(took_s, 1),
    }
    sys.stdout.write(f"{json.dumps(said)}\n")
    return 0 if came.is_right and owner["rescued_images"] == came.rescued else 1


if __name__ == "__main__":
    options = argparse.ArgumentParser(description="Let a crowd come, of whom some leave and come back.")
    options.add_argument("--clients", type=int, default=1000)
    options.add_argument("--at-once", type=int, default=200)
    given = options.parse_args()
    sys.exit(asyncio.run(main(given.clients, given.at_once)))
