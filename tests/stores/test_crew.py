"""Threads that do what would hold the loop: everything is done, told once, and in few words."""

import asyncio
import gc
import threading
import weakref
from functools import partial

import pytest

from gateway.ports import StoreUnavailable
from gateway.stores.crew import Crew


def refused() -> None:
    raise StoreUnavailable("no")


def broken() -> None:
    raise OSError(5, "input/output error")


async def test_all_is_done_and_everybody_told() -> None:
    crew = Crew(3, "crew")
    found = await asyncio.gather(*(crew.do(partial(pow, number, 2)) for number in range(200)))
    assert found == [number**2 for number in range(200)]
    for work, error in ((refused, StoreUnavailable), (broken, OSError)):
        with pytest.raises(error):
            await crew.do(work)
    crew.close()
    crew.close()


async def test_several_work_at_once() -> None:
    crew, both = Crew(2, "crew"), threading.Barrier(2, timeout=5)
    await asyncio.gather(crew.do(both.wait), crew.do(both.wait))
    crew.close()


async def test_what_nobody_waits_for_is_done_all_the_same() -> None:
    crew, gate, done = Crew(1, "crew"), threading.Event(), threading.Event()
    waiting = crew.do(gate.wait)
    forgotten = crew.do(done.set)
    forgotten.cancel()
    gate.set()
    assert await waiting
    crew.close()
    assert done.is_set()
    await asyncio.sleep(0)
    assert forgotten.cancelled()


def test_who_is_left_when_the_loop_has_ended_is_told_nothing() -> None:
    gate = threading.Event()

    async def ask() -> Crew:
        crew = Crew(1, "crew")
        crew.do(gate.wait)
        return crew

    crew = asyncio.run(ask())
    gate.set()
    crew.close()


async def test_the_threads_end_with_the_crew() -> None:
    crew = Crew(2, "ephemeral")
    await asyncio.gather(crew.do(lambda: None), crew.do(lambda: None))
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("ephemeral")]
    gone = weakref.ref(crew)
    del crew
    gc.collect()
    assert gone() is None
    for thread in threads:
        thread.join(5)
    assert not any(thread.is_alive() for thread in threads)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_thread_that_falls_over_leaves_nobody_waiting_and_is_replaced() -> None:
    crew = Crew(1, "crew")
    with pytest.raises(StoreUnavailable):
        await crew.do(lambda: 1 // 0)
    async with asyncio.timeout(5):
        assert await crew.do(lambda: 7) == 7
    crew.close()
