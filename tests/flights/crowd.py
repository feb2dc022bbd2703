"""Many clients, of whom some leave in the middle and come back: what is bought, and what is rescued."""

import asyncio
import json
import random
from collections import Counter
from dataclasses import dataclass
from typing import Any

from gateway.core.types import JsonObject
from tests.flights.airport import Airport

SEED = 20261121
LEAVING = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a crowd. ``bought``: purchases by prompt, as the upstream counted them."""

    distinct: int
    bought: Counter[str]
    left: int
    rescued: int


async def crowd(all_: Airport, size: int, at_once: int) -> Outcome:
    """Let ``size`` clients ask, each for a picture of his own; a share of them leaves and asks again."""
    dice, place = random.Random(SEED), asyncio.Semaphore(at_once)
    leaving = [dice.random() < LEAVING for _ in range(size)]

    async def visit(number: int) -> bool:
        body: JsonObject = {"model": "pic", "prompt": f"lighthouse {number}"}
        async with place:
            if leaving[number]:
                await leave(all_, body, str(body["prompt"]))
                await asyncio.sleep(dice.random() * 0.6)  # in the air, or landed
            answer = await all_.post("images/generations", body)
        assert answer.status_code == 200, answer.text
        return leaving[number] and "x-flight-id" in answer.headers

    rescued = sum(await asyncio.gather(*(visit(number) for number in range(size))))
    bought = Counter(str(json.loads(seen.body)["prompt"]) for seen in all_.upstream.requests)
    return Outcome(distinct=size, bought=bought, left=sum(leaving), rescued=rescued)


async def leave(all_: Airport, body: Any, prompt: str) -> None:
    """Send a request and leave once the upstream has it."""
    writer = await all_.send(body)
    while not _has(all_, prompt):  # noqa: ASYNC110 - no event tells
        await asyncio.sleep(0.02)
    writer.close()
    await writer.wait_closed()


def _has(all_: Airport, prompt: str) -> bool:
    return any(json.loads(seen.body)["prompt"] == prompt for seen in all_.upstream.requests)
