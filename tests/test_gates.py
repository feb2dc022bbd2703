"""Places at a channel: bounded, first come first served, never lost."""

import asyncio

import pytest

from gateway.gates import Gates


async def test_places_are_bounded_and_pass_on_in_order() -> None:
    gates = Gates()
    served: list[str] = []

    async def visit(name: str) -> None:
        if await gates.enter("A", 1, wait_s=5):
            served.append(name)
            await asyncio.sleep(0)
            gates.leave("A")

    async with asyncio.TaskGroup() as group:
        for name in "abc":
            group.create_task(visit(name))
    assert served == ["a", "b", "c"]
    assert gates.inside("A") == 0


async def test_a_wait_ends() -> None:
    gates = Gates()
    assert await gates.enter("A", 1)
    assert not await gates.enter("A", 1, wait_s=0.01)
    assert not await gates.enter("A", 1, wait_s=0)
    gates.leave("A")
    assert await gates.enter("A", 1, wait_s=0)


async def test_the_line_is_bounded_too() -> None:
    gates = Gates()
    assert await gates.enter("A", 1)
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(gates.enter("A", 1, wait_s=0.05)) for _ in range(4)]
        await asyncio.sleep(0)
        assert not await gates.enter("A", 1, wait_s=5)
    assert [task.result() for task in waiting] == [False] * 4


async def test_another_channel_is_not_held_up() -> None:
    gates = Gates()
    assert await gates.enter("A", 1)
    assert await gates.enter("B", 1, wait_s=0)
    assert gates.inside("C") == 0


async def test_a_cancelled_wait_gives_its_turn_back() -> None:
    gates = Gates()
    assert await gates.enter("A", 1)
    waiting = asyncio.ensure_future(gates.enter("A", 1, wait_s=5))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    gates.leave("A")
    assert gates.inside("A") == 0


async def test_a_turn_that_came_in_the_moment_of_cancelling_is_passed_on() -> None:
    gates = Gates()
    assert await gates.enter("A", 1)
    waiting = asyncio.ensure_future(gates.enter("A", 1, wait_s=5))
    await asyncio.sleep(0)
    gates.leave("A")
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert gates.inside("A") == 0


async def test_who_can_go_elsewhere_waits_only_for_a_pool_that_moves() -> None:
    gates = Gates()
    loop = asyncio.get_running_loop()
    assert await gates.enter("A", 1)
    started = loop.time()
    assert not await gates.enter("A", 1, wait_s=0.05, patient=False)  # just filled: it may move
    assert not await gates.enter("A", 1, wait_s=0.05, patient=False)  # nothing has moved for as long as one would wait
    assert loop.time() - started < 0.09
    assert not await gates.enter("A", 1, wait_s=0.05)
    gates.leave("A")
    assert await gates.enter("A", 1, patient=False)
    waiting = asyncio.ensure_future(gates.enter("A", 1, wait_s=5, patient=False))
    await asyncio.sleep(0)
    gates.leave("A")
    assert await waiting


async def test_a_pool_that_moves_too_slowly_is_not_waited_for() -> None:
    gates = Gates()
    for _ in range(2):
        assert await gates.enter("A", 1)
        await asyncio.sleep(0.05)
        gates.leave("A")
    assert await gates.enter("A", 1)
    assert not await gates.enter("A", 1, wait_s=0.04, patient=False)
    waiting = asyncio.ensure_future(gates.enter("A", 1, wait_s=0.2, patient=False))
    await asyncio.sleep(0)
    gates.leave("A")
    assert await waiting


async def test_the_load_is_what_is_under_way() -> None:
    gates = Gates()
    assert gates.load() == {}
    assert await gates.enter("A", 2)
    assert await gates.enter("A", 2)
    assert await gates.enter("B", 2)
    gates.leave("B")
    assert gates.load() == {"A": 2}


class Visitor:
    """A guest that counts how often it had to go."""

    def __init__(self) -> None:
        self.evicted = 0

    def evict(self) -> None:
        self.evicted += 1


async def test_a_guest_goes_when_somebody_needs_its_place_and_the_first_goes_first() -> None:
    gates, first, second = Gates(), Visitor(), Visitor()
    assert gates.visit("A", 2, first)
    assert gates.visit("A", 2, second)
    assert not gates.visit("A", 2, Visitor())
    assert gates.inside("A") == 2
    assert await gates.enter("A", 2, wait_s=0)
    assert (first.evicted, second.evicted, gates.inside("A")) == (1, 0, 2)
    assert not gates.stay("A", first)
    assert await gates.enter("A", 2, wait_s=0)
    assert not await gates.enter("A", 2, wait_s=0)
    assert (first.evicted, second.evicted, gates.inside("A")) == (1, 1, 2)


async def test_a_guest_that_goes_frees_its_place_and_says_nothing_of_how_soon_calls_end() -> None:
    gates, guest = Gates(), Visitor()
    assert gates.visit("A", 1, guest)
    gates.go("A", guest)
    gates.go("A", guest)
    assert gates.inside("A") == 0
    assert await gates.enter("A", 1)
    assert not await gates.enter("A", 1, wait_s=0.05, patient=False)  # no call has ended yet: none is expected to


async def test_a_guest_that_stays_is_one_like_any_other() -> None:
    gates, guest = Gates(), Visitor()
    assert gates.visit("A", 1, guest)
    assert gates.stay("A", guest)
    assert not gates.stay("A", guest)
    assert not await gates.enter("A", 1, wait_s=0)
    assert guest.evicted == 0
    gates.leave("A")
    assert gates.inside("A") == 0
