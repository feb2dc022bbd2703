import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from msgspec.structs import replace

from gateway.core.keyed import Keyed
from gateway.core.redact import prompt_hash
from gateway.core.table import BodyLimits, PromptPrivacy
from gateway.core.types import Directives, JsonValue, Refusal, Surface
from gateway.intake import ClientGone
from tests.fakes.incoming import FORM, JSON, KEY, PNG, Door, bytes_of, form, part, slices

INLINE = "data:image/png;base64," + base64.b64encode(PNG).decode()


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    door = Door(tmp_path)
    yield door
    door.spool.close()


def body_of(**fields: JsonValue) -> bytes:
    return json.dumps(fields).encode()


def edit_of(*addresses: JsonValue, **fields: JsonValue) -> bytes:
    return body_of(prompt="p", images=[{"image_url": address} for address in addresses], **fields)


async def test_a_json_body_becomes_a_job_with_its_bytes_as_they_came(door: Door) -> None:
    body = b'{"prompt" : "a \\u0068at", "model":"gpt-image-2","n":2, "x-unknown":{"deep":[1.10]},"size":null}\n'
    job = await door.job(Surface.GENERATIONS, body)
    assert (job.prompt, job.facts.prompt_chars, job.facts.n, job.facts.size) == ("a hat", 5, 2, None)
    assert job.facts.asked_model == "gpt-image-2"
    assert job.body_map.model is not None
    assert body[slice(*job.body_map.model)] == b'"gpt-image-2"'
    assert (job.body_map.content_type, job.body_map.boundary) == ("application/json", None)
    assert await bytes_of(job) == body
    assert (job.request_id, job.started) == ("req_" + "0" * 32, 1.0)


async def test_slices_of_one_byte_change_nothing(door: Door) -> None:
    body = body_of(prompt="größer", model="gpt-image-2", n=1)
    whole, sliced = await door.job(Surface.GENERATIONS, body), await door.job(Surface.GENERATIONS, slices(body, 1))
    assert (whole.facts, whole.body_map, whole.prompt) == (sliced.facts, sliced.body_map, sliced.prompt)
    assert await bytes_of(sliced) == body


@pytest.mark.parametrize("body", [body_of(prompt="p"), b' {"prompt":"p"}'])
async def test_a_body_may_name_no_model(door: Door, body: bytes) -> None:
    job = await door.job(Surface.GENERATIONS, body)
    assert job.facts.asked_model is None
    assert job.body_map.model is None
    at = job.body_map.insert_at
    named = body[:at] + b'"model":"chosen",' + body[at:]
    assert json.loads(named) == {"prompt": "p", "model": "chosen"}


async def test_prompts_and_end_users_are_kept_as_keyed_hashes(door: Door) -> None:
    facts = (await door.job(Surface.GENERATIONS, body_of(prompt="p", user="u", safety_identifier=""))).facts
    assert (facts.prompt_hash, facts.end_user_hash, facts.prompt_text) == (
        prompt_hash(Keyed(KEY), "p"),
        prompt_hash(Keyed(KEY), "u"),
        None,
    )
    both = (await door.job(Surface.GENERATIONS, body_of(prompt="p", user="u", safety_identifier="s"))).facts
    assert both.end_user_hash == prompt_hash(Keyed(KEY), "s")


async def test_the_prompt_is_kept_as_text_only_where_that_was_said(tmp_path: Path) -> None:
    door = Door(tmp_path, prompts=PromptPrivacy.TEXT)
    assert (await door.job(Surface.GENERATIONS, body_of(prompt="p"))).facts.prompt_text == "p"
    door.spool.close()


BAD_FIELDS: list[tuple[dict[str, JsonValue], str, str]] = [
    ({}, "missing_required_parameter", "prompt"),
    ({"prompt": None}, "missing_required_parameter", "prompt"),
    ({"prompt": ""}, "invalid_value", "prompt"),
    ({"prompt": ["p"]}, "invalid_type", "prompt"),
    ({"prompt": "p", "model": 2}, "invalid_type", "model"),
    ({"prompt": "p", "model": ""}, "invalid_value", "model"),
    ({"prompt": "p", "model": "a\r\nx-evil: 1"}, "invalid_value", "model"),
    ({"prompt": "p", "n": 0}, "invalid_value", "n"),
    ({"prompt": "p", "n": -1}, "invalid_value", "n"),
    ({"prompt": "p", "n": 10**9}, "invalid_value", "n"),
    ({"prompt": "p", "n": 2**63}, "invalid_value", "n"),
    ({"prompt": "p", "n": 1e9}, "invalid_type", "n"),
    ({"prompt": "p", "n": 1.5}, "invalid_type", "n"),
    ({"prompt": "p", "n": "1"}, "invalid_type", "n"),
    ({"prompt": "p", "n": True}, "invalid_type", "n"),
    ({"prompt": "p", "size": 1024}, "invalid_type", "size"),
    ({"prompt": "p", "size": "9" * 65}, "invalid_value", "size"),
    ({"prompt": "p", "quality": ["high"]}, "invalid_type", "quality"),
    ({"prompt": "p", "background": True}, "invalid_type", "background"),
    ({"prompt": "p", "output_format": {}}, "invalid_type", "output_format"),
    ({"prompt": "p", "moderation": 1}, "invalid_type", "moderation"),
    ({"prompt": "p", "input_fidelity": 1}, "invalid_type", "input_fidelity"),
    ({"prompt": "p", "output_compression": 101}, "invalid_value", "output_compression"),
    ({"prompt": "p", "output_compression": "50"}, "invalid_type", "output_compression"),
    ({"prompt": "p", "partial_images": 4}, "invalid_value", "partial_images"),
    ({"prompt": "p", "stream": "true"}, "invalid_type", "stream"),
    ({"prompt": "p", "stream": 1}, "invalid_type", "stream"),
    ({"prompt": "p", "stream": True, "partial_images": 9}, "invalid_value", "partial_images"),
    ({"prompt": "p", "stream": True, "partial_images": "2"}, "invalid_type", "partial_images"),
    ({"prompt": "p", "user": 5}, "invalid_type", "user"),
]


@pytest.mark.parametrize(("fields", "code", "param"), BAD_FIELDS)
async def test_a_bad_field_is_refused_by_its_name(
    door: Door, fields: dict[str, JsonValue], code: str, param: str
) -> None:
    refusal = await door.refusal(Surface.GENERATIONS, json.dumps(fields).encode())
    assert (refusal.status, refusal.code, refusal.param) == (400, code, param)


@pytest.mark.parametrize(
    ("model", "named"), [("pic", "pic"), (2, None), ("", None), ("a\x00b", None), ("m" * 201, None), (None, None)]
)
async def test_a_refused_body_says_which_model_it_names(door: Door, model: JsonValue, named: str | None) -> None:
    bodies: list[dict[str, JsonValue]] = [{"model": model, "prompt": 2}, {"model": model, "prompt": "p", "n": "1"}]
    for body in bodies:
        assert (await door.refusal(Surface.GENERATIONS, json.dumps(body).encode())).asked_model == named
    turn = {"model": model, "input": "hello", "stream": "yes"}
    assert (await door.refusal(Surface.RESPONSES, json.dumps(turn).encode())).asked_model == named


async def test_an_edit_in_json_takes_addresses_and_inline_pictures(door: Door) -> None:
    body = edit_of("https://pictures.test/a.png", INLINE, mask={"image_url": INLINE})
    facts = (await door.job(Surface.EDITS, body)).facts
    assert [picture.source for picture in facts.inputs] == ["url", "data_url"]
    assert facts.inputs[0].image is None
    seen = facts.inputs[1].image
    assert seen is not None
    assert (seen.sha256, seen.bytes, seen.format) == (hashlib.sha256(PNG).hexdigest(), len(PNG), "png")
    assert facts.mask is not None
    assert facts.mask.image == seen


async def test_a_long_inline_picture_is_measured_too(door: Door) -> None:
    big = PNG + bytes(200_000)
    address = "data:image/png;base64," + base64.b64encode(big).decode()
    body = edit_of(INLINE, address, model="gpt-image-2")
    job = await door.job(Surface.EDITS, slices(body, 5_000))
    seen = [picture.image.sha256 for picture in job.facts.inputs if picture.image]
    assert seen == [hashlib.sha256(PNG).hexdigest(), hashlib.sha256(big).hexdigest()]
    assert job.body_map.model is not None
    assert body[slice(*job.body_map.model)] == b'"gpt-image-2"'
    assert await bytes_of(job) == body


BAD_PICTURES: list[tuple[dict[str, JsonValue], str, str]] = [
    ({}, "missing_required_parameter", "images"),
    ({"images": []}, "missing_required_parameter", "images"),
    ({"images": {"image_url": INLINE}}, "invalid_type", "images"),
    ({"images": [INLINE]}, "invalid_type", "images[0]"),
    ({"images": [{}]}, "missing_required_parameter", "images[0].image_url"),
    ({"images": [{"image_url": {"url": INLINE}}]}, "invalid_type", "images[0].image_url"),
    ({"images": [{"image_url": "http://pictures.test/a.png"}]}, "invalid_value", "images[0].image_url"),
    ({"images": [{"image_url": "file:///etc/passwd"}]}, "invalid_value", "images[0].image_url"),
    ({"images": [{"image_url": "https://" + "a" * 9000}]}, "invalid_value", "images[0].image_url"),
    ({"images": [{"image_url": INLINE}, {"file_id": "file-1"}]}, "unsupported_parameter", "images[1].file_id"),
    ({"images": [{"image_url": INLINE}], "mask": INLINE}, "invalid_type", "mask"),
    ({"images": [{"image_url": INLINE}], "mask": {"file_id": "f"}}, "unsupported_parameter", "mask.file_id"),
]


@pytest.mark.parametrize(("fields", "code", "param"), BAD_PICTURES)
async def test_a_bad_picture_is_refused_by_its_name(
    door: Door, fields: dict[str, JsonValue], code: str, param: str
) -> None:
    refusal = await door.refusal(Surface.EDITS, body_of(prompt="p", **fields))
    assert (refusal.status, refusal.code, refusal.param) == (400, code, param)


SMUGGLED: dict[str, JsonValue] = {
    "api_base": "https://evil.test",
    "base_url": "https://evil.test",
    "api_key": "sk-mine",
    "organization": "org-mine",
    "extra_headers": {"authorization": "Bearer mine", "nested": {"api_base": ["https://evil.test"]}},
    "x-portkey-config": "{}",
    "headers": {"host": "evil.test"},
}


async def test_no_field_of_a_body_says_where_it_goes_or_on_whose_account(door: Door) -> None:
    plain = await door.job(Surface.GENERATIONS, body_of(prompt="p", model="m"))
    body = body_of(prompt="p", model="m", **SMUGGLED)
    job = await door.job(Surface.GENERATIONS, body)
    facts = replace(job.facts, unknown_parameters=())  # that they are there is all that is known of them
    assert (facts, job.directives, job.forwarded) == (plain.facts, plain.directives, plain.forwarded)
    assert await bytes_of(job) == body
    parts = [part(name, str(value)) for name, value in SMUGGLED.items()]
    edit = await door.job(Surface.EDITS, form(part("prompt", "p"), *parts, part("image", PNG)), FORM)
    assert (edit.facts.asked_model, edit.directives, edit.forwarded) == (None, plain.directives, ())


async def test_only_two_headers_of_the_caller_travel(door: Door) -> None:
    headers = {
        "authorization": "Bearer caller",
        "cookie": "a=b",
        "openai-beta": "x=1",
        "openai-organization": "org",
        "x-client-request-id": "mine",
        "x-stainless-lang": "python",
    }
    job = await door.job(Surface.GENERATIONS, body_of(prompt="p"), JSON | headers)
    assert job.forwarded == (("openai-beta", "x=1"), ("x-client-request-id", "mine"))


@pytest.mark.parametrize(("surface", "travels"), [(Surface.GENERATIONS, ""), (Surface.RESPONSES, "beta=true")])
async def test_the_query_travels_on_responses_alone(door: Door, surface: Surface, travels: str) -> None:
    job = await door.read(surface, body_of(prompt="p", input="p"), JSON, "beta=true")
    assert not isinstance(job, Refusal)
    assert job.query == travels


GOOD_DIRECTIVES: list[tuple[dict[str, str], Directives]] = [
    ({}, Directives()),
    ({"x-route-pin": "openai"}, Directives(pin="openai")),
    ({"x-route-fallback": "off"}, Directives(fallback=False)),
    ({"x-request-tags": "a=b, c=d"}, Directives(tags=(("a", "b"), ("c", "d")))),
    ({"x-request-tags": ""}, Directives()),
    ({"content-encoding": "identity"}, Directives()),
]


@pytest.mark.parametrize(("headers", "directives"), GOOD_DIRECTIVES)
async def test_headers_say_what_is_asked_of_routing(
    door: Door, headers: dict[str, str], directives: Directives
) -> None:
    assert (await door.job(Surface.GENERATIONS, body_of(prompt="p"), JSON | headers)).directives == directives


BAD_HEADERS: list[tuple[dict[str, str], str, str]] = [
    ({"idempotency-key": ""}, "invalid_value", "Idempotency-Key"),
    ({"idempotency-key": "k" * 256}, "invalid_value", "Idempotency-Key"),
    ({"x-flight-id": "fl_1"}, "invalid_value", "x-flight-id"),
    ({"content-encoding": "gzip"}, "invalid_value", "content-encoding"),
    ({"x-route-pin": ""}, "invalid_value", "x-route-pin"),
    ({"x-route-pin": "a b"}, "invalid_value", "x-route-pin"),
    ({"x-route-pin": "a" * 65}, "invalid_value", "x-route-pin"),
    ({"x-route-fallback": "on"}, "invalid_value", "x-route-fallback"),
    ({"x-route-fallback": ""}, "invalid_value", "x-route-fallback"),
    ({"x-request-tags": "a"}, "invalid_value", "x-request-tags"),
    ({"x-request-tags": "a=b,"}, "invalid_value", "x-request-tags"),
    ({"x-request-tags": "a=b,a=c"}, "invalid_value", "x-request-tags"),
    ({"x-request-tags": "a=<b>"}, "invalid_value", "x-request-tags"),
    ({"x-request-tags": "a=" + "b" * 65}, "invalid_value", "x-request-tags"),
    ({"x-request-tags": ",".join(f"t{i}=1" for i in range(17))}, "invalid_value", "x-request-tags"),
    ({"openai-beta": "a" * 513}, "invalid_value", "openai-beta"),
    ({"x-client-request-id": "ä"}, "invalid_value", "x-client-request-id"),
    ({"content-length": "12a"}, "invalid_value", "content-length"),
    ({"content-length": "-1"}, "invalid_value", "content-length"),
    ({"content-type": ""}, "invalid_value", "content-type"),
    ({"content-type": "text/plain"}, "invalid_value", "content-type"),
    ({"content-type": "application/x-www-form-urlencoded"}, "invalid_value", "content-type"),
    ({"content-type": "application/json; charset=utf-16"}, "invalid_value", "content-type"),
    ({"content-type": "application/json; charset=utf-8; charset=utf-8"}, "invalid_value", "content-type"),
    ({"content-type": "application/json, text/plain"}, "invalid_value", "content-type"),
    (FORM, "invalid_value", "content-type"),
]


@pytest.mark.parametrize(("headers", "code", "param"), BAD_HEADERS)
async def test_a_header_that_cannot_be_followed_is_refused(
    door: Door, headers: Mapping[str, str], code: str, param: str
) -> None:
    refusal = await door.refusal(Surface.GENERATIONS, body_of(prompt="p"), {**JSON, **headers})
    assert (refusal.status, refusal.code, refusal.param) == (400, code, param)
    assert door.taken == 0


async def test_a_request_without_a_content_type_is_refused(door: Door) -> None:
    assert (await door.refusal(Surface.EDITS, body_of(prompt="p"), {})).param == "content-type"


@pytest.mark.parametrize(
    "kind", ["application/json", "Application/JSON; charset=UTF-8", "application/vnd.api+json", "application/json;"]
)
async def test_json_is_known_by_its_media_type(door: Door, kind: str) -> None:
    job = await door.job(Surface.GENERATIONS, body_of(prompt="p"), {"content-type": kind})
    assert job.body_map.content_type == "application/json"


@pytest.mark.parametrize(
    "kind",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary=""',
        "multipart/form-data; boundary=" + "b" * 71,
        "multipart/form-data; boundary=" + "b" * 1_000_000,
        "multipart/form-data; boundary=a; boundary=b",
        'multipart/form-data; boundary="a\\"b"',
        'multipart/form-data; boundary="ends in space "',
        "multipart/form-data; boundary=ä",
        "multipart/mixed; boundary=b",
    ],
)
async def test_a_form_needs_one_plain_boundary(door: Door, kind: str) -> None:
    refusal = await door.refusal(Surface.EDITS, b"--b--", {"content-type": kind})
    assert (refusal.code, refusal.param, door.taken) == ("invalid_value", "content-type", 0)


async def test_a_quoted_boundary_travels_quoted(door: Door) -> None:
    body = b'--a b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\np\r\n--a b\r\n'
    body += b"Content-Disposition: form-data; name=image\r\n\r\nx\r\n--a b--"
    job = await door.job(Surface.EDITS, body, {"content-type": 'multipart/form-data; boundary="a b"'})
    assert (job.body_map.content_type, job.body_map.boundary) == ('multipart/form-data; boundary="a b"', "a b")


SMALL = BodyLimits(json=100, edits_json=200, multipart=300)
CAPS: list[tuple[Surface, Mapping[str, str], int]] = [
    (Surface.GENERATIONS, JSON, 100),
    (Surface.RESPONSES, JSON, 100),
    (Surface.EDITS, JSON, 200),
    (Surface.EDITS, FORM, 300),
]


@pytest.mark.parametrize(("surface", "headers", "cap"), CAPS)
async def test_a_body_over_its_cap_is_refused(
    tmp_path: Path, surface: Surface, headers: Mapping[str, str], cap: int
) -> None:
    door = Door(tmp_path, limits=SMALL)
    declared = await door.refusal(surface, b"x" * 10, {**headers, "content-length": str(cap + 1)})
    assert (declared.status, declared.code, door.taken) == (413, "request_too_large", 0)
    endless = [b'{"prompt":"' if headers is JSON else part("prompt", "p")[:-2], *[b"x" * 10] * 1000]
    streamed = await door.refusal(surface, endless, headers)
    assert (streamed.status, streamed.code) == (413, "request_too_large")
    assert door.taken <= cap + 200
    door.spool.close()


async def test_a_client_that_leaves_is_gone_and_leaves_nothing_behind(door: Door, tmp_path: Path) -> None:
    for headers in (JSON, FORM):
        with pytest.raises(ClientGone):
            await door.read(Surface.EDITS, [part("image", bytes(3_000_000))], headers, leaves=True)
    assert list((tmp_path / "spool").iterdir()) == []


async def test_a_refused_body_leaves_nothing_behind(door: Door, tmp_path: Path) -> None:
    await door.refusal(Surface.EDITS, form(part("image", bytes(3_000_000)), part("n", "x")), FORM)
    assert list((tmp_path / "spool").iterdir()) == []


async def test_a_full_spool_is_no_fault_of_the_caller(tmp_path: Path) -> None:
    door = Door(tmp_path, disk_cap=2_000_000)
    refusal = await door.refusal(Surface.EDITS, form(part("image", bytes(3_000_000))), FORM)
    assert (refusal.status, refusal.code, refusal.retry_after_s) == (503, "gateway_overloaded", 1.0)
    assert door.spool.disk_left == 2_000_000
    door.spool.close()


async def test_a_model_that_is_null_is_named_in_its_place(door: Door) -> None:
    body = b'{"model": null, "prompt": "p"}'
    job = await door.job(Surface.GENERATIONS, body)
    assert job.facts.asked_model is None
    assert job.body_map.model is not None
    assert body[slice(*job.body_map.model)] == b"null"


@pytest.mark.parametrize(
    ("accept", "takes_json"),
    [
        (None, True),
        ("", True),
        ("application/json", True),
        ("text/event-stream, application/*;q=0.5", True),
        ("*/*", True),
        ("text/event-stream", False),
        ("text/html, text/event-stream;q=0.9", False),
    ],
)
async def test_a_stream_is_asked_for_in_the_body_and_json_may_be_ruled_out_by_a_header(
    door: Door, accept: str | None, takes_json: bool
) -> None:
    headers = JSON if accept is None else {**JSON, "accept": accept}
    body = json.dumps({"prompt": "p", "stream": True, "partial_images": 3}).encode()
    job = await door.job(Surface.GENERATIONS, body, headers)
    assert (job.facts.stream, job.facts.partial_images) == (True, 3)
    assert job.directives.takes_json is takes_json
