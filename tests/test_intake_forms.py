import asyncio
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai import OpenAI

from gateway.core.edits import edits
from gateway.core.translation import Change
from gateway.core.types import InputFacts, InputRole, Splice, Surface
from gateway.ports import Job
from tests.fakes.incoming import BOUNDARY, FORM, PNG, Door, bytes_of, cut, form, part, slices

PLAIN_PARTS = part("prompt", "a hat") + part("image", PNG, filename="a.png")
PLAIN = form(part("prompt", "a hat"), part("model", "gpt-image-2"), part("image", PNG, filename="a.png"))


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    door = Door(tmp_path)
    yield door
    door.spool.close()


def spliced(body: bytes, splices: tuple[Splice, ...]) -> bytes:
    for splice in reversed(splices):
        body = body[: splice.start] + splice.text + body[splice.end :]
    return body


def facts_of(pictures: tuple[InputFacts, ...]) -> list[tuple[str, str, str, int | None]]:
    return [(p.role, p.source, p.image.format, p.image.width) if p.image else ("", "", "", None) for p in pictures]


async def test_a_form_becomes_a_job_with_its_body_as_it_came(door: Door) -> None:
    job = await door.job(Surface.EDITS, PLAIN, FORM)
    assert (job.facts.asked_model, job.prompt, job.facts.prompt_chars) == ("gpt-image-2", "a hat", 5)
    assert facts_of(job.facts.inputs) == [("image", "upload", "png", 16)]
    assert await bytes_of(job) == PLAIN
    assert job.body_map.length == len(PLAIN)
    assert (job.body_map.content_type, job.body_map.boundary) == (FORM["content-type"], BOUNDARY)


async def test_the_model_is_found_where_it_stands(door: Door) -> None:
    job = await door.job(Surface.EDITS, PLAIN, FORM)
    assert job.body_map.model is not None
    start, end = job.body_map.model
    assert PLAIN[start:end] == b"gpt-image-2"


@pytest.mark.parametrize("size", [1, 7, 100_000])
@pytest.mark.parametrize("lead", [b"", b"\r\n"])
async def test_any_options_can_be_changed_or_taken_out_together(door: Door, lead: bytes, size: int) -> None:
    options = {"style": "vivid", "quality": "hd", "response_format": "url", "input_fidelity": "", "size": "512x512"}
    parts = [part(name, text) for name, text in options.items()]
    body = lead + form(parts[0], parts[1], part("image", PNG), part("prompt", "a hat"), *parts[2:])
    job = await door.job(Surface.EDITS, slices(body, size), FORM)
    changes = [Change(param="quality", text="high"), Change(param="size", text="1024x1024")]
    gone = [Change(param=name) for name in ("style", "response_format")]
    changed = lead + form(part("quality", "high"), part("image", PNG), part("prompt", "a hat"), parts[3])
    assert spliced(body, edits(job.body_map, [*changes[:1], *gone, Change(param="size")])) == changed
    again = await door.job(Surface.EDITS, spliced(body, edits(job.body_map, [*changes, *gone])), FORM)
    assert (again.facts.quality, again.facts.size, again.facts.style) == ("high", "1024x1024", None)
    assert again.facts.inputs == job.facts.inputs


async def test_options_that_only_contracts_speak_of_are_read(door: Door) -> None:
    more = {"complexity": "low", "frame_count": "4", "svg[model]": "gpt-5.5", "seed": "7", "style": "vivid"}
    facts = (await door.job(Surface.EDITS, form(*(part(*pair) for pair in more.items()), PLAIN_PARTS), FORM)).facts
    assert (facts.complexity, facts.frame_count, facts.svg, facts.style) == ("low", 4, True, "vivid")
    assert facts.unknown_parameters == ("seed",)


@pytest.mark.parametrize("lead", [b"", b"\r\n"])
async def test_without_a_model_one_can_be_put_before_the_first_part(door: Door, lead: bytes) -> None:
    body = lead + form(part("prompt", "a hat"), part("image", PNG))
    job = await door.job(Surface.EDITS, body, FORM)
    assert (job.body_map.model, job.facts.asked_model) == (None, None)
    at = job.body_map.insert_at
    named = body[:at] + part("model", "chosen") + body[at:]
    again = await door.job(Surface.EDITS, named, FORM)
    assert (again.facts.asked_model, again.prompt, again.facts.inputs) == ("chosen", "a hat", job.facts.inputs)


async def test_several_pictures_a_mask_and_a_markup_keep_their_roles_and_order(door: Door) -> None:
    other = PNG[:16] + b"\x00\x00\x00\x20" + PNG[20:]
    body = form(
        part("image[]", PNG, filename="1.png"),
        part("mask", PNG, filename="m.png"),
        part("image[]", other, filename="2.png"),
        part("image", PNG, filename="3.png"),
        part("markup", other, filename="u.png"),
        part("prompt", "a hat"),
    )
    facts = (await door.job(Surface.EDITS, body, FORM)).facts
    assert [p.image.width for p in facts.inputs if p.image] == [16, 32, 16]
    assert facts.mask is not None
    assert facts.markup is not None
    assert (facts.mask.role, facts.markup.role) == (InputRole.MASK, InputRole.MARKUP)
    assert facts.markup.image is not None
    assert facts.markup.image.sha256 == hashlib.sha256(other).hexdigest()


async def test_a_picture_without_a_file_name_is_a_picture_of_any_size(door: Door) -> None:
    big = PNG + b"\r\n--x" * 500_000
    job = await door.job(Surface.EDITS, slices(form(part("prompt", "p"), part("image", big)), 65_536), FORM)
    (picture,) = job.facts.inputs
    assert picture.image is not None
    assert (picture.image.bytes, picture.image.sha256) == (len(big), hashlib.sha256(big).hexdigest())


async def test_texts_are_typed_as_in_json(door: Door) -> None:
    body = form(
        *(part(name, value) for name, value in {"prompt": "p", "n": "2", "output_compression": "80"}.items()),
        *(part(name, value) for name, value in {"size": "1024x1024", "stream": "false", "svg[model]": "x"}.items()),
        part("image", PNG),
    )
    facts = (await door.job(Surface.EDITS, body, FORM)).facts
    assert (facts.n, facts.output_compression, facts.size, facts.stream) == (2, 80, "1024x1024", False)


async def test_a_value_that_begins_like_the_boundary_is_taken_whole(door: Door) -> None:
    body = form(part("prompt", "p"), part("model", "\r\n-"[1:] + "m"), part("image", b"\r\n--" + PNG))
    refusal = await door.refusal(Surface.EDITS, body, FORM)
    assert refusal.param == "model"  # a line end is no name
    for size in (1, 2, 3, 7):
        body = form(part("prompt", "\r\n--p"), part("model", "--m"), part("image", b"\r\n--" + PNG + b"\r\n--"))
        job = await door.job(Surface.EDITS, slices(body, size), FORM)
        assert job.prompt == "\r\n--p"
        assert job.facts.inputs[0].image is not None
        assert job.facts.inputs[0].image.bytes == len(PNG) + 8
        assert job.body_map.model is not None
        assert body[slice(*job.body_map.model)] == b"--m"


BAD = {
    "no image": (form(part("prompt", "p")), "missing_required_parameter", "image"),
    "no prompt": (form(part("image", PNG)), "missing_required_parameter", "prompt"),
    "empty prompt": (form(part("prompt", ""), part("image", PNG)), "invalid_value", "prompt"),
    "empty model": (form(part("prompt", "p"), part("model", ""), part("image", PNG)), "invalid_value", "model"),
    "two prompts": (form(part("prompt", "p"), part("prompt", "p"), part("image", PNG)), "invalid_value", "prompt"),
    "two models": (form(part("model", "a"), part("model", "b")), "invalid_value", "model"),
    "two masks": (form(part("mask", PNG), part("mask", PNG)), "invalid_value", "mask"),
    "two markups": (form(part("markup", PNG), part("markup", PNG)), "invalid_value", "markup"),
    "model as a file": (form(part("model", "a", filename="model.txt")), "invalid_value", "model"),
    "empty picture": (form(part("prompt", "p"), part("image", b"", filename="a.png")), "invalid_image", "image"),
    "prompt not UTF-8": (form(part("prompt", b"\xff"), part("image", PNG)), "invalid_value", "prompt"),
    "prompt in UTF-16": (
        form(part("prompt", "p", more="Content-Type: text/plain; charset=utf-16\r\n")),
        "invalid_value",
        "prompt",
    ),
    "n is a word": (form(part("prompt", "p"), part("n", "two"), part("image", PNG)), "invalid_type", "n"),
    "n is a fraction": (form(part("prompt", "p"), part("n", "1.5"), part("image", PNG)), "invalid_type", "n"),
    "n is zero": (form(part("prompt", "p"), part("n", "0"), part("image", PNG)), "invalid_value", "n"),
    "n is negative": (form(part("prompt", "p"), part("n", "-1"), part("image", PNG)), "invalid_value", "n"),
    "stream is a word": (
        form(part("prompt", "p"), part("stream", "yes"), part("image", PNG)),
        "invalid_type",
        "stream",
    ),
    "base64 picture": (
        form(part("image", "AAAA", filename="a.png", more="Content-Transfer-Encoding: base64\r\n")),
        "invalid_value",
        "image",
    ),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_form_is_refused_by_the_name_of_its_field(door: Door, name: str) -> None:
    body, code, param = BAD[name]
    refusal = await door.refusal(Surface.EDITS, body, FORM)
    assert (refusal.status, refusal.code, refusal.param) == (400, code, param)


@settings(max_examples=100, deadline=None)
@given(places=st.lists(st.integers(min_value=0, max_value=600), max_size=40))
def test_how_a_form_is_sliced_changes_nothing(tmp_path_factory: pytest.TempPathFactory, places: list[int]) -> None:
    body = form(
        part("prompt", "a\r\n--hat"),
        part("model", "gpt-image-2"),
        part("image[]", PNG + b"\r\n--" + BOUNDARY[:9].encode(), filename="a.png"),
        part("mask", PNG),
        part("n", "2"),
    )

    async def read(door: Door, pieces: list[bytes]) -> tuple[Job, bytes]:
        job = await door.job(Surface.EDITS, pieces, FORM)
        return job, await bytes_of(job)

    door = Door(tmp_path_factory.mktemp("spool"))
    whole, _ = asyncio.run(read(door, [body]))
    sliced, kept = asyncio.run(read(door, cut(body, places)))
    assert (sliced.facts, sliced.prompt, sliced.body_map) == (whole.facts, whole.prompt, whole.body_map)
    assert kept == body
    door.spool.close()


class Recorder:
    """What the official client really sends."""

    def __init__(self) -> None:
        self.body = b""
        self.headers: dict[str, str] = {}
        self.client = OpenAI(
            api_key="sk-test",
            base_url="http://gateway.test/v1",
            max_retries=0,
            http_client=httpx2.Client(transport=httpx2.MockTransport(self._answer)),
        )

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        self.body = request.read()
        self.headers = {name.lower(): value for name, value in request.headers.items()}
        return httpx2.Response(200, json={"created": 1, "data": [{"b64_json": "AAAA"}]})


@pytest.fixture
def sdk() -> Iterator[Recorder]:
    recorder = Recorder()
    with recorder.client:
        yield recorder


async def test_the_clients_edit_of_one_picture(door: Door, sdk: Recorder) -> None:
    sdk.client.images.edit(image=io.BytesIO(PNG), prompt="größer", model="gpt-image-2", n=2, size="1024x1024")
    job = await door.job(Surface.EDITS, sdk.body, sdk.headers)
    assert (job.facts.asked_model, job.prompt, job.facts.n, job.facts.size) == ("gpt-image-2", "größer", 2, "1024x1024")
    assert facts_of(job.facts.inputs) == [("image", "upload", "png", 16)]
    assert await bytes_of(job) == sdk.body


async def test_the_clients_edit_of_several_pictures_with_a_mask(door: Door, sdk: Recorder) -> None:
    sdk.client.images.edit(
        image=[("a.png", PNG, "image/png"), ("b.png", PNG + b"\x00", "image/png")],
        mask=("mask.png", PNG, "image/png"),
        prompt="a hat",
        extra_body={"frame_count": 4},
    )
    job = await door.job(Surface.EDITS, sdk.body, sdk.headers)
    assert len(job.facts.inputs) == 2
    assert job.facts.mask is not None
    assert job.facts.asked_model is None
    assert b'name="frame_count"' in await bytes_of(job)


@pytest.mark.parametrize("filename", ['a "b".png', "ä b;c=d.png", "a\\b.png", "x" * 255])
async def test_the_clients_file_names_are_no_names_of_fields(door: Door, sdk: Recorder, filename: str) -> None:
    sdk.client.images.edit(image=(filename, PNG), prompt="a hat", model="gpt-image-2")
    job = await door.job(Surface.EDITS, sdk.body, sdk.headers)
    assert len(job.facts.inputs) == 1


async def test_a_stream_is_asked_for_by_the_word_true(door: Door) -> None:
    body = form(part("prompt", "p"), part("stream", "true"), part("partial_images", "2"), part("image", PNG))
    facts = (await door.job(Surface.EDITS, body, FORM)).facts
    assert (facts.stream, facts.partial_images) == (True, 2)


async def digest_of(door: Door, body: bytes, boundary: str = BOUNDARY) -> str | None:
    job = await door.job(Surface.EDITS, body, {**FORM, "content-type": f"multipart/form-data; boundary={boundary}"})
    return job.body_map.digest


async def test_a_form_with_another_boundary_is_the_same_form(door: Door) -> None:
    other = "another-boundary"
    again = PLAIN.replace(BOUNDARY.encode(), other.encode())
    assert again != PLAIN
    assert await digest_of(door, PLAIN) == await digest_of(door, again, other)


@pytest.mark.parametrize(
    "parts",
    [
        (part("prompt", "a hat!"), part("model", "gpt-image-2"), part("image", PNG, filename="a.png")),
        (part("model", "gpt-image-2"), part("prompt", "a hat"), part("image", PNG, filename="a.png")),
        (part("prompt", "a hat"), part("model", "gpt-image-2"), part("image", PNG, filename="b.png")),
        (part("prompt", "a hat"), part("model", "gpt-image-2"), part("image", PNG + b"\0", filename="a.png")),
        (part("prompt", "a hat"), part("model", "gpt-image-2"), part("image[]", PNG, filename="a.png")),
        (part("prompt", "a hat"), part("image", PNG, filename="a.png"), part("user", ""), part("model", "gpt-image-2")),
    ],
)
async def test_a_form_that_says_something_else_is_another(door: Door, parts: tuple[bytes, ...]) -> None:
    assert await digest_of(door, form(*parts)) != await digest_of(door, PLAIN)
