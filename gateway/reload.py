"""The routes file while the server runs: read again when it changes, on a signal and on request; whole or not at all.

Rules. A good file is swapped in as one reference: a request that has begun keeps the table it began with. A file with a
mistake changes nothing; what is wrong with it is logged and shown until a good one comes. What only a start can change
is named, never half applied. One reload at a time, beside the loop.

The file is watched by looking at it: twice a second its identity, size and time are asked, through every link, so that
a Kubernetes volume that swaps a directory, a file mounted alone into a container and a network disk are all seen. It is
read once it has stayed the same for two looks, so that a file that is being written is left alone. One that
cannot be read is tried at every look, and taken as soon as it can be.
"""

import asyncio
import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from gateway.config import Loaded, Mistake
from gateway.config.source import MAX_BYTES
from gateway.core.record import timestamp
from gateway.core.redact import redact
from gateway.core.table import ObjectStore, RouteTable, Settings
from gateway.core.types import JsonObject
from gateway.ports import Clock, Events

LOOK_EVERY_S: Final = 0.5
MOST_SHOWN: Final = 20  # mistakes of one file

Read: TypeAlias = Callable[[], Loaded | list[Mistake]]
Look: TypeAlias = tuple[int, int, int, int] | None

_NAMES: Final = MappingProxyType(
    {
        "database": "storage.database",
        "shared": "storage.shared",
        "prompts": "privacy.prompts",
        "alerts.repeat_s": "alerts.repeat",
        "assets.store": "storage.assets",
        "assets.ttl_s": "storage.asset_ttl",
        "assets.most_bytes": "storage.asset_max",
    }
)


class Why(StrEnum):
    """What made the file be read again."""

    FILE = "file"
    SIGNAL = "signal"
    REQUEST = "request"


class Rejected(Struct, frozen=True, kw_only=True):
    """A file that was not taken. ``mistakes`` are the first of ``count``, each one line, secrets masked."""

    time: datetime
    why: Why
    count: int
    mistakes: tuple[str, ...]


class ConfigStatus(Struct, frozen=True, kw_only=True):
    """Which file is in force since when, and what became of later ones. ``rejected``: the last one, if it was bad.

    ``needs_restart``: keys whose values in the file in force are not those the process runs with.
    """

    loaded: Loaded
    since: datetime
    taken: int = 0
    refused: int = 0
    rejected: Rejected | None = None
    needs_restart: tuple[str, ...] = ()

    @property
    def version(self) -> str:
        """The version of the table in force."""
        return self.loaded.table.version


class Reloader:
    """Holds the reference that a reload swaps. ``read`` reads the file anew; it runs in a thread."""

    def __init__(
        self, first: Loaded, read: Read, events: Events, clock: Clock, *, look_every_s: float = LOOK_EVERY_S
    ) -> None:
        self._running = first.settings
        self._read = read
        self._events = events
        self._clock = clock
        self._look_every_s = look_every_s
        self._status = ConfigStatus(loaded=first, since=clock.now())
        self._turn = asyncio.Lock()
        self._nudged = asyncio.Event()

    @property
    def status(self) -> ConfigStatus:
        """How things stand."""
        return self._status

    def table(self) -> RouteTable:
        """Give the table in force; a request takes it once."""
        return self._status.loaded.table

    def nudge(self) -> None:
        """Have the watch read the file now, whether it changed or not: a secret's file may have."""
        self._nudged.set()

    async def reload(self, why: Why) -> ConfigStatus:
        """Read the file and take it, or log why not; gives how things stand then."""
        async with self._turn:
            found = await asyncio.to_thread(self._read)
            self._status = self._refuse(found, why) if isinstance(found, list) else self._take(found, why)
        return self._status

    async def watch(self) -> None:
        """Reload on every change of the file and on every nudge, until cancelled."""
        path = self._status.loaded.path
        tried: str | None = self._status.loaded.checksum
        before: Look = None
        settled: Look = (0, 0, 0, 0)  # never seen: what changed before the first look is noticed by its checksum
        while True:
            if await self._pause():
                await self.reload(Why.SIGNAL)
            now = await asyncio.to_thread(look, path)
            if now == before and now != settled:
                checksum = await asyncio.to_thread(checksum_of, path)
                settled = settled if checksum is None and now is not None else now  # unreadable: until it is readable
                if checksum != tried:
                    tried = checksum
                    await self.reload(Why.FILE)
            before = now

    async def _pause(self) -> bool:
        """Wait for the next look; whether a nudge came instead."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._look_every_s):
                await self._nudged.wait()
        nudged = self._nudged.is_set()
        self._nudged.clear()
        return nudged

    def _take(self, found: Loaded, why: Why) -> ConfigStatus:
        restart = tuple(differences(self._running, found.settings))
        now, old = self._clock.now(), self._status
        self._events.emit(
            {
                "event": "config.reloaded",
                "time": timestamp(now),
                "why": why,
                "config_version": found.table.version,
                "previous_version": old.version,
                "needs_restart": restart,
            }
        )
        return replace(old, loaded=found, since=now, taken=old.taken + 1, rejected=None, needs_restart=restart)

    def _refuse(self, mistakes: list[Mistake], why: Why) -> ConfigStatus:
        now, old = self._clock.now(), self._status
        secrets = [channel.api_key.reveal() for channel in self.table().channels.values() if channel.api_key]
        shown = tuple(masked(mistake, secrets) for mistake in mistakes[:MOST_SHOWN])
        self._events.emit(
            {
                "event": "config.reload_failed",
                "time": timestamp(now),
                "why": why,
                "config_version": old.version,
                "count": len(mistakes),
                "mistakes": shown,
            }
        )
        rejected = Rejected(time=now, why=why, count=len(mistakes), mistakes=shown)
        return replace(old, refused=old.refused + 1, rejected=rejected)


def look(path: Path) -> Look:
    """Give what changes when a file does; ``None``: it cannot be seen."""
    try:
        found = os.stat(path)  # noqa: PTH116 - follows links as it must; Path.stat is the same call
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def checksum_of(path: Path) -> str | None:
    """Give the SHA-256 of a file's bytes, as ``Loaded.checksum`` has it; ``None``: it cannot be read."""
    try:
        with path.open("rb") as handle:
            return hashlib.sha256(handle.read(MAX_BYTES + 1)).hexdigest()
    except OSError:
        return None


def masked(mistake: Mistake, secrets: list[str]) -> str:
    """Write a mistake in one line, without what may be a credential in the wrong place."""
    return str(replace(mistake, path=redact(mistake.path, secrets), message=redact(mistake.message, secrets)))


def differences(running: Settings, wanted: Settings) -> Iterator[str]:
    """Name the keys that only a start can change and that are not as the process runs with them."""
    for name, mine, theirs in _pairs(running, wanted):
        if mine != theirs:
            yield _NAMES.get(name, name)


def _pairs(one: object, other: object, prefix: str = "") -> Iterator[tuple[str, object, object]]:
    """Give the values of two like structures, side by side, under dotted names."""
    if not isinstance(one, Struct) or isinstance(one, ObjectStore):
        yield prefix, one, other
        return
    for field in one.__struct_fields__:
        name = f"{prefix}.{field}" if prefix else field
        yield from _pairs(getattr(one, field), getattr(other, field), name)


def config_json(status: ConfigStatus) -> JsonObject:
    """Give the status as the operator reads it."""
    loaded, rejected = status.loaded, status.rejected
    return {
        "version": status.version,
        "checksum": f"sha256:{loaded.checksum}",
        "path": str(loaded.path),
        "since": timestamp(status.since),
        "reloads": status.taken,
        "failed_reloads": status.refused,
        "needs_restart": status.needs_restart,
        "last_error": None
        if rejected is None
        else {
            "time": timestamp(rejected.time),
            "why": rejected.why,
            "count": rejected.count,
            "mistakes": rejected.mistakes,
        },
    }
