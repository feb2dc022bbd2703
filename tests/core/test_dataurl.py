"""The picture within a data URL: measured whole, in slices, or not at all."""

import base64
import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.dataurl import PayloadMeter, read_data_url

GIF = b"GIF89a\5\0\7\0\0\0\0\x2c\0\0\0"
URL = "data:image/gif;base64," + base64.b64encode(GIF).decode()


def test_a_picture_is_measured() -> None:
    seen = read_data_url(URL)
    assert seen is not None
    assert seen.sha256 == hashlib.sha256(GIF).hexdigest()
    assert (seen.bytes, seen.format, seen.width, seen.height, seen.alpha) == (len(GIF), "gif", 5, 7, False)


@pytest.mark.parametrize("head", ["data:;base64,", "DATA:image/gif;BASE64,", "data:image/gif;charset=x;base64,"])
def test_the_head_may_say_what_it_likes(head: str) -> None:
    assert read_data_url(head + URL.partition(",")[2]) == read_data_url(URL)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "https://example.com/a.png",
        "data:image/svg+xml,<svg/>",
        "data:image/gif;base64,",
        "data:image/gif;base64,AAA",
        "data:image/gif;base64,AAAA=",
        "data:image/gif;base64,AA==AAAA",
        "data:image/gif;base64,A===",
        "data:image/gif;base64,AA-_",
        "data:image/gif;base64,AA%2B",
        "data:image/gif;base64,AAA\u00e9",
        f"data:{'x' * 300};base64,AAAA",
    ],
)
def test_what_is_no_base64_has_no_facts(text: str) -> None:
    assert read_data_url(text) is None


@pytest.mark.parametrize("payload", ["AA==AAAA", "AA-_AAAA", "AAAAA", "AAA=AAAA", "A===AAAA"])
def test_slices_do_not_heal_what_is_broken(payload: str) -> None:
    for size in range(1, 9):
        meter = PayloadMeter()
        for start in range(0, len(payload), size):
            meter.feed(payload[start : start + size].encode())
        assert meter.facts() is None


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=200), st.integers(1, 50), st.integers(1, 76))
def test_slices_and_lines_do_not_matter(data: bytes, size: int, width: int) -> None:
    plain = base64.b64encode(data)
    text = b"\r\n".join(plain[start : start + width] for start in range(0, len(plain), width))
    meter = PayloadMeter()
    for start in range(0, len(text), size):
        meter.feed(text[start : start + size])
    seen = meter.facts()
    assert seen is not None
    assert (seen.sha256, seen.bytes) == (hashlib.sha256(data).hexdigest(), len(data))
