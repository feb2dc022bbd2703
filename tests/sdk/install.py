"""The packages of the Node programs, installed once, also when two test runs want them at the same time."""

import fcntl
import subprocess
from pathlib import Path


def install(directory: Path) -> None:
    """Install what the lock file beside ``package.json`` pins, unless it is there."""
    whole = directory / "node_modules" / ".package-lock.json"  # npm writes it last
    with (directory / "package.json").open("rb") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        if not whole.exists():
            subprocess.run(["npm", "ci", "--silent", "--no-audit", "--no-fund"], cwd=directory, check=True)
