"""Where the server of a data directory is reached: it notes that beside its data, and commands look there.

The note is for people's commands on this machine and decides nothing else. It goes when the server ends; one that a
killed server left behind is told by its process id.
"""

import os
from contextlib import suppress
from pathlib import Path

import orjson

FILE = "server.json"


def note_served(data_dir: Path, url: str) -> None:
    """Note this process's address; a directory that takes no note has none, and commands are told ``--url``."""
    made = data_dir / f"{FILE}.{os.getpid()}"
    with suppress(OSError):
        descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(orjson.dumps({"pid": os.getpid(), "url": url}, option=orjson.OPT_APPEND_NEWLINE))
        made.replace(data_dir / FILE)


def forget_served(data_dir: Path) -> None:
    """Take this process's note away; another's stays."""
    if _read(data_dir)[0] == os.getpid():
        (data_dir / FILE).unlink(missing_ok=True)


def served_at(data_dir: Path) -> str | None:
    """Give the address of the server that runs on a data directory; ``None`` when none does, as far as is known."""
    pid, url = _read(data_dir)
    return url if pid is not None and _is_running(pid) else None


def _read(data_dir: Path) -> tuple[int | None, str | None]:
    try:
        found = orjson.loads((data_dir / FILE).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return None, None
    pid, url = (found.get("pid"), found.get("url")) if isinstance(found, dict) else (None, None)
    return (pid, url) if isinstance(pid, int) and pid > 0 and isinstance(url, str) else (None, None)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True
