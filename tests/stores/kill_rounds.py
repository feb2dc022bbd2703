"""Run as a program: a server is forked, works, and is killed with SIGKILL at a random moment, again and again.

Arguments: database path, rounds, seed. Prints what the servers had acknowledged, and how many requests each start
found interrupted.
"""

import asyncio
import json
import os
import random
import select
import signal
import sys
import time

from gateway.stores.ledger_sql import SqlLedger, open_ledger
from tests.stores.rows import attempt, request, result, settlement

CALLERS = 8


async def work(ledger: SqlLedger, first: int, acknowledged: int) -> None:
    """Begin and settle for ever; each word is written only after the ledger returned."""
    numbers = iter(range(first, first + 10**6))

    async def caller() -> None:
        for number in numbers:
            await ledger.begin(request(number), attempt(number))
            os.write(acknowledged, f"begun {number}\n".encode())
            if number % 3 == 0:
                await ledger.begin(None, attempt(number, 2))
                os.write(acknowledged, f"again {number}\n".encode())
            await ledger.settle(settlement(number, result(number), result(number, 2)))
            os.write(acknowledged, f"settled {number}\n".encode())

    async with asyncio.TaskGroup() as callers:
        for _ in range(CALLERS):
            callers.create_task(caller())


def serve(path: str, first: int, acknowledged: int) -> None:
    ledger = open_ledger(f"sqlite:///{path}", serve=True)
    os.write(acknowledged, f"interrupted {ledger.recover()}\n".encode())
    asyncio.run(work(ledger, first, acknowledged))


def round_of(path: str, first: int, alive_s: float) -> str:
    """Fork one server, kill it ``alive_s`` after its first word, give all its words."""
    words, acknowledged = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(words)
        serve(path, first, acknowledged)
        os._exit(1)
    os.close(acknowledged)
    select.select([words], [], [], 10)
    with os.fdopen(words, "rb") as stream:
        os.set_blocking(stream.fileno(), False)
        said = b""
        until = time.monotonic() + alive_s
        while time.monotonic() < until:
            said += stream.read() or b""
            time.sleep(0.002)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        said += stream.read() or b""
    return said.decode()


def main(path: str, rounds: int, seed: int) -> None:
    dice = random.Random(seed)
    told = [round_of(path, 10**6 * number, dice.uniform(0.0, 0.15)) for number in range(rounds)]
    sys.stdout.write(json.dumps([[line.split() for line in words.splitlines()] for words in told]))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
