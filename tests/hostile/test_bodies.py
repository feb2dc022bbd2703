"""Bodies that mean harm: refused by name, quickly, in little memory, and never read in two ways."""

import asyncio
import json
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.types import Refusal, Surface
from gateway.ports import Job
from tests.fakes.incoming import BOUNDARY, FORM, JSON, PNG, Door, cut, form, part, slices

MEGABYTE = b"x" * 1_000_000
PROMPT, IMAGE = part("prompt", "p"), part("image", PNG, filename="a.png")
END = f"--{BOUNDARY}--\r\n".encode()
LINE = f"--{BOUNDARY}\r\n".encode()


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    door = Door(tmp_path)
    yield door
    door.spool.close()


async def longest_step_s(work: asyncio.Task[Job | Refusal]) -> float:
    """The most CPU time that passed on this thread between two turns of the loop."""
    longest, last = 0.0, time.thread_time()
    while not work.done():
        await asyncio.sleep(0)
        now = time.thread_time()
        longest, last = max(longest, now - last), now
    return longest


def headed(*lines: str, value: bytes = b"x") -> bytes:
    return LINE + "".join(f"{line}\r\n" for line in lines).encode("latin-1") + b"\r\n" + value + b"\r\n"


NAMED = 'Content-Disposition: form-data; name="prompt"'
FORMS: dict[str, bytes] = {
    "nothing": b"",
    "line ends": b"\r\n" * 40,
    "only the end": END,
    "no boundary": b"prompt=p&image=x",
    "another boundary": PROMPT.replace(BOUNDARY.encode(), b"other") + b"--other--",
    "preamble": b"This is a message in MIME format.\r\n" + PROMPT + IMAGE + END,
    "preamble of line ends": b"\r\n" * 9 + PROMPT + IMAGE + END,
    "no end": PROMPT + IMAGE,
    "half an end": PROMPT + IMAGE + END[:-3],
    "cut in a head": PROMPT + LINE + b"Content-Disp",
    "cut in a value": PROMPT + IMAGE[:-4],
    "ten thousand parts": PROMPT * 10_000 + IMAGE + END,
    "a hundred and one parts": PROMPT + part("x", "y") * 99 + IMAGE + END,
    "ten thousand headers": LINE + b"A: b\r\n" * 10_000 + b"\r\nx\r\n" + END,
    "a huge header": LINE + NAMED.encode() + b"; x=" + MEGABYTE + b"\r\n\r\np\r\n" + END,
    "a huge header name": LINE + MEGABYTE + b": y\r\n\r\np\r\n" + END,
    "a huge file name": part("image", PNG, filename="f" * 9_000) + END,
    "many long heads": PROMPT + part("image", PNG, filename="f" * 7_000) * 3 + END,
    "a head without end": LINE + NAMED.encode(),
    "a huge text": part("prompt", MEGABYTE + b"x") + IMAGE + END,
    "huge unknown texts": PROMPT + part("x", MEGABYTE[:600_000]) * 2 + IMAGE + END,
    "line feeds only": (PROMPT + IMAGE + END).replace(b"\r\n", b"\n"),
    "a line feed boundary within": PROMPT + part("image", PNG + b"\n" + LINE + b"\n" + PNG) + END,
    "a boundary with blanks": PROMPT + IMAGE.replace(LINE, LINE[:-2] + b" \t\r\n") + END,
    "a boundary right after a head": LINE + NAMED.encode() + b"\r\n\r\n" + IMAGE + END,
    "an end as a header": LINE + END[:-2] + b": x\r\n" + NAMED.encode() + b"\r\n\r\np\r\n" + IMAGE + END,
    "two ends": PROMPT + IMAGE + END + part("model", "evil") + END,
    "boundary plus more": PROMPT + IMAGE + part("x", b"\r\n--" + BOUNDARY.encode() + b"x") + END,
    "no disposition": headed("Content-Type: text/plain") + IMAGE + END,
    "no head": LINE + b"\r\np\r\n" + IMAGE + END,
    "two dispositions": headed(NAMED, 'Content-Disposition: form-data; name="model"') + IMAGE + END,
    "an attachment": headed('Content-Disposition: attachment; name="prompt"') + IMAGE + END,
    "no name": headed("Content-Disposition: form-data") + IMAGE + END,
    "an empty name": headed('Content-Disposition: form-data; name=""') + IMAGE + END,
    "two names": headed(NAMED + '; name="model"') + IMAGE + END,
    "a starred name": headed("Content-Disposition: form-data; name*=utf-8''prompt") + IMAGE + END,
    "a name and a starred name": headed(NAMED + "; name*=utf-8''model") + IMAGE + END,
    "a continued name": headed('Content-Disposition: form-data; name*0="pro"; name*1="mpt"') + IMAGE + END,
    "a quote in a name": headed('Content-Disposition: form-data; name="pro\\"mpt"') + IMAGE + END,
    "a name left open": headed('Content-Disposition: form-data; name="prompt') + IMAGE + END,
    "a name in a file name": headed('Content-Disposition: form-data; name="x"; filename="\\"; name=\\"model"') + END,
    "a name behind a backslash": headed('Content-Disposition: form-data; filename="a\\"; name="model"') + END,
    "a name with a line end": headed('Content-Disposition: form-data; name="pro\rmpt"') + IMAGE + END,
    "a name with a NUL": headed('Content-Disposition: form-data; name="pro\x00mpt"') + IMAGE + END,
    "a name of Latin-1": headed('Content-Disposition: form-data; name="pr\xf6mpt"') + IMAGE + END,
    "a name of a thousand letters": headed('Content-Disposition: form-data; name="' + "n" * 1_000 + '"') + IMAGE + END,
    "a folded header": headed("Content-Disposition: form-data;", ' name="prompt"') + IMAGE + END,
    "a blank before a colon": headed('Content-Disposition : form-data; name="prompt"') + IMAGE + END,
    "quoted-printable": headed(NAMED, "Content-Transfer-Encoding: quoted-printable") + IMAGE + END,
    "base64": headed(NAMED, "Content-Transfer-Encoding: base64") + IMAGE + END,
    "UTF-7": headed(NAMED, "Content-Type: text/plain; charset=utf-7") + IMAGE + END,
    "a lone surrogate": part("prompt", b"\xed\xa0\x80") + IMAGE + END,
    "UTF-16": part("prompt", "p".encode("utf-16")) + IMAGE + END,
    "a number of 5,000 digits": PROMPT + part("n", "9" * 5_000) + IMAGE + END,
    "a number in Arabic": PROMPT + part("n", "٣") + IMAGE + END,
    "NaN": PROMPT + part("n", "NaN") + IMAGE + END,
}


@pytest.mark.parametrize("size", [65_536, 1_000_000])
@pytest.mark.parametrize("name", FORMS)
async def test_a_hostile_form_is_refused_and_stops_nobody(door: Door, name: str, size: int) -> None:
    work = asyncio.create_task(door.read(Surface.EDITS, slices(FORMS[name], size) or [b""], FORM))
    step_s = await longest_step_s(work)
    refusal = await work
    assert isinstance(refusal, Refusal)
    assert refusal.status in {400, 413}
    assert step_s < 0.05
    assert door.spool.disk_left == door.disk_cap


@pytest.mark.parametrize("name", [name for name, body in FORMS.items() if len(body) < 3_000])
async def test_a_hostile_form_is_refused_alike_byte_by_byte(door: Door, name: str) -> None:
    whole = await door.refusal(Surface.EDITS, FORMS[name], FORM)
    assert await door.refusal(Surface.EDITS, slices(FORMS[name], 1), FORM) == whole


async def test_nothing_of_a_hostile_form_is_logged(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for body in FORMS.values():
        await door.refusal(Surface.EDITS, body, FORM)
    assert [record for record in caplog.records if record.name != "asyncio"] == []


async def test_a_nested_form_is_bytes_of_its_picture(door: Door) -> None:
    nested = b'--inner\r\nContent-Disposition: form-data; name="model"\r\n\r\nevil\r\n--inner--\r\n'
    body = form(PROMPT, part("image", nested, more="Content-Type: multipart/mixed; boundary=inner\r\n"))
    job = await door.job(Surface.EDITS, body, FORM)
    assert job.facts.asked_model is None
    assert job.facts.inputs[0].image is not None
    assert job.facts.inputs[0].image.bytes == len(nested)


@pytest.mark.parametrize("value", ["\r\n--x" * 13_107, "\r" * 65_536, "\n-" * 32_000, "--" * 32_000])
async def test_a_picture_that_looks_like_boundaries_stops_nobody(door: Door, value: str) -> None:
    body = slices(form(PROMPT, part("image", value.encode() * 40)), 1_000_000)
    work = asyncio.create_task(door.read(Surface.EDITS, body, FORM))
    assert await longest_step_s(work) < 0.05
    assert isinstance(await work, Job)


SHARDS = [LINE, END, END[:-2], LINE[:9], PROMPT, IMAGE, NAMED.encode(), b"; name=", b'"', b": ", b"x", b"\xff", b"\x00"]
SHARDS += [b"\r\n\r\n", b"\r\n", b"\n", b"\r", b"--", b"-", b" "]


@settings(max_examples=200, deadline=None)
@given(
    body=st.lists(st.sampled_from(SHARDS), max_size=14).map(b"".join),
    places=st.lists(st.integers(min_value=0, max_value=400), max_size=12),
)
def test_any_form_is_read_or_refused_and_its_slices_do_not_matter(
    tmp_path_factory: pytest.TempPathFactory, body: bytes, places: list[int]
) -> None:
    door = Door(tmp_path_factory.mktemp("spool"))
    whole = asyncio.run(door.read(Surface.EDITS, body, FORM))
    sliced = asyncio.run(door.read(Surface.EDITS, cut(body, places), FORM))
    if isinstance(whole, Refusal):
        assert whole == sliced
    else:
        assert isinstance(sliced, Job)
        assert (whole.facts, whole.body_map) == (sliced.facts, sliced.body_map)
    door.spool.close()


def of_prompt(text: bytes) -> bytes:
    return b'{"prompt":"p","x":' + text + b"}"


BODIES: dict[str, bytes] = {
    "nothing": b"",
    "blanks": b" \n",
    "not JSON": b"prompt=p",
    "an array": b'[{"prompt":"p"}]',
    "a string": b'"prompt"',
    "null": b"null",
    "truncated": b'{"prompt":"p"',
    "truncated in a string": b'{"prompt":"p',
    "something after": b'{"prompt":"p"}{}',
    "a comma too many": b'{"prompt":"p",}',
    "single quotes": b"{'prompt':'p'}",
    "a comment": b'{"prompt":"p"/**/}',
    "depth 100,000": of_prompt(b"[" * 100_000 + b"]" * 100_000),
    "depth 100,000 of objects": of_prompt(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "depth without end": of_prompt(b"[" * 100_000),
    "duplicate keys": b'{"prompt":"p","prompt":"q"}',
    "a duplicate model": b'{"prompt":"p","model":"a","model":"b"}',
    "a duplicate key by escape": b'{"prompt":"p","model":"a","mod\\u0065l":"b"}',
    "a duplicate key within": of_prompt(b'{"a":1,"a":2}'),
    "NaN": of_prompt(b"NaN"),
    "Infinity": of_prompt(b"Infinity"),
    "minus Infinity": of_prompt(b"-Infinity"),
    "a number of 5,000 digits": of_prompt(b"9" * 5_000),
    "a leading zero": of_prompt(b"01"),
    "hexadecimal": of_prompt(b"0x1"),
    "a lone surrogate": of_prompt(b'"\\ud800"'),
    "a lone surrogate in the prompt": b'{"prompt":"\\udc00"}',
    "a surrogate in UTF-8": of_prompt(b'"\xed\xa0\x80"'),
    "bad UTF-8": of_prompt(b'"\xff"'),
    "overlong UTF-8": of_prompt(b'"\xc0\xaf"'),
    "a mark of byte order": b'\xef\xbb\xbf{"prompt":"p"}',
    "UTF-16": '{"prompt":"p"}'.encode("utf-16"),
    "UTF-16 without a mark": '{"prompt":"p"}'.encode("utf-16-le"),
    "UTF-32": '{"prompt":"p"}'.encode("utf-32"),
    "a NUL": b'{"prompt":"p"}\x00',
    "a line end in a string": b'{"prompt":"p\n"}',
    "a bad escape": of_prompt(b'"\\x41"'),
    "a million values": of_prompt(b"[" + b"0," * 1_000_000 + b"0]"),
}


@pytest.mark.parametrize("surface", list(Surface))
@pytest.mark.parametrize("name", BODIES)
async def test_hostile_json_is_refused_and_stops_nobody(door: Door, name: str, surface: Surface) -> None:
    work = asyncio.create_task(door.read(surface, slices(BODIES[name], 65_536) or [b""], JSON))
    step_s = await longest_step_s(work)
    refusal = await work
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.code) in {(400, "invalid_json"), (413, "request_too_large")}
    assert step_s < 0.05


SLOW: dict[str, bytes] = {
    "399,000 numbers": of_prompt(b"[" + b"0," * 399_000 + b"0]"),
    "199,000 objects": of_prompt(b"[" + b'{"a":0},' * 199_000 + b"0]"),
    "190,000 keys": b'{"prompt":"p"' + b"".join(b',"%d":0' % number for number in range(190_000)) + b"}",
    "a prompt of escapes": b'{"prompt":"' + b"\\u00e9" * 1_300_000 + b'"}',
    "a prompt of 8 MB": b'{"prompt":"' + b"x" * 8_000_000 + b'"}',
    "many strings like pictures": of_prompt(b"[" + b'"data:",' * 190_000 + b"0]"),
}


@pytest.mark.parametrize("name", SLOW)
async def test_json_that_is_slow_to_read_stops_nobody(door: Door, name: str) -> None:
    work = asyncio.create_task(door.read(Surface.GENERATIONS, slices(SLOW[name], 65_536), JSON))
    assert await longest_step_s(work) < 0.05
    await work


@pytest.mark.parametrize("secret", ["SENTINEL-9e1c"])
async def test_no_message_repeats_what_was_sent(door: Door, secret: str) -> None:
    fields = ("prompt", "model", "n", "size", "stream", "output_compression", "user", "images", "mask")
    for name in fields:
        for value in (secret, [secret], {secret: secret}, 7):
            body = json.dumps({"prompt": "p", "images": [{"image_url": "https://a.test/"}], name: value}).encode()
            read = await door.read(Surface.EDITS, body, JSON)
            assert isinstance(read, Job) or secret not in read.message
    for headers in ({"x-route-pin": f"{secret} x"}, {"x-request-tags": secret}, {"content-type": secret}):
        assert secret not in (await door.refusal(Surface.EDITS, b"{}", JSON | headers)).message


MEMORY_PROBE = """
import asyncio, hashlib, resource, sys
from pathlib import Path
from gateway.core.types import Surface
from tests.fakes.incoming import BOUNDARY, FORM, Door, part
head, piece, tail = part("image[]", b"", filename="a.png")[:-2], bytes(range(256)) * 1024, b"\\r\\n"
pieces_per_file, files = int(sys.argv[2]), 16

def pieces():
    for _ in range(files):
        yield head
        for _ in range(pieces_per_file):
            yield piece
        yield tail
    yield part("prompt", "p")
    yield f"--{BOUNDARY}--".encode()

async def main():
    door = Door(Path(sys.argv[1]))
    await door.job(Surface.EDITS, [part("image", b"x"), part("prompt", "p"), f"--{BOUNDARY}--".encode()], FORM)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    job = await door.job(Surface.EDITS, pieces(), FORM)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert len(job.facts.inputs) == files
    assert job.facts.inputs[0].image.sha256 == hashlib.sha256(piece * pieces_per_file).hexdigest()
    job.body.close()
    door.spool.close()
    print(after - before)

asyncio.run(main())
"""


def test_three_hundred_megabytes_of_pictures_leave_memory_flat(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", MEMORY_PROBE, str(tmp_path), "72"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    grown = int(run.stdout) * (1 if sys.platform == "darwin" else 1024)
    assert grown < 32_000_000


def test_a_text_of_a_megabyte_is_no_stranger(door: Door) -> None:
    text = "ö" * 400_000
    job = asyncio.run(door.job(Surface.EDITS, form(part("prompt", text), IMAGE), FORM))
    assert (job.prompt, job.facts.prompt_chars) == (text, 400_000)
    with suppress(OSError):
        job.body.close()
