"""New rows in a routes file's text: where they go, and that nothing else moves."""

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.insertion import NewRow, insert_rows

ROWS = (NewRow(name="new", key="new", block="{serves: [responses]}", remarks=("# why",)),)


def put(text: str, channel: str = "a") -> str:
    found = insert_rows(text, channel, ROWS)
    assert found is not None
    return found


ADDED = "      # why\n      new: {serves: [responses]}\n"
HEAD = "channels:\n  a:\n    rows:\n      one:"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (f"{HEAD} {{x: 1}} # said\n", "\n  # b's\n  b:\n    rows: {one: 1}\n"),
        (f"{HEAD}\n        x:\n        - 1\n        - {{y: [\n          2]}}\n", "    z: 1\n"),
        (f"{HEAD} |\n        text\n        more\n", "    z: 1\n"),
        (f"{HEAD} 1\n", ""),
    ],
)
def test_below_the_last_row(before: str, after: str) -> None:
    assert put(f"{before}{after}") == f"{before}{ADDED}{after}"


def test_odd_ends_of_lines() -> None:
    assert put(f"{HEAD} 1") == f"{HEAD} 1\n{ADDED}"
    assert put(f"{HEAD} 1\n".replace("\n", "\r\n")) == f"{HEAD} 1\n{ADDED}".replace("\n", "\r\n")


def test_inside_braces() -> None:
    text = "channels: {a: {rows: {one: 1}}, b: {rows: {}}}"
    assert put(text) == "channels: {a: {rows: {new: {serves: [responses]}, one: 1}}, b: {rows: {}}}"
    assert put(text, "b") == "channels: {a: {rows: {one: 1}}, b: {rows: {new: {serves: [responses]}}}}"


@pytest.mark.parametrize(
    "text",
    [
        "channels:\n  b:\n    rows: {one: 1}\n",
        "x: &r {one: 1}\nchannels:\n  a:\n    rows: *r\n",
        "channels:\n  a:\n    rows:\n",
        "channels:\n- a:\n    rows: {one: 1}\n",
        "channels: [",
        "channels:\r  a:\r    rows:\r      one: 1\r",
        "",
    ],
)
def test_where_there_is_no_place(text: str) -> None:
    assert insert_rows(text, "a", ROWS) is None


names = st.text("abc", min_size=1, max_size=3)
leaves = st.one_of(st.integers(0, 9), names, st.just("two words: and # more"), st.just("line\nline\n"))
trees = st.recursive(
    leaves, lambda below: st.one_of(st.lists(below, max_size=3), st.dictionaries(names, below, max_size=3))
)


@settings(max_examples=200, deadline=None)
@given(
    rows=st.dictionaries(names, trees, min_size=1, max_size=3),
    other=st.dictionaries(names, trees, max_size=2),
    flow=st.sampled_from([True, False, None]),
    indent=st.integers(2, 6),
)
def test_it_reads_as_the_same_file_with_one_row_more(
    rows: dict[str, object], other: dict[str, object], flow: bool | None, indent: int
) -> None:
    document = {"version": 1, "channels": {"z": {"rows": other}, "target": {"rows": rows, "tail": other}}, "end": other}
    text = yaml.safe_dump(document, default_flow_style=flow, indent=indent, sort_keys=False)
    after = insert_rows(text, "target", ROWS)
    assert after is not None
    document["channels"]["target"]["rows"] = {**rows, "new": {"serves": ["responses"]}}  # type: ignore[index]
    assert yaml.safe_load(after) == document
    kept = [line for line in after.splitlines() if line != ROWS[0].remarks[0] and "serves: [responses]" not in line]
    if flow is False:
        assert [line for line in kept if line.strip() != "# why"] == text.splitlines()
