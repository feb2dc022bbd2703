"""Run as a program: the disk fills up under an open ledger, then has room again. Prints what callers were told."""

import asyncio
import json
import resource
import sys

from gateway.ports import LedgerUnavailable
from gateway.stores.ledger_sql import SqlLedger, open_ledger
from gateway.stores.writer import RETRY_S
from tests.stores.rows import attempt, request, result, settlement

LESS_THAN_ONE_PAGE = 4_096  # with its frame's head a page of 4,096 bytes does not fit


def allow(file_bytes: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, hard))


async def story(ledger: SqlLedger) -> None:
    told: list[str] = []
    await ledger.begin(request(1), attempt(1))
    await ledger.begin(request(2), attempt(2))
    allow(LESS_THAN_ONE_PAGE)
    for step in (
        ledger.begin(request(3), attempt(3)),
        ledger.settle(settlement(1, result(1))),
        ledger.begin(request(4), attempt(4)),
        ledger.settle(settlement(2, result(2))),
    ):
        try:
            await step
        except LedgerUnavailable as unavailable:
            told.append(str(unavailable))
    unwritten = ledger.unwritten
    faults = [await ledger.fault()]
    allow(resource.RLIM_INFINITY)
    await asyncio.sleep(1.5 * RETRY_S)
    faults.append(await ledger.fault())
    await ledger.begin(request(5), attempt(5))
    sys.stdout.write(json.dumps({"told": told, "unwritten": unwritten, "faults": faults, "left": ledger.close()}))


if __name__ == "__main__":
    asyncio.run(story(open_ledger(f"sqlite:///{sys.argv[1]}", serve=True)))
