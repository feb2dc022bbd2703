"""The key that prompts are hashed with: made on the first start, kept beside the ledger, and never told."""

import os
import secrets
from pathlib import Path

PROMPT_KEY_BYTES = 32


def prompt_key(path: Path) -> bytes:
    """Give the key that prompts are hashed with, made on the first start and kept beside the ledger."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_bytes()
    with os.fdopen(descriptor, "wb") as handle:
        key = secrets.token_bytes(PROMPT_KEY_BYTES)
        handle.write(key)
    return key
