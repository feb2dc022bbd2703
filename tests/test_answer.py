"""An answer kept whole: the client's bytes are the upstream's, and every picture's facts are right."""

import base64
import hashlib
import json
import os
import time
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.bodies.answer import MEMORY_LEFT, MOST_TEXT, SMALL, AnswerSpool, expected_of
from gateway.bodies.spool import MEMORY_TOTAL, PIECE, Spool, SpoolFull
from gateway.core.extract import placeholder
from gateway.core.seen import AnswerFacts
from tests.fakes.answers import png


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def fed(answer: AnswerSpool, data: bytes, step: int = 64 * 1024) -> AnswerFacts:
    for at in range(0, len(data), step):
        answer.feed(data[at : at + step])
    return answer.finish()


async def given_back(answer: AnswerSpool) -> bytes:
    pieces = [piece async for piece in answer.chunks()]
    assert all(0 < len(piece) <= PIECE for piece in pieces)
    return b"".join(pieces)


PICTURES = [png(64, 48), png(300, 200, alpha=True, noise=True), png(1, 1)]
WHOLE = {
    "compact": json.dumps({"created": 1, "data": [{"b64_json": b64(p)} for p in PICTURES]}, separators=(",", ":")),
    "pretty": json.dumps({"data": [{"revised_prompt": "ü", "b64_json": b64(p)} for p in PICTURES]}, indent=3),
    "odd order, long numbers, unknown fields": (
        '{"x":'
        + "9" * 5000
        + ',"y":1.000000000000000000001e+400,"data":['
        + ",".join(f'{{"zz":[null],"b64_json" : "{b64(p)}"}}' for p in PICTURES)
        + "]}"
    ),
    "escaped slashes": json.dumps({"data": [{"b64_json": b64(p)} for p in PICTURES]}).replace("/", "\\/"),
    "data urls": json.dumps({"data": [{"url": f"data:image/png;base64,{b64(p)}"} for p in PICTURES]}),
    "items of a response": json.dumps(
        {"output": [{"type": "image_generation_call", "result": b64(p)} for p in PICTURES]}
    ),
}


MIDDLE = png(60, 40, alpha=True, noise=True)
BRIEF = {name: text.replace(b64(PICTURES[1]), b64(MIDDLE)) for name, text in WHOLE.items()}
BRIEF["escaped slashes"] = WHOLE["compact"].replace(b64(PICTURES[1]), b64(MIDDLE).replace("/", "\\/"))


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("memory_item", [0, 256, 10_000_000])
async def test_the_bytes_are_identical_and_the_facts_are_right(name: str, memory_item: int, tmp_path: Path) -> None:
    data = WHOLE[name].encode()
    spool = Spool(tmp_path / "spool")
    answer = AnswerSpool(spool, memory_item)
    facts = fed(answer, data, step=777)
    assert hashlib.sha256(await given_back(answer)).digest() == hashlib.sha256(data).digest()
    assert await given_back(answer) == data
    assert answer.length == len(data) == facts.bytes
    assert facts.document is not None
    found = [picture for picture in facts.pictures if picture is not None]
    assert [(p.sha256, p.bytes) for p in found] == [(hashlib.sha256(p).hexdigest(), len(p)) for p in PICTURES]
    assert [(p.format, p.width, p.height) for p in found] == [("png", 64, 48), ("png", 300, 200), ("png", 1, 1)]
    assert [p.alpha for p in found] == [False, True, False]
    answer.close()
    assert list((tmp_path / "spool").iterdir()) == []


@pytest.mark.parametrize("ratio", [0.5, 1, 3])
@pytest.mark.parametrize("memory", [0, 100_000, 10_000_000])
async def test_an_answer_of_known_length_leaves_memory_as_it_was(ratio: float, memory: int, tmp_path: Path) -> None:
    data = WHOLE["odd order, long numbers, unknown fields"].encode()
    spool = Spool(tmp_path / "spool", memory_total=MEMORY_LEFT + memory)
    answer = AnswerSpool(spool, expected=int(len(data) * ratio))
    fed(answer, data, step=5_000)
    assert await given_back(answer) == data
    held = sum(len(picture) for picture in PICTURES) if memory > 1_000_000 else 0
    assert spool.memory_left <= MEMORY_LEFT + memory
    assert ratio < 1 or memory == 100_000 or spool.memory_left == MEMORY_LEFT + memory - held
    answer.close()
    assert (spool.memory_left, list((tmp_path / "spool").iterdir())) == (MEMORY_LEFT + memory, [])


@pytest.mark.parametrize("name", BRIEF)
async def test_a_small_answer_means_what_it_does_in_pieces(name: str, tmp_path: Path) -> None:
    data, spool = BRIEF[name].encode(), Spool(tmp_path / "spool")
    pictures = [PICTURES[0], MIDDLE, PICTURES[2]]
    small, pieced = AnswerSpool(spool), AnswerSpool(spool, SMALL - 1)
    facts = fed(small, data)
    assert facts == fed(pieced, data, step=1000)
    assert small.skeleton() == pieced.skeleton()
    assert small.whole == (None if name == "escaped slashes" else data)
    assert pieced.whole is None
    assert await given_back(small) == await given_back(pieced) == data
    for answer in (small, pieced):
        leases = [lease() for _, lease in answer.pictures()]
        answer.close()
        answer.close()
        found = [b"".join([piece async for piece in lease.read()]) for lease in leases]
        assert found == pictures
        assert [b"".join([piece async for piece in lease.read(3, 9)]) for lease in leases] == [p[3:9] for p in pictures]
        for lease in leases:
            lease.close()
            lease.close()
    assert (spool.memory_left, list((tmp_path / "spool").iterdir())) == (MEMORY_TOTAL, [])


async def test_a_small_answer_for_which_there_is_no_memory_goes_to_disk(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", memory_total=MEMORY_LEFT)
    answer = AnswerSpool(spool)
    fed(answer, BRIEF["compact"].encode())
    assert answer.whole is None
    assert len(list((tmp_path / "spool").iterdir())) == len(PICTURES)
    assert await given_back(answer) == BRIEF["compact"].encode()
    answer.close()


@pytest.mark.parametrize("length", [SMALL, SMALL + 1])
@pytest.mark.parametrize("is_told", [True, False])
async def test_an_answer_is_small_up_to_a_length(length: int, *, is_told: bool, tmp_path: Path) -> None:
    head, tail = b'{"data":[{"b64_json":"', b'"}]}'
    data = head + b"QUJD" * ((length - len(head) - len(tail)) // 4) + tail
    data = data[:-1] + b" " * (length - len(data)) + data[-1:]
    answer = AnswerSpool(Spool(tmp_path / "spool"), expected=length if is_told else None)
    fed(answer, data, step=50_000)
    assert (answer.whole is not None) == (length <= SMALL)
    assert await given_back(answer) == data
    answer.close()


@pytest.mark.parametrize(
    ("said", "length"), [("12", 12), ("", None), ("-1", None), ("1e3", None), ("٣", None), ("1_0", None)]
)
def test_only_a_plain_length_is_believed(said: str, length: int | None) -> None:
    assert expected_of({"content-length": said} if said else {}) == length


async def test_the_document_holds_placeholders_where_pictures_were(tmp_path: Path) -> None:
    answer = AnswerSpool(Spool(tmp_path / "spool"))
    facts = fed(answer, WHOLE["compact"].encode())
    assert facts.document == {"created": 1, "data": [{"b64_json": placeholder(n)} for n in range(3)]}


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"null", b"<html></html>", b'{"a":', b"[" * 100_000, b'"x"', b"\xff\xfe{\x00}\x00", b'{"a":1}{"b":2}'],
)
async def test_what_is_no_object_has_no_document_and_comes_back(data: bytes, tmp_path: Path) -> None:
    answer = AnswerSpool(Spool(tmp_path / "spool"))
    assert fed(answer, data).document is None
    assert await given_back(answer) == data


async def test_a_payload_that_is_no_picture_has_no_facts(tmp_path: Path) -> None:
    data = json.dumps({"output": [{"type": "mcp_call", "result": "words " * 40}]}).encode()
    answer = AnswerSpool(Spool(tmp_path / "spool"))
    assert fed(answer, data).pictures == (None,)
    assert await given_back(answer) == data


def test_text_without_end_is_refused(tmp_path: Path) -> None:
    answer = AnswerSpool(Spool(tmp_path / "spool"))
    with pytest.raises(SpoolFull):
        fed(answer, b"x" * (MOST_TEXT + 1000))


def test_pictures_over_the_disk_cap_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", disk_cap=1000)
    answer = AnswerSpool(spool, 10)
    with pytest.raises(SpoolFull):
        fed(answer, WHOLE["compact"].encode())
    answer.close()
    assert (spool.disk_left, list((tmp_path / "spool").iterdir())) == (1000, [])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pictures=st.lists(st.binary(min_size=40, max_size=2000), max_size=3),
    cuts=st.lists(st.integers(0, 9000), max_size=9),
)
async def test_any_picture_in_any_pieces(tmp_path: Path, pictures: list[bytes], cuts: list[int]) -> None:
    data = json.dumps({"data": [{"b64_json": b64(picture)} for picture in pictures]}).encode()
    answer = AnswerSpool(Spool(tmp_path / "spool"), 500)
    for start, end in pairwise([0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]):
        answer.feed(data[start:end])
    facts = answer.finish()
    assert [p.sha256 for p in facts.pictures if p] == [hashlib.sha256(picture).hexdigest() for picture in pictures]
    assert await given_back(answer) == data
    answer.close()


async def test_a_20_mb_answer_takes_little_and_never_holds_the_loop(tmp_path: Path) -> None:
    """Not a timing test of the machine: the bound is ten times what it takes."""
    data = json.dumps({"data": [{"b64_json": b64(os.urandom(15_000_000))}]}).encode()
    answer = AnswerSpool(Spool(tmp_path / "spool"))
    before = time.process_time()
    fed(answer, data)
    assert await given_back(answer) == data
    assert time.process_time() - before < 0.6
    answer.close()
