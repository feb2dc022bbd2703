"""The key that prompts are hashed with: never told, and one for all servers of a ledger, so that hashes compare.

A ledger of one machine has it in ``prompt.key`` beside it, made on the first start. Servers that share a ledger have it
there, unless they were given that file: then each keeps to its own, and one whose key is another's is told apart.
"""

import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

from msgspec import Struct

from gateway.stores.place import place
from gateway.stores.prompt_keys import KEY_BYTES, agree

PROMPT_KEY: Final = "prompt.key"  # in the data directory


class PromptKey(Struct, frozen=True, kw_only=True):
    """The key, and whether it is the one of all servers of its ledger."""

    key: bytes
    is_alike: bool = True

    def __repr__(self) -> str:
        return f"PromptKey(is_alike={self.is_alike})"


def prompt_key(path: Path, database_url: str) -> PromptKey:
    """Give the key for a ledger that was opened before; ``path``: of the file. Blocks. Raises ``LedgerRefused``."""
    if not place(database_url).is_shared:
        return PromptKey(key=_own(path))
    agreed = agree(database_url, path.read_bytes() if path.exists() else None)
    return PromptKey(key=agreed.key or _own(path), is_alike=agreed.is_alike)


def _own(path: Path) -> bytes:
    """Give the key in a file, made when it is not there."""
    if not path.exists():
        fresh = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as handle:
            handle.write(secrets.token_bytes(KEY_BYTES))
        with suppress(FileExistsError):
            os.link(fresh, path)  # whole, or not at all: another worker may read it this moment
        fresh.unlink()
    return path.read_bytes()
