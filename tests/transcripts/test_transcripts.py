"""Every transcript of this directory, played over real sockets."""

from pathlib import Path

import pytest

from tests.transcripts.play import play, read

FILES = sorted(Path(__file__).parent.rglob("*.txt"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
async def test_transcript(file: Path, tmp_path: Path) -> None:
    await play(read(file.read_text("utf-8")), tmp_path)
