"""Whole answers in the store: given back byte for byte, whether they came as they lie in the spool or not."""

import base64
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.bodies.answer import MEMORY_ITEM, AnswerSpool
from gateway.bodies.spool import MEMORY_TOTAL, Spool
from gateway.bodies.tape import SharedBody, original
from gateway.core.reshape import Span
from gateway.flights.vault import INLINE, Vault
from gateway.outlet import Said
from gateway.ports import AnswerBody
from gateway.ports.journal import Kept
from gateway.stores.assets_file import FileBlobs
from tests.fakes.answers import png

PICTURES = [png(64, 48, noise=True), os.urandom(700_000), b"GIF89a" * 30]
SHA = [hashlib.sha256(picture).hexdigest() for picture in PICTURES]


def text_of(*pictures: str) -> bytes:
    return json.dumps({"note": "n" * INLINE, "data": [{"b64_json": one} for one in pictures]}, indent=1).encode()


SPELLINGS = {
    "plain": text_of(*(base64.b64encode(picture).decode() for picture in PICTURES)),
    "escaped": text_of(*(base64.b64encode(picture).decode() for picture in PICTURES)).replace(b"/", b"\\/"),
    "no padding": text_of(base64.b64encode(PICTURES[0] + b"x").decode().rstrip("=")),
    "no picture": b'{"error":{"message":"no"}}',
}


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = Spool(tmp_path / "spool")
    yield spool
    assert (spool.memory_left, list((tmp_path / "spool").iterdir())) == (MEMORY_TOTAL, [])


@pytest.fixture
def vault(tmp_path: Path, spool: Spool) -> Vault:
    return Vault(FileBlobs(tmp_path / "assets"), spool)


def answer_of(spool: Spool, data: bytes, memory_item: int = MEMORY_ITEM) -> AnswerSpool:
    answer = AnswerSpool(spool, memory_item)
    for at in range(0, len(data), 100_000):
        answer.feed(data[at : at + 100_000])
    answer.finish()
    return answer


async def given_back(vault: Vault, parts: list[str | Kept]) -> bytes:
    assert await vault.has(parts)
    body = vault.open(parts)
    found = b"".join([piece async for piece in body.chunks()])
    assert body.length == len(found)
    body.close()
    return found


@pytest.mark.parametrize("name", SPELLINGS)
@pytest.mark.parametrize("memory_item", [0, MEMORY_ITEM])
async def test_an_answer_is_kept_from_where_it_lies(name: str, memory_item: int, vault: Vault, spool: Spool) -> None:
    shared = SharedBody(answer_of(spool, SPELLINGS[name], memory_item))
    share = shared.share()
    parts = list(await vault.keep(original(share)))
    share.close()
    shared.close()
    assert await given_back(vault, parts) == SPELLINGS[name]
    if name == "plain":
        assert [part.sha256 for part in parts if isinstance(part, Kept) and part.encoded] == SHA


async def test_what_was_rewritten_is_kept_as_it_goes_out(vault: Vault, spool: Spool) -> None:
    answer = answer_of(spool, SPELLINGS["plain"])
    answer.rewrite([Span(0, 2), b'"new":"', 2, b'"', 0])
    wanted = b"".join([piece async for piece in answer.chunks()])
    parts = list(await vault.keep(answer))
    answer.close()
    assert await given_back(vault, parts) == wanted


async def test_any_other_body_is_taken_apart_first(vault: Vault) -> None:
    body: AnswerBody = Said(SPELLINGS["plain"])
    assert original(body) is body
    parts = list(await vault.keep(body))
    assert [part.sha256 for part in parts if isinstance(part, Kept) and part.encoded] == SHA
    assert await given_back(vault, parts) == SPELLINGS["plain"]
