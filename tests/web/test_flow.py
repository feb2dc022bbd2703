"""What stands in for uvicorn's events: the same for one task that waits."""

import asyncio

import pytest

from gateway.web.flow import Signal


async def test_it_is_waited_for_until_it_is_set_and_again_once_it_was_cleared() -> None:
    signal = Signal()
    waiting = asyncio.ensure_future(signal.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    signal.set()
    signal.set()
    await waiting
    await signal.wait()
    signal.clear()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(signal.wait(), 0.01)
    signal.set()
    await signal.wait()


async def test_what_is_set_and_cleared_at_once_still_wakes() -> None:
    signal = Signal()
    waiting = asyncio.ensure_future(signal.wait())
    await asyncio.sleep(0)
    signal.set()
    signal.clear()
    await asyncio.wait_for(waiting, 1)


async def test_one_task_at_most_waits() -> None:
    signal = Signal()
    waiting = asyncio.ensure_future(signal.wait())
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError):
        await signal.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    signal.set()
    await signal.wait()
