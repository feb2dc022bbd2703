"""``state.unknown_ids``: where ids go that nobody here has given."""

from pathlib import Path

import pytest

from tests.config.files import GOOD, good, lines, with_top

TURNS = GOOD.replace("    rows:\n", "    rows:\n      gpt-5.5: {serves: [responses]}\n", 1)
BESIDE = TURNS.replace(
    "  sandbox:\n",
    "  other:\n    owner: other\n    kind: gateway\n    base_url: https://other.example/v1\n"
    "    api_key: ${DIRECT_KEY}\n"
    "    rows:\n      gpt-5.5: {serves: [responses]}\n  sandbox:\n",
)
FORWARD = "\nstate: {unknown_ids: forward}\n"


@pytest.mark.parametrize("text", [TURNS, BESIDE, with_top("state: {}"), with_top("state: {unknown_ids: refuse}")])
def test_unknown_ids_are_refused_unless_it_is_said(tmp_path: Path, text: str) -> None:
    assert good(tmp_path, text).table.unknown_ids_to is None


def test_forward_goes_to_the_channel_that_serves_turns(tmp_path: Path) -> None:
    assert good(tmp_path, TURNS + FORWARD).table.unknown_ids_to == "direct"
    asleep = TURNS.replace("kind: sandbox\n    rows:\n", "kind: sandbox\n    rows:\n      t: {serves: [responses]}\n")
    assert good(tmp_path, asleep + FORWARD).table.unknown_ids_to == "direct"


@pytest.mark.parametrize(("text", "who"), [(GOOD, "none"), (BESIDE, "'direct' and 'other'")])
def test_forward_needs_exactly_one_such_channel(tmp_path: Path, text: str, who: str) -> None:
    (line,) = lines(tmp_path, text + FORWARD)
    assert "state.unknown_ids: forward needs exactly one channel that serves responses" in line
    assert line.endswith(f"here it is {who}")


def test_another_word_is_a_mistake(tmp_path: Path) -> None:
    (line,) = lines(tmp_path, with_top("state: {unknown_ids: ask}"))
    assert line.endswith("state.unknown_ids: 'ask' is not known here: use refuse or forward")
