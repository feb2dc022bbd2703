"""Fixed work to measure against: what a request is made of, done by nobody's code but the interpreter's and C's.

``words`` is what a small request is made of (JSON, dicts, frozen values, calls, text, a digest, a socket); ``bytes_``
is what a picture is made of (base64 both ways, SHA-256, a file). Both run in the process that measures. They must not
change, nor use anything of the package: every ceiling in ``bench/ceilings.yaml`` is a multiple of them.
"""

import hashlib
import json
import socket
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import pybase64

WORD_TURNS: Final = 400
BYTE_TURNS: Final = 6
PIECE: Final = 64 * 1024
PICTURE: Final = bytes(range(256)) * 12 * 1024  # 3 MB
DOCUMENT: Final = json.dumps(
    {"model": "m", "prompt": "a lighthouse at night, " * 10, "n": 1, "tags": {"a": [1, 2.5, None], "b": "c"}}
).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A frozen value, as a request has dozens of."""

    name: str
    length: int
    text: str


def words() -> None:
    """Do the small work ``WORD_TURNS`` times: about 7 ms."""
    near, far = socket.socketpair()
    with near, far:
        for number in range(WORD_TURNS):
            near.sendall(DOCUMENT)
            fields = json.loads(far.recv(PIECE))
            facts = [Fact(name=name, length=len(str(value)), text=f"{name}={value}") for name, value in fields.items()]
            facts.sort(key=lambda fact: (fact.length, fact.name))
            said = {fact.name: fact.text for fact in facts if fact.length != number}
            hashlib.sha256(json.dumps(said).encode()).hexdigest()


def bytes_() -> None:
    """Do the big work ``BYTE_TURNS`` times: about 17 ms."""
    coded = pybase64.b64encode(PICTURE)
    with tempfile.TemporaryFile() as file:
        for _ in range(BYTE_TURNS):
            digest = hashlib.sha256()
            file.seek(0)
            for at in range(0, len(coded), PIECE):
                piece = pybase64.b64decode(coded[at : at + PIECE], validate=True)
                digest.update(piece)
                file.write(piece)
                pybase64.b64encode(piece)


def cpu_of(work: Callable[[], None]) -> float:
    """Give the processor time of this thread that the work took, in seconds."""
    before = time.thread_time()
    work()
    return time.thread_time() - before


WORDS: Final = partial(cpu_of, words)
BYTES: Final = partial(cpu_of, bytes_)
