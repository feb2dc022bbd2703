# ruff: noqa: E501  # a case a line: the file reads as a table
import time

import pytest
import yaml

from gateway.config.nodes import find, plain
from gateway.config.source import MAX_BYTES, MAX_DEPTH, MAX_NODES, parse
from gateway.config.syntax import unreadable


def said(data: str | bytes) -> list[str]:
    parsed = parse(data if isinstance(data, bytes) else data.encode())
    return [f"{m.line}:{m.column} {m.path}: {m.message}" for m in parsed.mistakes]


def test_plain_words_are_read_by_the_rules_of_yaml_1_2() -> None:
    root = parse(
        b"a: yes\nb: off\nc: 1:30\nd: 010\ne: 1.5\nf: true\ng: ~\nh: '1'\ni: 0x1f\nj: 2026-01-01\nk:\nl: -3\nm: 1e3"
    ).root
    assert root is not None
    assert plain(root) == {
        "a": "yes", "b": "off", "c": "1:30", "d": 10, "e": 1.5, "f": True, "g": None, "h": "1", "i": "0x1f",
        "j": "2026-01-01", "k": None, "l": -3, "m": 1000.0,
    }  # fmt: skip


def test_numbers_too_long_for_a_number_are_text() -> None:
    root = parse(b"a: " + b"9" * 10_000).root
    assert root is not None
    assert plain(root) == {"a": "9" * 10_000}


def test_every_node_knows_its_place() -> None:
    root = parse("# a word\na:\n  b: [x, {é: y}]\n".encode()).root
    assert root is not None
    found = find(root, ("a", "b", 1, "é"))
    assert (found.key_mark.line, found.key_mark.column) == (3, 11)
    assert (found.node.mark.line, found.node.mark.column) == (3, 14)
    assert not find(root, ("a", "c")).whole


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "1:1 (file): the file must be a block of keys, the first 'version: 1'"),
        (b"# nothing\n", "1:1 (file): the file must be a block of keys, the first 'version: 1'"),
        (b"- a\n- b\n", "1:1 (file): the file must be a block of keys, the first 'version: 1'"),
        (b"word", "1:1 (file): the file must be a block of keys, the first 'version: 1'"),
        (b"a: 1\nb: \xff\n", "2:4 (file): the file is not UTF-8"),
        (b"a: 1\n---\nb: 2\n", "2:1 (file): the file must hold one document: remove the '---' before this one"),
        (b"a: 1\na: 2\n", "2:1 a: 'a' is given twice; the first is on line 1"),
        (b"x:\n  - {a: 1, a: 2}\n", "2:12 x[0].a: 'a' is given twice; the first is on line 2"),
        (b"? [a]\n: 1\n", "1:3 (file): a key must be one word, not a list or a block"),
        (b"a: !!python/object:os.system x\n", "1:4 a: the tag 'tag:yaml.org,2002:python/object:os.system' has no meaning here: remove it"),
        (b"a: [1, !x 2]\n", "1:8 a[1]: the tag '!x' has no meaning here: remove it"),
        (b"a: *b\n", "1:4 (file): the alias '*b' names an anchor that is not above it"),
        (b"a: &a [*a]\n", "1:8 (file): the alias '*a' stands inside the value it names"),
        (b"<<: 1\n", "1:1 <<: '<<' takes a block or a list of blocks"),
        (b"a: \x00\n", "1:1 (file): not YAML: a character that YAML does not allow"),
    ],
)  # fmt: skip
def test_what_is_no_tree_is_refused_at_its_place(data: bytes, expected: str) -> None:
    assert said(data) == [expected]


@pytest.mark.parametrize("text", ["a: [1, 2\n", "a: b: c\n", "\ta: 1\n", "a: 'x\n", "%YAML 9.9\n---\na: 1\n", "}"])
def test_what_is_no_yaml_is_refused(text: str) -> None:
    (line,) = said(text)
    assert " (file): not YAML: " in line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a:\n\tb: 1\n", "2:1 (file): not YAML: found character that cannot start any token while scanning for the next token; indent with spaces, not tabs"),
        ("a: |\n x\n\ty\n", "3:1 (file): not YAML: found a tab character where an indentation space is expected while scanning a block scalar (from line 1); indent with spaces, not tabs"),
        ("one: {owner: acme, api_key: ${X}}\n", "1:30 (file): not YAML: did not find expected ',' or '}' while parsing a flow mapping; put quotes around ${...} inside { } and [ ]"),
        ("é: 'ß🖼'\nx: [${A}, b]\n", "2:6 (file): not YAML: did not find expected ',' or ']' while parsing a flow sequence; put quotes around ${...} inside { } and [ ]"),
        ("a: @x\n", "1:4 (file): not YAML: found character that cannot start any token while scanning for the next token; put quotes around text that begins with @, ` or %"),
        ("a: 1\n b: 2\n", "2:3 (file): not YAML: mapping values are not allowed in this context; put quotes around text that has ': ' in it, and let the keys of a block begin in one column"),
        ("a:\n  - b\n c: 1\n", "3:2 (file): not YAML: did not find expected key while parsing a block mapping (from line 1); let the keys of a block, or the dashes of a list, begin in one column"),
        ("a: 'x\nb: 1\n", "3:1 (file): not YAML: found unexpected end of stream while scanning a quoted scalar (from line 1); a quote was opened there and not closed"),
        ("a: [1, 2\n", "2:1 (file): not YAML: did not find expected ',' or ']' while parsing a flow sequence (from line 1)"),
    ],
)  # fmt: skip
def test_what_is_no_yaml_is_said_in_full_with_what_helps(text: str, expected: str) -> None:
    assert said(text) == [expected]


@pytest.mark.parametrize("loader", [yaml.SafeLoader, getattr(yaml, "CSafeLoader", yaml.SafeLoader)])
@pytest.mark.parametrize(
    "text",
    [
        "a: !hush!hush x\n", "a: &hush! x\n", "%TAG !hush! b\n%TAG !hush! b\n---\na: 1", "a: {b: hush: c}\n",
        'a: "hush\n', 'a: "b" hush\n', "a: {k: ${hush}}\n", "%TAG ! hush\na: 1\n", "a: >9hush\n", "hush hush\nb: 1\n",
    ],
)  # fmt: skip
def test_what_is_said_of_no_yaml_repeats_nothing_of_the_file(loader: type[yaml.SafeLoader], text: str) -> None:
    with pytest.raises(yaml.YAMLError) as caught:
        list(yaml.parse(text, Loader=loader))
    assert "hush" not in unreadable(caught.value, text).message


def test_duplicates_are_told_together_with_what_follows() -> None:
    assert len(said("a: 1\na: 2\na: 3\nb: {c: 1, c: 2}\n")) == 3


def test_a_merge_never_overrides_what_is_written_out() -> None:
    root = parse(b"one: &one {a: 1, b: 1}\ntwo: &two {b: 2, c: 2}\nall: {<<: [*one, *two], c: 3}\n").root
    assert root is not None
    assert plain(find(root, ("all",)).node) == {"a": 1, "b": 1, "c": 3}


def test_a_byte_order_mark_is_no_mistake() -> None:
    assert said(b"\xef\xbb\xbfa: 1\n") == []


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)
DEEP_ALIASES = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 40))


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"a: " + b"x" * MAX_BYTES, f"the file is larger than {MAX_BYTES} bytes"),
        (b"a: " + b"[" * 100_000, f"values are nested more than {MAX_DEPTH} deep"),
        (b"a: " + b"{a: " * 100_000, f"values are nested more than {MAX_DEPTH} deep"),
        (b"".join(b" " * n + b"a:\n" for n in range(1000)), f"values are nested more than {MAX_DEPTH} deep"),
        (b"- " * 100_000, f"values are nested more than {MAX_DEPTH} deep"),
        (BOMB.encode(), f"aliases make this more than {MAX_NODES} values"),
        (DEEP_ALIASES.encode(), f"values are nested more than {MAX_DEPTH} deep"),
        (b"a: [" + b"1," * 300_000 + b"]", f"the file holds more than {MAX_NODES} values"),
        (b"a: &a [" + b"x," * 10_000 + b"]\nb: [" + b"*a," * 300 + b"]", f"aliases make this more than {MAX_NODES} values"),
        (b"a: &a {" + b"".join(b"k%d: 1," % n for n in range(10_000)) + b"}\nb: {<<: [" + b"*a," * 300 + b"]}", f"aliases make this more than {MAX_NODES} values"),
    ],
    ids=["big", "brackets", "braces", "indents", "dashes", "bomb", "ladder", "many", "repeated", "merged"],
)  # fmt: skip
def test_a_file_that_would_exhaust_the_reader_is_refused_quickly(data: bytes, sentence: str) -> None:
    begun = time.perf_counter()
    (line,) = said(data)
    assert sentence in line
    assert time.perf_counter() - begun < 10
