"""The routes file while a server runs: whole or not at all, and nothing under way notices."""

import asyncio
import contextlib
import os
import resource
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec.structs import replace

from gateway.config import Loaded, Mistake, load
from gateway.core.table import AssetSettings, BodyLimits, ObjectStore, PromptPrivacy, ServerSettings, Settings
from gateway.core.types import JsonObject
from gateway.reload import Reloader, Why, config_json, differences, look

GOOD = """\
version: 1
channels:
  openai:
    owner: openai
    kind: direct
    base_url: https://api.openai.com/v1
    api_key: ${OPENAI_API_KEY}
    rows: {gpt-image-2: {serves: [images/generations]}}
routes:
  gpt-image-2: {targets: [openai]}
"""
SECRET = "sk-planted-secret-in-a-variable"
LOOK_EVERY_S = 0.05


class Still:
    def monotonic(self) -> float:
        return 0.0

    def now(self) -> datetime:
        return datetime(2026, 11, 20, tzinfo=UTC)


@dataclass
class Log:
    lines: list[JsonObject] = field(default_factory=list)

    def emit(self, event: JsonObject) -> None:
        self.lines.append(event)


@dataclass
class Bench:
    """A file, a log, and what holds them together."""

    path: Path
    log: Log
    reloader: Reloader

    def write(self, text: str) -> None:
        self.path.write_text(text, "utf-8")

    @property
    def events(self) -> list[object]:
        return [line["event"] for line in self.log.lines]


def read_file(path: Path) -> Callable[[], Loaded | list[Mistake]]:
    return lambda: load(path, env={"OPENAI_API_KEY": SECRET}, data_dir=path.parent, sandbox_allowed=True)


def bench_at(path: Path) -> Bench:
    first = read_file(path)()
    assert isinstance(first, Loaded)
    log = Log()
    return Bench(path, log, Reloader(first, read_file(path), log, Still(), look_every_s=LOOK_EVERY_S))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    (tmp_path / "routes.yaml").write_text(GOOD, "utf-8")
    return bench_at(tmp_path / "routes.yaml")


@contextlib.asynccontextmanager
async def watched(bench: Bench) -> AsyncIterator[None]:
    watching = asyncio.ensure_future(bench.reloader.watch())
    await asyncio.sleep(2.5 * LOOK_EVERY_S)
    try:
        yield
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is waited for happens on a disk
            await asyncio.sleep(0.02)


async def test_a_good_file_is_swapped_in_and_what_has_begun_keeps_its_table(bench: Bench) -> None:
    held = bench.reloader.table()
    bench.write(GOOD.replace("gpt-image-2", "other"))
    status = await bench.reloader.reload(Why.REQUEST)
    assert (status.taken, status.refused, status.rejected) == (1, 0, None)
    assert list(bench.reloader.table().routes) == ["other"]
    assert list(held.routes) == ["gpt-image-2"]
    assert bench.log.lines == [
        {
            "event": "config.reloaded",
            "time": "2026-11-20T00:00:00.000Z",
            "why": "request",
            "config_version": status.version,
            "previous_version": held.version,
            "needs_restart": (),
        }
    ]


@contextlib.contextmanager
def no_more_files() -> Iterator[None]:
    """Let this process open nothing more."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


async def test_a_file_that_could_not_be_read_is_read_as_soon_as_it_can_be(bench: Bench) -> None:
    """Also when nothing of it changed: no descriptor was free, or it was not ours to read."""
    async with watched(bench):
        with no_more_files():
            bench.path.touch()
            await until(lambda: bench.events)
            await asyncio.sleep(5 * LOOK_EVERY_S)
        await until(lambda: len(bench.events) > 1)
    assert bench.events == ["config.reload_failed", "config.reloaded"]
    assert bench.reloader.status.rejected is None


async def test_a_bad_file_changes_nothing_and_is_named_until_a_good_one_comes(bench: Bench) -> None:
    before = bench.reloader.table()
    bench.write(GOOD.replace("openai]", "nobody]").replace("kind: direct", f"kind: {SECRET}"))
    status = await bench.reloader.reload(Why.SIGNAL)
    assert bench.reloader.table() is before
    assert status.rejected is not None
    assert (status.taken, status.refused, status.rejected.count) == (0, 1, 2)
    assert status.rejected.mistakes[0].startswith(f"{bench.path}:5:")
    assert bench.events == ["config.reload_failed"]
    shown = repr((bench.log.lines, config_json(status)))
    assert SECRET not in shown
    bench.write(GOOD)
    assert (await bench.reloader.reload(Why.SIGNAL)).rejected is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "version: 1\n",
        "\x00",
        "a: [",
        "version: 2\n" + GOOD[11:],
        GOOD + "unknown: 1\n",
        GOOD.replace("https://api.openai.com/v1", f"https://user:{SECRET}@api.openai.com/v1"),
        GOOD.replace("${OPENAI_API_KEY}", f"[{SECRET}]"),
        GOOD.replace("owner: openai", f"{SECRET}: openai"),
        GOOD.replace("owner: openai", "owner: openai\n    owner: again"),
        "&a [*a, *a]",
    ],
)
async def test_no_file_changes_anything_by_half_or_tells_a_secret(bench: Bench, text: str) -> None:
    before = bench.reloader.table()
    bench.write(text)
    status = await bench.reloader.reload(Why.REQUEST)
    assert bench.reloader.table() is before
    assert status.rejected is not None
    assert SECRET not in repr((bench.log.lines, config_json(status)))


async def test_a_file_that_is_gone_changes_nothing(bench: Bench) -> None:
    bench.path.unlink()
    status = await bench.reloader.reload(Why.REQUEST)
    assert status.rejected is not None
    assert "cannot be read" in status.rejected.mistakes[0]
    assert status.taken == 0


async def test_at_most_twenty_mistakes_are_shown_and_all_are_counted(bench: Bench) -> None:
    bench.write(GOOD + "".join(f"unknown{number}: 1\n" for number in range(30)))
    status = await bench.reloader.reload(Why.REQUEST)
    assert status.rejected is not None
    assert (status.rejected.count, len(status.rejected.mistakes)) == (30, 20)


async def test_what_only_a_start_can_change_is_named(bench: Bench) -> None:
    bench.write(GOOD + "server: {max_in_flight: 5, body: {json: 1MB}}\nprivacy: {prompts: text}\n")
    status = await bench.reloader.reload(Why.REQUEST)
    assert set(status.needs_restart) == {"server.max_in_flight", "server.body.json", "privacy.prompts"}
    bench.write(GOOD)
    assert (await bench.reloader.reload(Why.REQUEST)).needs_restart == ()


def test_differences_are_named_as_in_the_file() -> None:
    running = Settings(database="sqlite:////a")
    wanted = replace(
        running,
        database="sqlite:////b",
        prompts=PromptPrivacy.TEXT,
        server=ServerSettings(body=BodyLimits(json=1)),
    )
    assert list(differences(running, running)) == []
    assert sorted(differences(running, wanted)) == ["privacy.prompts", "server.body.json", "storage.database"]


# The watch.


async def test_a_change_is_seen_and_the_same_words_again_are_none(bench: Bench) -> None:
    async with watched(bench):
        os.utime(bench.path)
        await asyncio.sleep(3 * LOOK_EVERY_S)
        assert bench.events == []
        bench.write(GOOD.replace("gpt-image-2", "other"))
        await until(lambda: "other" in bench.reloader.table().routes)
    assert bench.events == ["config.reloaded"]
    assert bench.log.lines[0]["why"] == "file"


async def test_a_bad_change_is_told_once(bench: Bench) -> None:
    async with watched(bench):
        bench.write("version: 9\n")
        await until(lambda: bench.events)
        await asyncio.sleep(3 * LOOK_EVERY_S)
        assert bench.events == ["config.reload_failed"]
        bench.write(GOOD)
        await until(lambda: len(bench.events) == 2)
    assert bench.events[1] == "config.reloaded"
    assert bench.reloader.status.rejected is None


async def test_a_change_between_the_start_and_the_first_look_is_seen(bench: Bench) -> None:
    bench.write(GOOD.replace("gpt-image-2", "other"))
    async with watched(bench):
        await until(lambda: "other" in bench.reloader.table().routes)


async def test_a_file_that_is_replaced_and_one_that_is_written_slowly(bench: Bench) -> None:
    async with watched(bench):
        fresh = bench.path.with_suffix(".new")
        fresh.write_text(GOOD.replace("gpt-image-2", "replaced"), "utf-8")
        fresh.replace(bench.path)
        await until(lambda: "replaced" in bench.reloader.table().routes)
        text = GOOD.replace("gpt-image-2", "slow")
        with bench.path.open("w", encoding="utf-8") as handle:
            for line in text.splitlines(keepends=True):
                handle.write(line)
                handle.flush()
                await asyncio.sleep(LOOK_EVERY_S / 5)
        await until(lambda: "slow" in bench.reloader.table().routes)
    assert bench.events == ["config.reloaded"] * 2


async def test_the_way_kubernetes_changes_a_volume(tmp_path: Path) -> None:
    """A mounted file links into ``..data``, which links to a directory of a time; a change swaps the second link."""
    for name, text in (("..1", GOOD), ("..2", GOOD.replace("gpt-image-2", "other"))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "routes.yaml").write_text(text, "utf-8")
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "routes.yaml").symlink_to("..data/routes.yaml")
    bench = bench_at(tmp_path / "routes.yaml")
    async with watched(bench):
        (tmp_path / "..data_tmp").symlink_to("..2")
        (tmp_path / "..data_tmp").replace(tmp_path / "..data")
        await until(lambda: "other" in bench.reloader.table().routes)


async def test_a_nudge_reads_a_file_that_has_not_changed(bench: Bench) -> None:
    async with watched(bench):
        bench.reloader.nudge()
        await until(lambda: bench.events)
    assert (bench.log.lines[0]["event"], bench.log.lines[0]["why"]) == ("config.reloaded", "signal")


def test_what_cannot_be_seen_has_no_look(tmp_path: Path) -> None:
    assert look(tmp_path / "nothing") is None


def test_another_place_for_pictures_needs_a_start() -> None:
    here = Settings(database="d", assets=AssetSettings(store="/data/assets"))
    there = Settings(database="d", assets=AssetSettings(store=ObjectStore(bucket="b"), ttl_s=1.0, most_bytes=1))
    names = ["storage.assets", "storage.asset_ttl", "storage.asset_max"]
    assert list(differences(here, there)) == list(differences(there, here)) == names
