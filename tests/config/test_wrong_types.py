# ruff: noqa: E501  # a case a line: the file reads as a table
"""Every key of the file, given what it cannot take: what is said of it is ours, never the words of a library."""

import re
from pathlib import Path

import pytest
import yaml

from gateway.config.model import RoutesFile
from tests.config.files import GOOD, lines, with_route, with_row
from tests.test_docs import keys_of

NAMES = {"channels": "direct", "rows": "gpt-image-2", "routes": "gpt-image-2", "on_failure": "timeout"}
LISTS = {"targets", "when", "use", "downgrade"}
WRONG: tuple[object, ...] = ("nope", -1.5, [[]])
THEIRS = re.compile(r"\bInput\b|\bvalid (?:integer|boolean|string|number)|unable to|instance of|cannot be read")


def put(path: str, value: object) -> str:
    """Give the good file with ``value`` at ``path``; what lies on the way and is not there is made."""
    document = yaml.safe_load(GOOD)
    place: dict[str, object] = {"": document}
    step: str = ""
    for name in path.split("."):
        held = place[step]
        if name == "*" and step in LISTS:
            item: dict[str, object] = {}
            place[step], place, step = [item], {"": item}, ""
            continue
        inner = held if isinstance(held, dict) else {}
        place[step], place = inner, inner
        step = NAMES.get(step, "1K") if name == "*" else name
        inner.setdefault(step, {})
    place[step] = value
    return yaml.safe_dump(document)


@pytest.mark.parametrize("path", dict.fromkeys(keys_of(RoutesFile)))
def test_what_a_key_cannot_take_is_refused_in_our_words(tmp_path: Path, path: str) -> None:
    for value in WRONG:
        for line in lines(tmp_path, put(path, value)):
            assert not THEIRS.search(line), line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (with_route("keep: nope"), "18:11: routes.gpt-image-2.keep: must be true or false"),
        (with_route("keep: 1.5"), "18:11: routes.gpt-image-2.keep: must be true or false"),
        (with_route("keep: []"), "18:11: routes.gpt-image-2.keep: must be true or false"),
        (with_row("contract: {n: {lowest: x, highest: 2}}"), "9:75: channels.direct.rows.gpt-image-2.contract.n.lowest: must be a whole number"),
        (with_row("contract: {n: {lowest: -1, highest: 2}}"), "9:75: channels.direct.rows.gpt-image-2.contract.n.lowest: must be between 0 and 1000000000"),
    ],
)  # fmt: skip
def test_the_words_are_those_of_the_file(tmp_path: Path, text: str, expected: str) -> None:
    assert lines(tmp_path, text) == [f"routes.yaml:{expected}"]


@pytest.mark.parametrize("text", ['version: "1"', "version: 01", "version: ${NOTHING:-1}"])
def test_a_number_may_stand_in_quotes_since_a_variable_holds_only_text(tmp_path: Path, text: str) -> None:
    assert lines(tmp_path, GOOD.replace("version: 1", text)) == []
    assert lines(tmp_path, with_route('max_attempts: "2"\n    keep: "false"')) == []
