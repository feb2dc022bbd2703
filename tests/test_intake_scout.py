"""How far a form may go out while it comes: never its end, and behind the question nothing but pictures."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.bodies.spool import Spool, SpooledBody
from gateway.intake.form import Form, FormReader
from gateway.intake.scout import Scout
from tests.fakes.incoming import BOUNDARY, PNG, cut, form, part

PICTURE = PNG + bytes(500)
PARTS = {
    "model": part("model", "pic"),
    "prompt": part("prompt", "at night"),
    "size": part("size", "1024x1024"),
    "n": part("n", "1"),
    "image": part("image[]", PICTURE, filename="a.png"),
    "mask": part("mask", PICTURE, filename="m.png"),
    "file": part("other", PICTURE, filename="b.png"),
}
NAMES = ["image", "image", "image", "model", "prompt", "size", "n", "mask", "file"]


class Runner:
    """Takes note of how far it may go."""

    since = 0.0

    def __init__(self) -> None:
        self.reaches: list[int] = []

    def grow(self, reach: int) -> None:
        self.reaches.append(reach)

    def stay(self, channel: str) -> bool:
        return bool(channel)

    def claim(self, whole: object) -> None:
        """Nobody claims it here."""

    def cut(self) -> None:
        """Nor cuts it."""


def spans(names: Sequence[str]) -> list[tuple[str, int, int, int]]:
    """Where each part of a form begins, where its value does, and where that ends."""
    found, at = [], 0
    for name in names:
        value = at + PARTS[name].index(b"\r\n\r\n") + 4
        found.append((name, at, value, at + len(PARTS[name]) - 2))
        at += len(PARTS[name])
    return found


@settings(max_examples=150, deadline=None)
@given(names=st.permutations(NAMES), places=st.lists(st.integers(0, 5_000), max_size=20))
def test_never_the_end_and_nothing_but_pictures(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], places: list[int]
) -> None:
    body = form(*(PARTS[name] for name in names))
    spool = Spool(tmp_path_factory.mktemp("spool"))
    kept, runner, asked = SpooledBody(spool), Runner(), list[tuple[Form, int]]()

    def ask(draft: Form) -> Runner:
        asked.append((draft, kept.length))
        return runner

    scout, reader = Scout(kept, len(body), 1, ask), FormReader(BOUNDARY)
    for piece in cut(body, places):
        kept.append(piece)
        assert reader.feed(piece) is None
        scout.look(reader)
        assert not runner.reaches or runner.reaches[-1] <= kept.length
    assert len(asked) <= 1
    spool.close()
    if not asked:
        assert runner.reaches == []
        return
    assert runner.reaches == sorted(runner.reaches)
    assert f"--{BOUNDARY}--".encode() not in body[: runner.reaches[-1]]
    draft, seen = asked[0]
    places_of = spans(names)
    before = [name for name, _, _, end in places_of if end + 2 + len(BOUNDARY) < seen]
    assert "model" in before
    assert len(draft.images) >= 1
    for name, begin, _, _ in places_of:
        if begin >= seen and name not in ("image", "mask"):
            assert runner.reaches[-1] <= begin  # it and whatever follows it wait for the end
            break


def test_without_enough_to_come_nobody_is_asked(tmp_path: Path) -> None:
    body = form(PARTS["model"], PARTS["image"])
    spool = Spool(tmp_path)
    kept, reader = SpooledBody(spool), FormReader(BOUNDARY)

    def never(_draft: Form) -> None:
        raise AssertionError("nobody is to be asked")

    scout = Scout(kept, len(body), 400, never)
    for piece in (body[:-300], body[-300:]):
        kept.append(piece)
        assert reader.feed(piece) is None
        scout.look(reader)
    assert scout.ahead is None
    spool.close()


def test_a_prompt_that_is_still_to_come_is_taken_for_there(tmp_path: Path) -> None:
    body = form(PARTS["model"], PARTS["image"], PARTS["prompt"])
    spool = Spool(tmp_path)
    kept, reader, asked = SpooledBody(spool), FormReader(BOUNDARY), list[Form]()

    def ask(draft: Form) -> None:
        asked.append(draft)

    scout = Scout(kept, len(body), 1, ask)
    for piece in (body[:400], body[400:]):
        kept.append(piece)
        assert reader.feed(piece) is None
        scout.look(reader)
    [draft] = asked
    assert set(draft.texts) == {"model", "prompt"}
    assert reader.finish() != draft
    spool.close()
