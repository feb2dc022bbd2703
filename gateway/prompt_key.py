"""The key that prompts are hashed with: made on the first start, kept beside the ledger, and never told."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

PROMPT_KEY_BYTES = 32


def prompt_key(path: Path) -> bytes:
    """Give the key that prompts are hashed with, made on the first start and kept beside the ledger."""
    if not path.exists():
        fresh = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as handle:
            handle.write(secrets.token_bytes(PROMPT_KEY_BYTES))
        with suppress(FileExistsError):
            os.link(fresh, path)  # whole, or not at all: another worker may read it this moment
        fresh.unlink()
    return path.read_bytes()
