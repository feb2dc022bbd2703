"""Bytes in, one answer out: however they are torn, and whatever stands behind it."""

from collections.abc import Iterator
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.upstream.framing import MOST_HEAD_BYTES, MOST_HEADERS, MOST_INTERIM, BadFraming, Incoming

OK: Final = b"HTTP/1.1 200 OK\r\n"
HINT: Final = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"


def fed(*pieces: bytes) -> Incoming:
    incoming = Incoming()
    for piece in pieces:
        incoming.feed(piece)
    return incoming


def body(incoming: Incoming) -> bytes:
    return b"".join(taken(incoming))


def taken(incoming: Incoming) -> Iterator[bytes]:
    while incoming.pieces:
        yield incoming.take()
    assert incoming.held == 0


def torn(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


WHOLE: Final = {
    "a length": (OK + b"content-length: 11\r\n\r\nhello world", b"hello world"),
    "no body": (OK + b"content-length: 0\r\n\r\n", b""),
    "chunks": (OK + b"transfer-encoding: chunked\r\n\r\n6\r\nhello \r\n5;a=b\r\nworld\r\n0\r\n\r\n", b"hello world"),
    "trailers": (OK + b"Transfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 1\r\nstatus: 2\r\n\r\n", b"hello"),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    "304 with a length": (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", b""),
    "hints": (HINT * 3 + b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"content-length: 2\r\n\r\n{}", b"{}"),
    "bare line ends": (b"HTTP/1.1 200 OK\ncontent-length: 2\n\n{}", b"{}"),
}


@pytest.mark.parametrize("case", WHOLE)
@pytest.mark.parametrize("size", [1, 2, 7, 30, 10_000])
def test_an_answer_is_the_same_however_it_is_torn(case: str, size: int) -> None:
    data, expected = WHOLE[case]
    incoming = fed(*torn(data, size))
    assert (incoming.is_whole, incoming.keeps, body(incoming)) == (True, True, expected)


@given(st.binary(max_size=2000), st.integers(1, 500), st.booleans())
@settings(max_examples=100)
def test_any_body_comes_through_whole(data: bytes, size: int, chunked: bool) -> None:
    chunk = b"%x\r\n%s\r\n" % (len(data), data) if data else b""
    framed = b"transfer-encoding: chunked\r\n\r\n" + chunk + b"0\r\n\r\n"
    plain = b"content-length: %d\r\n\r\n" % len(data) + data
    incoming = fed(*torn(OK + (framed if chunked else plain), size))
    assert (incoming.is_whole, body(incoming)) == (True, data)


def test_pieces_past_the_head_are_the_objects_that_came() -> None:
    first, second = b"x" * 50, b"y" * 50
    incoming = fed(OK + b"content-length: 100\r\n\r\n", first, second)
    assert [piece is given for piece, given in zip(taken(incoming), (first, second), strict=True)] == [True, True]


def test_a_body_without_a_length_ends_with_its_connection() -> None:
    incoming = fed(OK + b"\r\nsome", b" more")
    assert (incoming.is_open, incoming.is_whole, incoming.keeps, body(incoming)) == (True, False, False, b"some more")


@pytest.mark.parametrize("line", [b"connection: close", b"Connection: Close"])
def test_a_peer_that_says_so_is_not_asked_again(line: bytes) -> None:
    assert not fed(OK + line + b"\r\ncontent-length: 2\r\n\r\n{}").keeps
    assert not fed(b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n{}").keeps


@pytest.mark.parametrize("extra", [b"!", b"GARBAGE\r\n\r\n", OK + b"content-length: 5\r\n\r\nother", HINT])
@pytest.mark.parametrize("framing", ["a length", "chunks", "204"])
@pytest.mark.parametrize("at", [0, 1])
def test_what_stands_behind_an_answer_is_nobodys(extra: bytes, framing: str, at: int) -> None:
    data, expected = WHOLE[framing]
    cut = len(data) - at
    incoming = fed(data[:cut], data[cut:] + extra)
    assert (incoming.status, incoming.is_whole, incoming.keeps, body(incoming)) == (
        int(data[9:12]),
        True,
        False,
        expected,
    )


def test_header_names_are_lower_case_and_the_last_of_two_counts() -> None:
    incoming = fed(OK + b"X-A: 1\r\nx-a: 2\r\nX-Odd: caf\xe9\r\ncontent-length: 0\r\n\r\n")
    assert incoming.headers == {"x-a": "2", "x-odd": "caf\xe9", "content-length": "0"}


def test_headers_of_hints_and_trailers_are_not_the_answers() -> None:
    data, _ = WHOLE["trailers"]
    assert fed(HINT + data).headers == {"transfer-encoding": "Chunked"}


MANY: Final = b"".join(b"x-%d: 1\r\n" % n for n in range(MOST_HEADERS + 1))
BAD: Final = {
    "no status line": b"HELLO\r\n\r\n",
    "a request": b"GET / HTTP/1.1\r\n\r\n",
    "status of letters": b"HTTP/1.1 abc OK\r\n\r\n",
    "two lengths": OK + b"content-length: 1\r\ncontent-length: 2\r\n\r\n",
    "the same length twice": OK + b"content-length: 2\r\ncontent-length: 2\r\n\r\n{}",
    "a length and chunks": OK + b"content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
    "a negative length": OK + b"content-length: -1\r\n\r\n",
    "a length with underscores": OK + b"content-length: 1_0\r\n\r\n",
    "an endless length": OK + b"content-length: 99999999999999999999\r\n\r\n",
    "gzip as a transfer coding": OK + b"transfer-encoding: gzip, chunked\r\n\r\n",
    "two transfer codings": OK + b"transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n",
    "a bad chunk": OK + b"transfer-encoding: chunked\r\n\r\nzz\r\n",
    "a chunk that is longer than it says": OK + b"transfer-encoding: chunked\r\n\r\n1\r\nab\r\n",
    "a long name": OK + b"x" * (MOST_HEAD_BYTES + 1),
    "a long value": OK + b"x: " + b"a" * MOST_HEAD_BYTES,
    "a long value, and a body": OK + b"x: " + b"a" * MOST_HEAD_BYTES + b"\r\ncontent-length: 2\r\n\r\n{}",
    "a long reason": b"HTTP/1.1 200 " + b"O" * MOST_HEAD_BYTES,
    "many headers": OK + MANY + b"content-length: 2\r\n\r\n{}",
    "hints without end": HINT * (MOST_INTERIM + 1),
    "long hints": (b"HTTP/1.1 103 Hints\r\nlink: " + b"a" * 9000 + b"\r\n\r\n") * 8,
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    "a trailer without end": OK + b"transfer-encoding: chunked\r\n\r\n0\r\nx: " + b"a" * (MOST_HEAD_BYTES + 1),
    "a chunk's extension without end": OK + b"transfer-encoding: chunked\r\n\r\n5;" + b"a" * (MOST_HEAD_BYTES + 1),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("size", [1000, 10_000_000])
def test_what_is_no_answer_is_refused(case: str, size: int) -> None:
    with pytest.raises(BadFraming):
        fed(*torn(BAD[case], size))


def test_tiny_pieces_count_as_more_than_their_bytes() -> None:
    chunks = b"1\r\na\r\n" * 100
    assert fed(OK + b"transfer-encoding: chunked\r\n\r\n" + chunks).held >= 5_000


PARTS: Final = st.sampled_from(
    [
        *(OK, HINT, b"\r\n", b"\r\n\r\n", b"content-length: 3\r\n", b"content-length: 0\r\n", b"connection: close\r\n"),
        *(
            b"transfer-encoding: chunked\r\n",
            b"1\r\na\r\n",
            b"0\r\n",
            b"0\r\n\r\n",
            b"ffffffffffffffff\r\n",
            b"x: y\r\n",
        ),
        *(b"HTTP/1.1 204 No\r\n", b"HTTP/1.0 200 OK\r\n", b"HTTP/2 200\r\n", b" folded\r\n", b"\n", b"\0", b"abc"),
    ]
)


@given(st.lists(st.one_of(PARTS, st.binary(max_size=5)), max_size=20), st.integers(1, 40))
@settings(max_examples=200)
def test_whatever_comes_is_an_answer_or_refused(parts: list[bytes], size: int) -> None:
    incoming = Incoming()
    data = b"".join(parts)
    try:
        for piece in torn(data, size):
            incoming.feed(piece)
    except BadFraming:
        assert not incoming.is_whole
    else:
        assert incoming.is_headed or not incoming.is_whole
    assert len(body(incoming)) <= len(data)
