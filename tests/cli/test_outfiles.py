"""Files of pictures: never half of one, never another's, and what was paid for gets a name in any case."""

import os
import threading
from pathlib import Path

import pytest

from gateway.cli.outfiles import OutFiles, write


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_a_name_that_was_taken_meanwhile(tmp_path: Path) -> None:
    files = OutFiles(out=tmp_path / "hero.png", n=1, force=False)
    assert files.trouble() is None
    (tmp_path / "hero.png").write_bytes(b"another's")
    (tmp_path / "hero-2.png").write_bytes(b"another's")
    assert files.keep(1, b"ours") == tmp_path / "hero-3.png"
    assert (tmp_path / "hero.png").read_bytes() == b"another's"
    assert names(tmp_path) == {"hero.png", "hero-2.png", "hero-3.png"}


def test_many_at_once_get_a_name_each(tmp_path: Path) -> None:
    files = OutFiles(out=tmp_path / "hero.png", n=1, force=False)
    datas = [b"%d" % number * 50_000 for number in range(8)]
    threads = [threading.Thread(target=files.keep, args=(1, data)) for data in datas]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(names(tmp_path)) == len(datas)
    assert {path.read_bytes() for path in tmp_path.iterdir()} == set(datas)


def test_what_is_refused_beforehand(tmp_path: Path) -> None:
    (tmp_path / "hero-2.png").symlink_to("nowhere")
    several = OutFiles(out=tmp_path / "hero.png", n=2, force=False).trouble()
    assert several is not None
    assert "hero-2.png is there already" in several
    assert OutFiles(out=tmp_path / "hero.png", n=2, force=True).trouble() is None
    assert OutFiles(out=tmp_path, n=1, force=True).trouble() is not None
    assert names(tmp_path) == {"hero-2.png"}


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match=r"directory|not permitted|exists"):
        write(tmp_path / "taken", b"data", force=True)
    with pytest.raises(FileExistsError):
        write(tmp_path / "taken", b"data", force=False)
    assert names(tmp_path) == {"taken"}


def test_permissions_are_the_users_or_the_old_files(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write(tmp_path / "new", b"data", force=False)
    finally:
        os.umask(old)
    (tmp_path / "kept").write_bytes(b"")
    (tmp_path / "kept").chmod(0o600)
    write(tmp_path / "kept", b"data", force=True, like=tmp_path / "kept")
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("new", "kept")] == [0o640, 0o600]
