"""Extraction: every byte is accounted for, and every picture is found."""

import base64
import hashlib
import json
from itertools import pairwise

import pybase64
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.extract import (
    MOST_PAYLOADS,
    Closed,
    Decoded,
    Extractor,
    Opened,
    Piece,
    Raw,
    Seen,
    Text,
    joined,
    placeholder,
    placeholder_json,
    take_apart,
)

PICTURE = bytes(range(256)) * 3


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces, at = [], 0
    for size in sizes:
        pieces.append(data[at : at + size])
        at += size
    return [*pieces, data[at:]]


def extract(data: bytes, sizes: list[int] | None = None) -> list[Piece]:
    extractor = Extractor()
    pieces = [piece for chunk in cut(data, sizes or []) for piece in extractor.feed(chunk)]
    return [*pieces, *extractor.finish()]


def pictures(pieces: list[Piece]) -> list[tuple[str, bool]]:
    """Give the hash of every payload's decoded bytes, and whether all of it decoded."""
    found: list[tuple[str, bool]] = []
    digest = hashlib.sha256()
    for piece in pieces:
        if isinstance(piece, Opened):
            digest = hashlib.sha256()
        elif isinstance(piece, (Decoded, Seen)):
            digest.update(piece.data)
        elif isinstance(piece, Closed):
            found.append((digest.hexdigest() if piece.whole else "", piece.whole))
    return found


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def body(payload: str, before: str = '{"data":[{"b64_json":"', after: str = '"}]}') -> bytes:
    return (before + payload + after).encode()


GOOD = {
    "plain": body(b64(PICTURE)),
    "data url": body(b64(PICTURE), '{"data":[{"url":"data:image/png;base64,'),
    "data url as b64_json": body(b64(PICTURE), '{"data":[{"b64_json":"data:image/png;base64,'),
    "white space": body(b64(PICTURE), '{ "data" :\n[ { "b64_json" \t:\r\n "', '" } ] }\n'),
    "response item": body(b64(PICTURE), '{"output":[{"type":"image_generation_call","result":"', '"}]}'),
    "escaped slashes": body(b64(PICTURE).replace("/", "\\/")),
    "escaped as unicode": body(b64(PICTURE).replace("/", "\\u002f").replace("+", "\\u002B")),
    "line ends": body("\\n".join(b64(PICTURE)[at : at + 76] for at in range(0, 1024, 76))),
    "line ends and tabs": body("\\r\\n\\t".join(b64(PICTURE)[at : at + 76] for at in range(0, 1024, 76))),
    "padding": body(b64(PICTURE + b"x")),
    "no padding": body(b64(PICTURE + b"x").rstrip("=")),
    "no padding, escaped": body(b64(PICTURE + b"x").rstrip("=").replace("/", "\\/")),
    "not canonical": body(b64(PICTURE) + "QR=="),
    "two paddings": body(b64(PICTURE + b"xy")),
    "after other keys": body(b64(PICTURE), '{"note":"say \\"b64_json\\":\\"AAAA\\"","data":[{"b64_json":"'),
    "after a key of its name as value": body(b64(PICTURE), '{"response_format":"b64_json","data":[{"b64_json":"'),
}
BAD = {
    "padding inside": body("QQ==" + b64(PICTURE)),
    "url alphabet": body(base64.urlsafe_b64encode(PICTURE).decode()),
    "one character too many": body(b64(PICTURE) + "A"),
    "more after a loose end": body(b64(PICTURE) + "QR==QUJD"),
    "words": body("a picture of a lighthouse, but in words, long enough to look like a payload"),
    "escaped words": body("words \\\\ with \\u20ac escapes in them, " * 3 + 'and a \\"quoted\\" word'),
    "late escape, then words": body(b64(PICTURE) + "\\n!!"),
    "escaped backslashes": body("A" * 64 + "\\\\" * 300),
    "escaped quotes": body("A" * 64 + '\\"' * 300),
    "escapes that base64 has no use for": body("A" * 64 + "\\b\\f" * 60),
}
SHORT = {
    "empty": body(""),
    "short": body("QUJ"),
    "null": b'{"data":[{"b64_json":null,"url":"https://x/y"}]}',
    "key inside a text": b'{"a":"\\"b64_json\\":\\"' + b"A" * 200 + b'"}',
    "key that ends like one": b'{"a\\"b64_json":"' + b"A" * 200 + b'"}',
}


def taken(data: bytes) -> list[Piece] | None:
    """Give what an answer is taken apart into, as pieces."""
    payloads = take_apart(data)
    if payloads is None:
        return None
    pieces: list[Piece] = []
    at = 0
    for index, payload in enumerate(payloads):
        pieces += [Text(data[at : payload.start]), Opened(index), Decoded(payload.data), Closed(whole=True)]
        at = payload.end
    return [*pieces, Text(data[at:])] if data[at:] else pieces


def put_together(pieces: list[Piece]) -> list[Piece]:
    """Join texts that follow each other: where they were cut means nothing."""
    found: list[Piece] = []
    for piece in pieces:
        last = found[-1] if found else None
        if isinstance(piece, Text) and isinstance(last, Text):
            found[-1] = Text(last.data + piece.data)
        else:
            found.append(piece)
    return found


@pytest.mark.parametrize("name", GOOD)
def test_what_is_plain_is_taken_apart_in_one_go(name: str) -> None:
    is_plain = all(word not in name for word in ("escaped", "ends", "no padding", "not canonical"))
    assert taken(GOOD[name]) == (put_together(extract(GOOD[name])) if is_plain else None)


@pytest.mark.parametrize("data", [*BAD.values(), *(whole[:end] for whole in GOOD.values() for end in (600, 900))])
def test_what_is_not_plain_is_left_to_the_extractor(data: bytes) -> None:
    assert taken(data) is None


@pytest.mark.parametrize("name", SHORT)
def test_what_has_no_payload_is_all_text(name: str) -> None:
    assert taken(SHORT[name]) == [Text(SHORT[name])]


@pytest.mark.parametrize("name", GOOD)
def test_a_picture_is_found(name: str) -> None:
    data = GOOD[name]
    more = {"two paddings": b"xy", "not canonical": b"A"}.get(name, b"x" if "padding" in name else b"")
    wanted = PICTURE + more
    pieces = extract(data)
    assert b"".join(joined(pieces)) == data
    assert pictures(pieces) == [(sha(wanted), True)]


@pytest.mark.parametrize("name", BAD)
def test_a_payload_that_is_no_base64_is_kept_as_it_came(name: str) -> None:
    pieces = extract(BAD[name])
    assert b"".join(joined(pieces)) == BAD[name]
    assert pictures(pieces) == [("", False)]


@pytest.mark.parametrize("name", SHORT)
def test_what_is_no_payload_stays_text(name: str) -> None:
    pieces = extract(SHORT[name])
    assert b"".join(joined(pieces)) == SHORT[name]
    assert all(isinstance(piece, Text) for piece in pieces)


@pytest.mark.parametrize("data", [*GOOD.values(), *BAD.values(), *SHORT.values()])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 63, 64, 100, 257])
def test_where_an_answer_is_cut_makes_no_difference(data: bytes, size: int) -> None:
    pieces = extract(data, [size] * (len(data) // size))
    assert b"".join(joined(pieces)) == data
    assert pictures(pieces) == pictures(extract(data))


@pytest.mark.parametrize("data", [*GOOD.values(), *BAD.values(), *SHORT.values()])
def test_an_answer_that_ends_anywhere_is_given_back(data: bytes) -> None:
    for end in range(0, len(data), 7):
        assert b"".join(joined(extract(data[:end]))) == data[:end]


def test_several_pictures_keep_their_order() -> None:
    data = json.dumps({"data": [{"b64_json": b64(bytes([n]) * 300)} for n in range(5)]}).encode()
    assert pictures(extract(data)) == [(sha(bytes([n]) * 300), True) for n in range(5)]
    assert [piece.index for piece in extract(data) if isinstance(piece, Opened)] == [0, 1, 2, 3, 4]


def test_a_placeholder_is_no_text_an_upstream_would_write() -> None:
    assert placeholder(3) == "\x00waybill:3"
    assert json.loads(b'"' + placeholder_json(3) + b'"') == placeholder(3)


@pytest.mark.parametrize("size", [1000, 65_536])
def test_more_payloads_than_any_answer_has_stay_text(size: int) -> None:
    data = json.dumps({"data": [{"b64_json": "QUJD" * 16}] * (MOST_PAYLOADS + 3)}).encode()
    pieces = extract(data, [size] * (len(data) // size))
    assert b"".join(joined(pieces)) == data
    assert len(pictures(pieces)) == MOST_PAYLOADS
    assert taken(data) is None
    assert sum(piece.data.count(b"QUJD" * 16) for piece in pieces if isinstance(piece, Text)) == 3


def test_decoded_bytes_are_not_given_twice() -> None:
    pieces = extract(GOOD["escaped slashes"])
    stored = sum(len(piece.data) for piece in pieces if isinstance(piece, Decoded))
    seen = sum(len(piece.data) for piece in pieces if isinstance(piece, Seen))
    assert stored + seen == len(PICTURE)
    assert any(isinstance(piece, Raw) for piece in pieces)


texts = st.text(max_size=40) | st.sampled_from(
    [
        "b64_json",
        'x"b64_json":"',
        "\\",
        "data:image/png;base64,",
        '":"',
        "data:",
        b64(PICTURE),
        b64(PICTURE)[:-1],
        "A" * 63,
        "A" * 64,
    ]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**40), 10**40) | st.floats(allow_nan=False) | texts,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(texts | st.sampled_from(["b64_json", "result", "url"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(value=values, indent=st.sampled_from([None, 1]), ascii_only=st.booleans(), data=st.data())
def test_any_document_comes_back_however_it_is_cut(
    value: object, indent: int | None, ascii_only: bool, data: st.DataObject
) -> None:
    raw = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=12)))
    pieces = extract(raw, [after - before for before, after in pairwise([0, *cuts])])
    assert b"".join(joined(pieces)) == raw
    assert pictures(pieces) == pictures(extract(raw))
    assert taken(raw) in (None, put_together(extract(raw)))


@settings(max_examples=150, deadline=None)
@given(
    raw=st.lists(
        st.sampled_from(
            [
                b'"b64_json":"',
                b'"',
                b"\\",
                b"A" * 70,
                b"QQ==",
                b"=",
                b"\\u00",
                b"\\/",
                b'\\"',
                b"\\\\",
                b"data:",
                b'"data:x;base64,',
                b"/",
                b" ",
            ]
        ),
        max_size=12,
    ),
    size=st.integers(1, 30),
)
def test_any_bytes_come_back(raw: list[bytes], size: int) -> None:
    data = b"".join(raw)
    pieces = extract(data, [size] * (len(data) // size))
    assert b"".join(joined(pieces)) == data
    assert pictures(pieces) == pictures(extract(data))


def test_joining_is_what_the_pieces_mean() -> None:
    assert pybase64.b64encode(PICTURE) in b"".join(joined(extract(GOOD["plain"])))
