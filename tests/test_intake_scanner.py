"""The form scanner against slices of any length, and against a parser that others wrote."""

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

from gateway.core.types import Refusal
from gateway.intake.scanner import MAX_PARTS, Closed, FormScanner, Opened

BOUNDARY = b"ab"
Parts = list[tuple[list[tuple[bytes, bytes]], bytes]]
SHARDS = [
    b"--ab",
    b"\r\n--ab\r\n",
    b"\r\n--ab--",
    b"\n--ab",
    b"\r\n",
    b"\r\n\r\n",
    b"\r",
    b"\n",
    b"-",
    b"--",
    b" ",
    b"a",
]
SHARDS += [b"--ab\r\nA: x\r\n\r\n", b"--ab\r\nA: x\r\nB:  y \r\n\r\n", b"A: x", b": ", b"value", b"\x00", b"\xff"]


class Told:
    """What a scanner tells of a body, and where it says that values begin."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self.parts: Parts = []
        self.values: list[int] = []
        self.refusal: Refusal | None = None
        self.closed = 0
        self.scanner = FormScanner(BOUNDARY)
        for piece in pieces:
            if not self._take(piece):
                return

    def _take(self, piece: bytes) -> bool:
        for event in self.scanner.feed(piece):
            assert self.refusal is None
            if isinstance(event, Opened):
                self.parts.append((list(event.headers), b""))
                self.values.append(event.start)
            elif isinstance(event, Closed):
                self.closed += 1
            elif isinstance(event, Refusal):
                self.refusal = event
            else:
                headers, value = self.parts[-1]
                self.parts[-1] = (headers, value + bytes(event))
        return self.refusal is None

    @property
    def is_form(self) -> bool:
        return self.refusal is None and self.scanner.is_whole


def read_by_another(body: bytes) -> tuple[Parts, bool]:
    """Give the parts as python-multipart reads them, and whether it saw the end."""
    parts: Parts = []
    name, value, data, ended = bytearray(), bytearray(), bytearray(), []
    headers: list[tuple[bytes, bytes]] = []

    def header_over() -> None:
        headers.append((bytes(name), bytes(value)))
        name.clear()
        value.clear()

    def part_over() -> None:
        parts.append((headers.copy(), bytes(data)))
        headers.clear()
        data.clear()

    parser = MultipartParser(
        BOUNDARY,
        {
            "on_header_field": lambda given, start, end: name.extend(given[start:end]),
            "on_header_value": lambda given, start, end: value.extend(given[start:end]),
            "on_header_end": header_over,
            "on_part_data": lambda given, start, end: data.extend(given[start:end]),
            "on_part_end": part_over,
            "on_end": lambda: ended.append(True),
        },
    )
    try:
        parser.write(body)
    except FormParserError:
        return parts, False
    return parts, bool(ended)


def sliced(body: bytes, cuts: Iterable[int]) -> list[bytes]:
    places = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    return [body[start:end] for start, end in pairwise(places)]


BODIES = st.lists(st.sampled_from(SHARDS), max_size=12).map(b"".join)
FORMS = st.lists(st.tuples(st.sampled_from([b"A: x", b"Bc:y ", b"D:"]), BODIES), max_size=4).map(
    lambda parts: b"".join(b"--ab\r\n%b\r\n\r\n%b\r\n" % part for part in parts) + b"--ab--\r\n"
)


@settings(max_examples=200)
@given(body=BODIES | FORMS, cuts=st.lists(st.integers(min_value=0, max_value=120), max_size=10))
@example(body=b"--ab\r\nA: x\r\n\r\n\r\n--ab--", cuts=list(range(40)))
@example(body=b"--ab\r\nA: x\r\n\r\n--ab--", cuts=list(range(40)))
def test_wherever_the_slices_are_cut_the_same_is_told(body: bytes, cuts: list[int]) -> None:
    whole, told = Told([body]), Told(sliced(body, cuts))
    assert (told.refusal, told.is_form, told.closed) == (whole.refusal, whole.is_form, whole.closed)
    if whole.is_form:
        assert (told.parts, told.values, told.scanner.starts) == (whole.parts, whole.values, whole.scanner.starts)


@settings(max_examples=200)
@given(body=BODIES | FORMS, lead=st.sampled_from([b"", b"\r\n", b"\n"]))
@example(body=b"--ab\r\nA: x\r\n\r\nvalue\r\n--ab--\r\n", lead=b"\r\n")
def test_what_is_taken_for_a_form_is_the_same_form_to_another_parser(body: bytes, lead: bytes) -> None:
    told = Told([lead + body])
    if told.is_form:
        assert read_by_another(body.lstrip(b"\r\n")) == (told.parts, True)
        assert told.closed == len(told.parts)


@settings(max_examples=200)
@given(body=BODIES | FORMS)
@example(body=b"\r--ab\r\nA: x\r\n\r\n\r\n--ab--")
def test_in_a_form_a_line_that_begins_with_the_boundary_bounds_a_part(body: bytes) -> None:
    told = Told([body])
    if not told.is_form:
        return
    text = b"\n" + body
    assert told.scanner.starts == [at for at in range(len(text)) if text.startswith(b"\n--ab", at)]
    assert len(told.scanner.starts) == len(told.parts) + 1
    for start, (_, value) in zip(told.values, told.parts, strict=True):
        assert body[start : start + len(value)] == value


def test_most_forms_of_these_examples_are_forms() -> None:
    """The properties above would hold of nothing, were everything refused."""
    body = b"\r\n--ab\r\nA: x\r\nB:\r\n\r\n\r\nv\n--a\r\r\n--ab\r\nC:  y \r\n\r\n\r\n--ab--anything"
    told = Told([body])
    assert told.parts == [([(b"A", b"x"), (b"B", b"")], b"\r\nv\n--a\r"), ([(b"C", b"y ")], b"")]
    assert (told.is_form, told.scanner.insert_at, told.scanner.starts) == (True, 2, [2, 30, 48])


@pytest.mark.parametrize("number", [MAX_PARTS, MAX_PARTS + 1])
def test_it_stops_at_so_many_parts(number: int) -> None:
    told = Told([b"--ab\r\nA: x\r\n\r\n\r\n" * number, b"--ab--"])
    assert told.is_form == (number == MAX_PARTS)


def test_what_is_between_is_not_copied() -> None:
    scanner = FormScanner(BOUNDARY)
    scanner.feed(b"--ab\r\nA: x\r\n\r\nx")
    piece = b"x" * 100_000
    (event,) = scanner.feed(piece)
    assert isinstance(event, memoryview)
    assert event.obj is piece
