"""Streams of events taken apart: the same events however the bytes are cut and whatever the lines end in."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.sse import Block, Piece, Splitter, read_block

ENDS = ("\n", "\r\n", "\r")
KNOWN = (b"\n\n", b"\r\r", b"\r\n\r\n")


def cut(data: bytes, places: list[int]) -> list[bytes]:
    marks = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in pairwise(marks)]


def split(chunks: list[bytes]) -> tuple[list[bytes], bytes | None]:
    """The whole events, and what an unclosed one came to."""
    splitter = Splitter()
    events, passing = [], b""
    for chunk in chunks:
        for piece in splitter.feed(chunk):
            passing += piece.data
            if piece.ends:
                events.append(passing)
                passing = b""
    last = splitter.finish()
    return events, passing + last.data if last is not None else None


def blocks(chunks: list[bytes]) -> list[Block]:
    events, unclosed = split(chunks)
    return [read_block(event) for event in [*events, *([] if unclosed is None else [unclosed])]]


@pytest.mark.parametrize("end", ENDS)
def test_events_are_given_byte_for_byte(end: str) -> None:
    first, second = (f"event: a{end}data: 1{end}{end}".encode(), f"data: 2{end}{end}".encode())
    assert split([first + second]) == ([first, second], None)


def test_an_event_is_over_at_its_blank_line_and_not_a_byte_later() -> None:
    for end in ("\n", "\r"):
        splitter = Splitter()
        data = f"data: 1{end}{end}".encode()
        seen = [piece for at in range(len(data)) for piece in splitter.feed(data[at : at + 1])]
        assert seen[-1].ends
        assert b"".join(piece.data for piece in seen) == data


def test_a_line_feed_after_the_end_belongs_to_the_end() -> None:
    splitter = Splitter()
    assert splitter.feed(b"data: 1\r\n\r")[-1] == Piece(b"data: 1\n\n", ends=True)
    assert splitter.feed(b"\n") == []
    assert splitter.feed(b"data: 2\r\n\r\n") == [Piece(b"data: 2\r\n\r\n", ends=True)]


@pytest.mark.parametrize(
    ("odd", "known"),
    [
        (b"data: 1\n\r\n", b"data: 1\n\n"),
        (b"data: 1\r\r\n", b"data: 1\n\n"),
        (b"data: 1\n\r", b"data: 1\n\n"),
        (b"data: 1\r\n\n", b"data: 1\r\n\n"),
    ],
)
def test_an_odd_end_becomes_one_that_every_client_knows(odd: bytes, known: bytes) -> None:
    assert split([odd]) == ([known], None)


def test_a_byte_order_mark_is_dropped_and_only_at_the_start() -> None:
    mark = b"\xef\xbb\xbf"
    data = mark + b"data: 1\n\n" + mark + b"data: 2\n\n"
    expected = [b"data: 1\n\n", mark + b"data: 2\n\n"]
    assert split([data])[0] == expected
    assert split([data[at : at + 1] for at in range(len(data))])[0] == expected
    assert split([b"\xef\xbb"])[1] == b"\xef\xbb\n\n"
    assert split([mark]) == ([], None)


def test_blank_lines_between_events_are_nothing() -> None:
    assert split([b"\n\r\n\rdata: 1\n\n\n\n\r\rdata: 2\n\n\n"]) == ([b"data: 1\n\n", b"data: 2\n\n"], None)
    assert split([b"", b"\n"]) == ([], None)


@pytest.mark.parametrize("tail", ["", "\n", "\r", "\r\n"])
def test_an_event_without_its_blank_line_is_given_apart(tail: str) -> None:
    data = f"data: 1\n\ndata: 2{tail}".encode()
    assert split([data]) == ([b"data: 1\n\n"], b"data: 2\n\n")
    assert split([data[at : at + 1] for at in range(len(data))]) == ([b"data: 1\n\n"], b"data: 2\n\n")


def test_a_long_line_is_not_kept() -> None:
    splitter = Splitter()
    chunk = b"x" * 65_536
    assert splitter.feed(b"data: ") == [Piece(b"data: ")]
    assert all(splitter.feed(chunk) == [Piece(chunk)] for _ in range(100))
    assert splitter.feed(b"\n") == []
    assert splitter.feed(b"\n") == [Piece(b"\n\n", ends=True)]


@pytest.mark.parametrize(
    ("event", "block"),
    [
        (b"event: a\ndata: 1\n\n", Block(name="a", data=b"1")),
        (b"data:1\ndata:  2\r\ndata\r\r", Block(name="", data=b"1\n 2\n")),
        (b"event: a\nevent: b\n: x\nid: 5\nretry: 9\n\n", Block(name="b", data=None)),
        (b"data\n\n", Block(name="", data=None)),
        (b": comment\n\n", Block(name="", data=None)),
        (b"event: \xff\ndata: {}\n\n", Block(name="\ufffd", data=b"{}")),
        (b"dataset: 1\n data: 2\n\n", Block(name="", data=None)),
    ],
)
def test_the_fields_of_an_event(event: bytes, block: Block) -> None:
    assert read_block(event) == block


line = st.sampled_from(
    ["data: {}", "data:x", "data", "event: a", ": comment", ":", "id: 1", "retry: 5", "data: \u00fc\u2028 y", "other"]
)
event_lines = st.lists(line, min_size=1, max_size=5)
stream = st.lists(event_lines, max_size=5)


@given(
    events=stream,
    ends=st.lists(st.sampled_from(ENDS), min_size=1, max_size=4),
    places=st.lists(st.integers(0, 400), max_size=40),
    is_marked=st.booleans(),
    is_closed=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_cuts_and_line_ends_change_no_event(
    events: list[list[str]], ends: list[str], places: list[int], is_marked: bool, is_closed: bool
) -> None:
    lines = [text for event in events for text in (*event, "")]
    data = "".join(text + ends[at % len(ends)] for at, text in enumerate(lines))
    data = data if is_closed else data.rstrip("\r\n")
    plain = "".join(text + "\n" for text in lines).encode()
    whole = (b"\xef\xbb\xbf" if is_marked else b"") + data.encode()
    # A CR and an LF of two lines that meet are one line end, to every reader: then there are fewer lines.
    if not any(a.endswith("\r") and b.startswith("\n") for a, b in pairwise([*ends, *ends[:1]])):
        assert blocks([whole]) == blocks([plain])
    assert blocks(cut(whole, places)) == blocks([whole])
    closed, _ = split(cut(whole, places))
    assert all(event.endswith(KNOWN) for event in closed)


@given(places=st.lists(st.integers(0, 200), max_size=60), end=st.sampled_from(["\n", "\r"]))
@settings(max_examples=100, deadline=None)
def test_where_lines_end_in_one_way_every_byte_is_given_back(places: list[int], end: str) -> None:
    data = "".join(f"event: e{end}data: {at}{end}{end}" for at in range(6)).encode()
    assert b"".join(split(cut(data, places))[0]) == data
