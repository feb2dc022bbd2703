"""Pictures become files: the names they get, and writing them so that there is never half a file.

A file appears under its name when all of it is on the disk. A file that was there is replaced only when that was asked
for, also when it came into being while the picture was made: then the picture, which was paid for, gets the next free
number.
"""

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from msgspec import Struct

from gateway.cli.sidecar import path_of

_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EXDEV, errno.EMLINK})


class OutFiles(Struct, frozen=True, kw_only=True):
    """Where the pictures of one request go: ``out`` itself for one, ``out-1`` and so on for several."""

    out: Path
    n: int
    force: bool

    def name(self, number: int) -> Path:
        """Give the name of a picture, from 1 on."""
        if self.n == 1 and number == 1:
            return self.out
        return self.out.with_name(f"{self.out.stem}-{number}{self.out.suffix}")

    def trouble(self) -> str | None:
        """Say why nothing can be written there, before anything is spent; makes the directory."""
        if self.out.is_dir() or not self.out.name:
            return f"{self.out} is a directory: --out names a file"
        for path in map(self.name, range(1, self.n + 1)):
            for file in (path, path_of(path)):
                if not self.force and os.path.lexists(file):
                    return f"{file} is there already: --force replaces it"
        try:
            self.out.parent.mkdir(parents=True, exist_ok=True)
            probe = _part(self.out)
            probe.touch(exist_ok=False)
            probe.unlink()
        except OSError as error:
            return f"cannot write to {self.out.parent}: {error.strerror}"
        return None

    def keep(self, number: int, data: bytes) -> Path:
        """Write one picture; gives the name it got. Raises ``OSError``."""
        for path in self._names(number):
            try:
                write(path, data, force=self.force)
            except FileExistsError:
                continue
            return path
        raise AssertionError

    def _names(self, number: int) -> Iterator[Path]:
        yield self.name(number)
        for further in count(number + 1):
            yield self.out.with_name(f"{self.out.stem}-{further}{self.out.suffix}")


def write(path: Path, data: bytes, *, force: bool, like: Path | None = None) -> None:
    """Write a whole file, with the permissions of ``like``.

    Raises ``FileExistsError`` when it is there and was not to be replaced, and ``OSError``.
    """
    part = _part(path)
    try:
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if like is not None:
            shutil.copymode(like, part)
        if force:
            part.replace(path)
        else:
            _link(part, path)
    finally:
        part.unlink(missing_ok=True)


def _link(part: Path, path: Path) -> None:
    """Give a file its name, which nothing may have."""
    try:
        path.hardlink_to(part)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        part.replace(path)


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}.part")
