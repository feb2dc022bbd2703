"""What may leave of a foreign text. Every planted secret here must be gone from what comes out."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.keyed import Keyed
from gateway.core.redact import HEADER_BYTES, MAX_CHARS, header_value, is_plain, prompt_hash, redact, without

KEY = "sk-proj-Zx81kQmw03LrTbnV"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        (
            "Rate limit reached for gpt-image-2: Limit 5, Used 5.",
            "Rate limit reached for gpt-image-2: Limit 5, Used 5.",
        ),
        ("Invalid size '1x1' (request id: 2026112010)", "Invalid size '1x1' (request id: 2026112010)"),
        ("Incorrect API key provided: sk-ab***xyz. See the page.", "Incorrect API key provided: *** See the page."),
        ("key was 'abcd****wxyz'", "key was '***'"),
        ("Incorrect API key provided: Zx81kQmw.", "Incorrect API key provided: ***"),
        ("API key ending in wxyz is off", "API key ending in *** is off"),
        ("Authorization: Bearer abc.def-ghi", "Authorization: *** ***"),
        ("use bearer abc.def-ghi now", "use bearer *** now"),
        ('{"api_key": "abc", "n": 1}', '{"api_key": "***", "n": 1}'),
        ("x-api-key=abc; n=1", "x-api-key=***; n=1"),
        ("got sk-1234567890", "got ***"),
        ("got wb-1234567890", "got ***"),
        ("in organization org-abcdefgh123 on images", "in organization *** on images"),
        ("Project `proj_abcdefgh123` has no access", "Project `***` has no access"),
        ("AIzaSyA1234567890abcdefghij is bad", "*** is bad"),
        ("token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbg end", "token *** end"),
        ("image data:image/png;base64,iVBORw0KGgo= bad", "image *** bad"),
        ("data:,hello", "***"),
        ("metadata: fine, data: fine", "metadata: fine, data: fine"),
        ("at https://user:pa@ss@host.example/v1/x?sig=abc&exp=1#frag", "at https://host.example/v1/x?sig=***"),
        ("at https://host.example/v1?x", "at https://host.example/v1?x"),
        ("blob " + "QUJD" * 30 + "==", "blob ***"),
        ("", ""),
    ],
)
def test_shapes_of_secrets(text: str, clean: str) -> None:
    assert redact(text) == clean


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        (f"your key {KEY} is bad", "your key *** is bad"),
        (f"it starts with {KEY[4:14]} they say", "it starts with *** they say"),
        (f"it ends with {KEY[-9:]}", "it ends with ***"),
        ("nothing here", "nothing here"),
    ],
)
def test_a_known_secret_is_gone_in_every_fragment(text: str, clean: str) -> None:
    assert redact(text, [KEY]) == clean


def test_a_short_known_secret_is_removed_whole_and_a_tiny_one_is_no_secret() -> None:
    assert redact("the word is open", ["open", "is", ""]) == "the word is ***"


def test_long_texts_are_cut_and_always_encodable() -> None:
    assert redact("ab " * 900) == ("ab " * 900)[: MAX_CHARS - 1] + "…"
    assert redact("a\ud800b") == "a?b"


@settings(max_examples=150, deadline=None)
@given(
    st.text(max_size=60),
    st.text(alphabet="abcdefghijkmnpqrstuvwxyz0123456789", min_size=16, max_size=60),
    st.text(max_size=60),
    st.integers(0, 8),
)
def test_no_secret_comes_through(before: str, secret: str, after: str, cut: int) -> None:
    piece = secret[cut : len(secret)]
    clean = redact(f"{before}{piece}{after}", [secret])
    windows = {secret[at : at + 8] for at in range(cut, len(secret) - 7)}
    assert not any(window in clean for window in windows)
    assert len(clean) <= MAX_CHARS


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=6000) | st.sampled_from(["://", "a.", "key ", "*", "=", "sk-"]).map(lambda unit: unit * 3000))
def test_redaction_is_total_bounded_and_encodable(text: str) -> None:
    clean = redact(text, [KEY])
    assert len(clean) <= MAX_CHARS
    clean.encode()


@pytest.mark.parametrize("word", ["gpt-image-2", "channel:invalid_key", "org/model.v1", "rate_limit_exceeded", "a"])
def test_plain_words(word: str) -> None:
    assert is_plain(word)


@pytest.mark.parametrize(
    "word", ["", "-a", "a b", "a\r\nb", "x" * 81, "http://host", "sk-proj-abcdef", "wb-abcdefgh", "é", "a" * 70]
)
def test_words_not_to_be_repeated(word: str) -> None:
    assert not is_plain(word)


def test_a_prompt_hash_is_keyed_and_short() -> None:
    one = prompt_hash(Keyed(b"key"), "a red fox")
    assert one == "hmac:dbae367b544d21114c7c77d1b2597946"
    assert one != prompt_hash(Keyed(b"other"), "a red fox")
    assert one != prompt_hash(Keyed(b"key"), "a red fax")
    assert prompt_hash(Keyed(b"key"), "\ud800").startswith("hmac:")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("req_1", "req_1"),
        ("a\r\nset-cookie: b", "aset-cookie: b"),
        ("a\x00b\x7f\x85c", "abc"),
        ("größe 图", "größe"),
        ("  x  ", "x"),
        ("x" * 300, "x" * HEADER_BYTES),
    ],
)
def test_header_values(text: str, value: str) -> None:
    assert header_value(text) == value


@settings(max_examples=100, deadline=None)
@given(st.text())
def test_a_header_value_is_always_one_line_of_latin_1(text: str) -> None:
    value = header_value(text)
    assert len(value.encode("latin-1")) <= HEADER_BYTES
    assert value.isprintable() or "\xa0" in value or "\xad" in value


def test_headers_that_repeat_a_key_are_left_out() -> None:
    headers = {"x-request-id": "for sk-key-of-ours", "date": "now"}
    assert without(headers, "sk-key-of-ours") == {"date": "now"}
    assert without(headers, "sk-another-key") is headers
    assert without(headers, "") is headers
