"""The OpenAI API as an upstream: the wire, byte by byte, and what its answers and its imitators' contain."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.codecs.openai import OpenAICodec
from gateway.core.extract import placeholder
from gateway.core.seen import AnswerFacts, Observation, Reading
from gateway.core.types import ErrorBody, ImageFacts, JsonObject, Phase, Splice, Surface
from gateway.ports import Job
from tests.codecs.jobs import Body, channel, job

CODEC = OpenAICodec()
PNG = ImageFacts(sha256="a" * 64, bytes=100, format="png", width=1, height=1)
GIF = ImageFacts(sha256="b" * 64, bytes=90, format="gif", width=1, height=1)


def sent(made: Job, sent_model: str, tool: str | None = None) -> bytes:
    """What goes out: the caller's bytes with the splices in."""
    wire = CODEC.encode(made, channel(), sent_model, tool)
    assert wire == CODEC.encode(made, channel(), sent_model, tool)
    assert isinstance(made.body, Body)
    out, at = b"", 0
    for splice in wire.splices:
        assert at <= splice.start <= splice.end
        out += made.body.data[at : splice.start] + splice.text
        at = splice.end
    return out + made.body.data[at:]


def test_the_wire_of_a_generation() -> None:
    wire = CODEC.encode(job(b'{"model":"a","prompt":"p"}', query="x=1"), channel(), "b", None)
    assert wire.path == "/images/generations"
    assert wire.headers == (
        ("content-type", "application/json"),
        ("accept", "application/json"),
        ("accept-encoding", "identity"),
        ("authorization", "Bearer sk-test"),
    )
    assert wire.splices == (Splice(start=9, end=12, text=b'"b"'),)


@pytest.mark.parametrize(
    ("surface", "query", "path"),
    [
        (Surface.EDITS, "beta=true", "/images/edits"),
        (Surface.RESPONSES, "beta=true&x=%20", "/responses?beta=true&x=%20"),
        (Surface.RESPONSES, "", "/responses"),
    ],
)
def test_the_query_travels_on_responses_only(surface: Surface, query: str, path: str) -> None:
    assert CODEC.encode(job(b'{"model":"a"}', surface=surface, query=query), channel(), "a", None).path == path


def test_a_channel_without_a_key_gets_no_bearer() -> None:
    wire = CODEC.encode(job(b'{"model":"a"}'), channel(None), "a", None)
    assert "authorization" not in dict(wire.headers)


def test_the_callers_headers_travel_but_never_over_ours() -> None:
    forwarded = (
        ("openai-beta", "x"),
        ("authorization", "Bearer caller"),
        ("accept", "*/*"),
        ("x-client-request-id", "1"),
    )
    for key in ("sk-test", None):
        wire = CODEC.encode(job(b'{"model":"a"}', forwarded=forwarded), channel(key), "a", None)
        assert wire.headers[-2:] == (("openai-beta", "x"), ("x-client-request-id", "1"))
        assert "Bearer caller" not in dict(wire.headers).values()
        assert dict(wire.headers)["accept"] == "application/json"


@pytest.mark.parametrize(
    ("data", "asked", "model", "out"),
    [
        (b'{"model":"a","prompt":"p"}', "a", "a", b'{"model":"a","prompt":"p"}'),
        (b'{ "prompt":"p", "model":"a" }', "a", "b", b'{ "prompt":"p", "model":"b" }'),
        (b'{"model":"a"}', "a", 'q"\\\n\u00e9', b'{"model":"q\\"\\\\\\n\\u00e9"}'),
        (b'{"prompt":"p"}', None, "b", b'{"model":"b","prompt":"p"}'),
        (b' {\n"prompt":"p"}', None, "b", b' {"model":"b",\n"prompt":"p"}'),
        (b'{"":1}', None, "b", b'{"model":"b","":1}'),
        (b"{}", None, "b", b'{"model":"b"}'),
        (b"{ \n }", None, "b", b'{"model":"b" \n }'),
    ],
)
def test_a_json_body_changes_in_its_model_and_nowhere_else(
    data: bytes, asked: str | None, model: str, out: bytes
) -> None:
    body = sent(job(data, asked=asked), model)
    assert body == out
    assert json.loads(body)["model"] == model


PART = b'--B\r\ncontent-disposition: form-data; name="%s"\r\n\r\n%s\r\n'
END = b"--B--\r\n"


def test_a_multipart_body_changes_in_its_model_and_nowhere_else() -> None:
    data = PART % (b"prompt", b"p") + PART % (b"model", b"a") + END
    assert sent(job(data, boundary="B", surface=Surface.EDITS), "a") == data
    out = sent(job(data, boundary="B", surface=Surface.EDITS), "b-\u00e9")
    assert out == PART % (b"prompt", b"p") + PART % (b"model", "b-\u00e9".encode()) + END


def test_a_multipart_body_without_a_model_gets_a_part_of_its_own() -> None:
    data = PART % (b"prompt", b"p") + END
    out = sent(job(data, asked=None, boundary="B", surface=Surface.EDITS), "b")
    assert out == b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\nb\r\n' + data


@pytest.mark.parametrize(
    ("tool", "out"),
    [
        ("u", b'{"model":"b","tools":[{"type":"i","model":"u"},{"model":"u"}]}'),
        ("t", b'{"model":"b","tools":[{"type":"i","model":"t"},{"model":"t"}]}'),
        (None, b'{"model":"b","tools":[{"type":"i","model":"t"},{"model":"t"}]}'),
    ],
)
def test_the_tools_models_are_mapped_too(tool: str | None, out: bytes) -> None:
    data = b'{"model":"a","tools":[{"type":"i","model":"t"},{"model":"t"}]}'
    assert sent(job(data, surface=Surface.RESPONSES, tool="t"), "b", tool) == out


def test_splices_stand_in_the_order_of_the_body() -> None:
    made = job(b'{"model":"t","tools":[{"model":"a"}]}', surface=Surface.RESPONSES, tool="t")
    assert made.body_map.model is not None
    swapped = replace(made.body_map, model=made.body_map.tool_models[0], tool_models=(made.body_map.model,))
    turned = replace(made, body_map=swapped)
    assert sent(turned, "b", "u") == b'{"model":"u","tools":[{"model":"b"}]}'


def test_a_tool_model_without_a_tool_is_nobodys() -> None:
    made = job(b'{"model":"a","x":{"model":"y"}}', surface=Surface.RESPONSES)
    assert sent(made, "b", "u") == b'{"model":"b","x":{"model":"y"}}'


def read(
    document: JsonObject | None,
    surface: Surface = Surface.GENERATIONS,
    pictures: tuple[ImageFacts | None, ...] = (),
    status: int = 200,
) -> Reading:
    answer = AnswerFacts(bytes=1, document=document, pictures=pictures)
    seen = Observation(phase=Phase.DONE, elapsed_s=1.0, status=status, answer=answer)
    return CODEC.read(job(b'{"model":"a"}', surface=surface), seen)


def test_pictures_are_matched_by_their_place() -> None:
    document: JsonObject = {
        "created": 1,
        "model": "gpt-image-2-2026-04-21",
        "data": [
            {"b64_json": placeholder(1), "revised_prompt": "p"},
            {"url": "https://cdn.example/x.png"},
            {"url": f"data:image/png;base64,{placeholder(0)}"},
            {"b64_json": placeholder(0), "url": "https://cdn.example/y.png"},
            {"b64_json": placeholder(2), "url": "https://cdn.example/z.png"},
            {"b64_json": None},
            "noise",
        ],
        "usage": {"input_tokens": 5, "output_tokens": 200},
    }
    assert read(document, pictures=(PNG, GIF, None)) == Reading(
        shaped=True,
        pictures=(GIF, PNG, PNG),
        url_count=2,
        usage={"input_tokens": 5, "output_tokens": 200},
        output_tokens=200,
        served_model="gpt-image-2-2026-04-21",
        image_tokens=200,
    )


def test_what_the_answer_says_of_its_pictures_is_read_as_it_is_said() -> None:
    details: JsonObject = {"text_tokens": 9, "image_tokens": 191}
    usage: JsonObject = {"output_tokens": 200, "output_tokens_details": details}
    said = {"size": "auto", "quality": "low", "output_format": "webp"}
    reading = read({"data": [{"url": "https://x"}], "usage": usage, **said})
    assert (reading.size, reading.quality, reading.output_format, reading.image_tokens) == ("auto", "low", "webp", 191)
    call = {"type": "image_generation_call", "result": placeholder(0), **said}
    failed = {"type": "image_generation_call", "result": None, "size": "1x1"}
    tools = [{"type": "web_search", "model": "w"}, {"type": "image_generation", "model": "gpt-image-1.5"}]
    turn = read(response(output=[failed, call], tools=tools), Surface.RESPONSES, (PNG,))
    assert (turn.size, turn.quality, turn.output_format, turn.tool_model) == ("auto", "low", "webp", "gpt-image-1.5")


@pytest.mark.parametrize(
    ("data", "shaped"),
    [
        ([], True),
        ([{"b64_json": ""}], True),
        ([{}], True),
        ([{"b64_json": "short"}], False),
        ([{"b64_json": placeholder(0)}], False),
        ([{"b64_json": "short"}, {"url": "https://x"}], True),
        (None, False),
        ("text", False),
        ({"b64_json": "x"}, False),
    ],
)
def test_the_shape_of_an_images_answer(data: str | list[dict[str, str]] | None, shaped: bool) -> None:
    reading = read({"data": data}, pictures=(None,))
    assert reading.shaped is shaped
    assert reading.pictures == ()


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        (None, None),
        ({}, None),
        ({"output_tokens": 0}, 0),
        ({"completion_tokens": 7}, 7),
        ({"output_tokens": True}, None),
        ({"output_tokens": "9"}, None),
        ("x", None),
    ],
)
def test_output_tokens_as_reported(usage: str | JsonObject | None, tokens: int | None) -> None:
    reading = read({"data": [], "usage": usage})
    assert reading.output_tokens == tokens
    assert reading.usage == (usage or None if not isinstance(usage, str) else None)


@pytest.mark.parametrize("usage", [{str(n): n for n in range(3_000)}, {"a": "x" * 20_000}, {"output_tokens": 10**30}])
def test_what_no_record_should_hold_is_no_usage(usage: JsonObject) -> None:
    assert read({"data": [], "usage": usage}).usage is None


ENDLESS = "x" * 5_000_000


@pytest.mark.parametrize(
    "document",
    [{"error": {"message": ENDLESS}}, {"error": ENDLESS}, {"detail": ENDLESS}, {"detail": [{"msg": ENDLESS}]}],
    ids=["envelope", "word", "detail", "fault"],
)
def test_of_an_endless_message_only_the_beginning_is_read(document: JsonObject) -> None:
    error = read(document).error
    assert error is not None
    assert len(error.message) == 10_000


def response(**fields: object) -> JsonObject:
    document = {
        "id": "resp_1",
        "object": "response",
        "status": "completed",
        "model": "gpt-5.5-0",
        "output": [],
        **fields,
    }
    parsed: JsonObject = json.loads(json.dumps(document))
    return parsed


def test_a_turn_with_a_picture() -> None:
    document = response(
        error=None,
        output=[
            {"type": "message", "content": []},
            {"type": "image_generation_call", "status": "completed", "result": placeholder(0)},
            {"type": "image_generation_call", "status": "completed", "result": placeholder(1)},
            {"type": "image_generation_call", "status": "completed", "result": None},
        ],
        usage={"output_tokens": 10},
        tool_usage={"image_gen": {"output_tokens": 196}},
    )
    assert read(document, Surface.RESPONSES, (PNG, None)) == Reading(
        shaped=True,
        pictures=(PNG,),
        usage={"output_tokens": 10, "tool_usage": {"image_gen": {"output_tokens": 196}}},
        output_tokens=206,
        served_model="gpt-5.5-0",
        response_id="resp_1",
        response_status="completed",
        ids=("resp_1",),
        image_tokens=196,
    )


def test_a_turn_that_failed_says_so_itself() -> None:
    document = response(status="failed", output=None, error={"code": "insufficient_quota", "message": "none left"})
    reading = read(document, Surface.RESPONSES)
    assert (reading.shaped, reading.response_status) == (True, "failed")
    assert reading.error == ErrorBody(message="none left", code="insufficient_quota")
    assert (reading.usage, reading.output_tokens) == (None, None)


def test_a_failed_image_item() -> None:
    error = {"code": "moderation_blocked", "message": "no", "param": None, "type": "image_generation_user_error"}
    document = response(
        output=[
            {"type": "message", "error": {"code": "other"}},
            {"type": "image_generation_call", "status": "completed", "error": None, "result": None},
            {"type": "image_generation_call", "status": "failed", "error": error, "result": None},
        ]
    )
    reading = read(document, Surface.RESPONSES)
    assert reading.error is None
    assert reading.item_error == ErrorBody(message="no", type="image_generation_user_error", code="moderation_blocked")


@pytest.mark.parametrize("document", [{"object": "chat.completion"}, {"output": []}, {"object": "response"}, {}])
def test_what_is_no_response(document: JsonObject) -> None:
    assert not read(document, Surface.RESPONSES).shaped


@pytest.mark.parametrize("surface", list(Surface))
@pytest.mark.parametrize(
    ("document", "error"),
    [
        (
            {"error": {"message": "m", "type": "t", "param": "size", "code": "c"}},
            ErrorBody(message="m", type="t", param="size", code="c"),
        ),
        ({"error": {"message": None, "code": 429, "param": ""}}, ErrorBody(message="", code="429")),
        ({"error": {"code": True, "type": ["t"]}}, ErrorBody(message="")),
        ({"error": {"code": 10**5000}}, ErrorBody(message="")),
        ({"error": "no", "code": 7, "type": "x"}, ErrorBody(message="no", code="7", type="x")),
        ({"error": {}}, None),
        ({"error": None}, None),
        ({"error": ""}, None),
        ({"error": ["x"]}, None),
        ({"detail": "Not Found"}, ErrorBody(message="Not Found")),
        ({"detail": {"error": {"message": "m", "code": "c"}}}, ErrorBody(message="m", code="c")),
        ({"detail": {"message": "m", "code": "c"}}, ErrorBody(message="m", code="c")),
        (
            {"detail": [{"loc": ["body", "size"], "msg": "Field required", "type": "missing"}]},
            ErrorBody(message="Field required", param="size"),
        ),
        ({"detail": [{"loc": [], "msg": 1}]}, ErrorBody(message="")),
        ({"detail": [{"loc": "body"}]}, ErrorBody(message="")),
        ({"detail": []}, None),
        ({"detail": ["x"]}, None),
        ({"detail": 3}, None),
        (
            {
                "error": {
                    "code": "content_filter",
                    "status": 400,
                    "innererror": {"code": "ResponsibleAIPolicyViolation"},
                }
            },
            ErrorBody(message="", code="content_filter"),
        ),
        (
            {"error": {"message": "m", "innererror": {"code": "ResponsibleAIPolicyViolation"}}},
            ErrorBody(message="m", code="ResponsibleAIPolicyViolation"),
        ),
        (
            {"error": {"message": "m", "inner_error": {"code": "ResponsibleAIPolicyViolation"}}},
            ErrorBody(message="m", code="ResponsibleAIPolicyViolation"),
        ),
        ({"message": "Internal server error"}, None),
    ],
)
def test_errors_in_each_shape(surface: Surface, document: JsonObject, error: ErrorBody | None) -> None:
    assert read(document, surface, status=400).error == error


@pytest.mark.parametrize("surface", list(Surface))
def test_what_was_no_object_contains_nothing(surface: Surface) -> None:
    assert read(None, surface) == Reading()
    seen = Observation(phase=Phase.DONE, elapsed_s=1.0, status=200)
    assert CODEC.read(job(b'{"model":"a"}', surface=surface), seen) == Reading()


envelope_names = ["error", "detail", "code", "type", "message", "innererror", "msg", "loc"]
answer_names = ["data", "output", "usage", "tool_usage", "image_gen", "status", "object", "model", "id", "result"]
names = st.sampled_from([*envelope_names, *answer_names, "b64_json", "url", "output_tokens"])
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["response", "failed", "image_generation_call", placeholder(0), placeholder(1), placeholder(7)])
)
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=5))


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(names, values, max_size=8),
    st.sampled_from(Surface),
    st.lists(st.none() | st.just(PNG), max_size=3),
)
def test_reading_is_total_and_says_the_same_twice(
    document: JsonObject, surface: Surface, pictures: list[ImageFacts | None]
) -> None:
    reading = read(document, surface, tuple(pictures))
    assert read(document, surface, tuple(pictures)) == reading
    assert all(picture is PNG for picture in reading.pictures)
