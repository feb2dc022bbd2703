"""What replicas share through a real Redis: limits as one, health told, places with a lease, and life without it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from gateway.core.health import News, TargetId, usable
from gateway.core.limits import Rate
from gateway.core.types import Action, Failure, FailureClass, Fault, JsonObject, Outcome
from gateway.ports import Ask
from gateway.stores import shared_redis
from gateway.stores.redis_news import Took, read, write
from gateway.stores.refusals import LedgerRefused
from gateway.stores.shared_redis import SharedRedis
from tests.servers.redis import RedisServer, redis_server

A = TargetId("a", "pic")
MINUTE = Ask(key="channel:a:rpm", rate=Rate(per_minute=60))


class Clock:
    def monotonic(self) -> float:
        return time.monotonic()

    def now(self) -> datetime:
        return datetime.now(UTC)


class Log:
    def __init__(self) -> None:
        self.events: list[JsonObject] = []

    def emit(self, event: JsonObject) -> None:
        self.events.append(event)

    def names(self) -> list[object]:
        return [event["event"] for event in self.events]


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@asynccontextmanager
async def replica(redis: RedisServer, log: Log | None = None, *, others: int = 1) -> AsyncIterator[SharedRedis]:
    shared = SharedRedis(redis.url, lambda: others, log or Log(), Clock())
    life = asyncio.ensure_future(shared.live())
    try:
        yield shared
    finally:
        life.cancel()
        await shared.close()


@pytest.fixture
async def two(redis: RedisServer) -> AsyncIterator[tuple[SharedRedis, SharedRedis]]:
    async with AsyncExitStack() as stack:
        yield await stack.enter_async_context(replica(redis)), await stack.enter_async_context(replica(redis))


async def until(holds: Callable[[], bool], within_s: float = 3.0) -> None:
    async with asyncio.timeout(within_s):
        while not holds():  # noqa: ASYNC110 - what is waited for happens in another task
            await asyncio.sleep(0.01)


def failed(kind: FailureClass) -> News:
    failure = Failure(kind=kind, detail="x", outcome=Outcome.REFUSED, fault=Fault.ACCOUNT, action=Action.NEXT)
    return News(failure=failure)


async def test_a_rate_is_one_for_all_replicas(two: tuple[SharedRedis, SharedRedis]) -> None:
    passed = [await shared.reserve([MINUTE], time.monotonic(), 0.0) for _ in range(10) for shared in two]
    assert sum(wait_s == 0.0 for wait_s in passed) == MINUTE.rate.at_once


async def test_a_rate_that_is_refused_takes_nothing_of_the_others(two: tuple[SharedRedis, SharedRedis]) -> None:
    first, second = two
    narrow = Ask(key="narrow", rate=Rate(per_minute=1))
    assert (await first.draw([MINUTE, narrow], time.monotonic())).wait_s == 0.0
    refused = await second.draw([MINUTE, narrow], time.monotonic())
    assert refused.wait_s > 50
    assert [level.left for level in refused.levels] == [MINUTE.rate.at_once - 1, 0]


async def test_a_bucket_says_what_is_left_of_it(two: tuple[SharedRedis, SharedRedis]) -> None:
    ask = Ask(key="key:1:rpm", rate=Rate(per_minute=10, bucket=True), pieces=3)
    left = [(await shared.draw([ask], time.monotonic())).levels[0].left for shared in (*two, two[0], two[1])]
    assert left == [7, 4, 1, 1]


async def test_what_is_given_back_can_be_had_again_and_no_more_than_was_there(
    two: tuple[SharedRedis, SharedRedis],
) -> None:
    first, second = two
    ask = Ask(key="key:2:rpm", rate=Rate(per_minute=10, bucket=True), pieces=3)
    assert (await first.draw([ask], time.monotonic())).levels[0].left == 7
    for left in (9, 10, 10):
        back = replace(ask, pieces=-2)
        assert (await second.draw([back], time.monotonic())).levels[0].left == left


async def test_places_of_a_room_are_counted_together_and_given_back(two: tuple[SharedRedis, SharedRedis]) -> None:
    first, second = two
    assert [await first.enter("k", 2), await second.enter("k", 2), await first.enter("k", 2)] == [True, True, False]
    first.leave("k")
    assert await first.enter("k", 2)
    second.leave("k")
    await until(lambda: not second._rooms)
    assert [await first.enter("k", 2), await first.enter("k", 2)] == [True, False]


async def test_a_replica_that_died_gives_its_places_back(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_redis, "PLACE_MS", 300)
    monkeypatch.setattr(shared_redis, "RENEW_S", 0.05)
    dead = SharedRedis(redis.url, lambda: 1, Log(), Clock())  # it never lives, and so renews nothing
    async with replica(redis) as living:
        assert await dead.enter("k", 2)
        assert await living.enter("k", 2)
        assert not await living.enter("k", 2)
        await asyncio.sleep(0.5)
        assert [await living.enter("k", 2), await living.enter("k", 2)] == [True, False]
    await dead._line.close()


async def test_what_one_learns_of_a_target_the_others_know(two: tuple[SharedRedis, SharedRedis]) -> None:
    first, second = two
    await until(lambda: None not in {first._heard, second._heard})
    now = time.monotonic()
    first.observe(A, failed(FailureClass.QUOTA_EXHAUSTED), now)
    first.timed(A, "1K", 12.5, now)
    await until(lambda: usable(second.health, A, time.monotonic()) is not None)
    assert usable(second.health, A, now) == usable(first.health, A, now)
    assert second.latency[A, "1K"].seconds == 12.5
    second.forgive("a")
    await until(lambda: usable(first.health, A, time.monotonic()) is None)


async def test_a_new_replica_hears_what_was_learnt_before(redis: RedisServer) -> None:
    async with replica(redis) as first:
        first.observe(A, failed(FailureClass.ACCOUNT_NOT_READY), time.monotonic())
        await until(lambda: not first._untold)
        async with replica(redis) as second:
            await until(lambda: usable(second.health, A, time.monotonic()) is not None)


async def test_one_of_all_takes_the_probe(two: tuple[SharedRedis, SharedRedis]) -> None:
    first, second = two
    await until(lambda: None not in {first._heard, second._heard})
    begun = time.monotonic() - 10_000  # its bar's time is over long since
    for shared in two:
        shared._local.observe(A, failed(FailureClass.MODEL_MISSING), begun)
        for _ in range(5):
            shared._local.observe(A, failed(FailureClass.TIMEOUT), begun)
    now = time.monotonic()
    assert [await first.claim(A, now), await second.claim(A, now)] == [True, False]
    first.release(A, now)
    await until(lambda: not first._over)
    assert await second.claim(A, now)


@pytest.mark.parametrize("how", ["kill", "pause"])
async def test_without_redis_each_keeps_to_its_share_and_nothing_waits(redis: RedisServer, how: str) -> None:
    log = Log()
    async with replica(redis, log, others=2) as shared:
        await until(lambda: shared._heard is not None)
        assert shared.fault is None
        getattr(redis, how)()
        began = time.monotonic()
        waits = [await shared.reserve([Ask(key="k", rate=Rate(per_minute=90))], began, 0.0) for _ in range(30)]
        assert time.monotonic() - began < 1.0
        assert sum(wait_s == 0.0 for wait_s in waits) == 3  # a tenth of a third of 90
        assert [await shared.enter("room", 6) for _ in range(4)] == [True, True, False, False]
        await until(lambda: "shared.lost" in log.names())
        assert str(shared.fault).startswith("limits at 1/3: ")
        (redis.start if how == "kill" else redis.resume)()
        await until(lambda: "shared.recovered" in log.names())
        assert shared.fault is None
        assert log.names() == ["shared.lost", "shared.recovered"]
        assert log.events[0]["share"] == "1/3"
        await until(lambda: shared._renewed_at > 0)
        assert [await shared.enter("room", 6) for _ in range(5)] == [True] * 4 + [False]  # the two from before count


async def test_a_redis_that_is_down_at_the_start_is_found_when_it_comes(redis: RedisServer) -> None:
    redis.kill()
    log = Log()
    async with replica(redis, log) as shared:
        assert await shared.reserve([MINUTE], time.monotonic(), 0.0) == 0.0
        await until(lambda: log.names() == ["shared.lost"])
        redis.start()
        await until(lambda: log.names() == ["shared.lost", "shared.recovered"])


async def test_what_was_learnt_without_redis_is_told_afterwards(redis: RedisServer) -> None:
    async with replica(redis) as first, replica(redis) as second:
        await until(lambda: None not in {first._heard, second._heard})
        redis.kill()
        first.observe(A, failed(FailureClass.QUOTA_EXHAUSTED), time.monotonic())
        await asyncio.sleep(0.3)
        redis.start()
        await until(lambda: usable(second.health, A, time.monotonic()) is not None)


def test_a_line_that_cannot_be_read_says_nothing() -> None:
    assert read(write("me", Took(target=A, size="1K", seconds=1.0))) == ("me", Took(target=A, size="1K", seconds=1.0))
    for line in ("", "[]", "{", '["ended","me","a","b","no_such_class",null,0.5,false]', '["took","me","a"]', '"x"'):
        assert read(line) is None


def test_a_url_of_something_else_is_refused() -> None:
    with pytest.raises((LedgerRefused, ValueError)):
        SharedRedis("http://x", lambda: 0, Log(), Clock())
