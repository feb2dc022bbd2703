"""The measuring script measures: small counts, so that it cannot rot unseen. Its figures are nobody's proof here."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench.house import big, small, waiting
from bench.process import canned_upstream, served

pytestmark = pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="reads /proc, which is Linux")
ROOT = Path(__file__).parents[1]


async def test_every_figure_is_found(tmp_path: Path) -> None:
    with canned_upstream(hold_s=1.0) as upstream, served(upstream, tmp_path) as gateway:
        figures = [
            *await small(gateway, connections=2, times=20),
            *await big(gateway, times=1),
            *await waiting(gateway, upstream, count=20),
        ]
    assert [figure.ceiling for figure in figures] == [1.5, None, 60.0, None, 20.0, 60.0]
    assert all(figure.value > 0 for figure in figures if figure.unit != "kB each")


def test_it_says_how_to_use_it() -> None:
    done = subprocess.run([sys.executable, "-m", "bench.house", "--help"], cwd=ROOT, capture_output=True, check=True)
    assert b"--quick" in done.stdout
    assert b"--json" in done.stdout


def test_the_documented_figures_name_every_ceiling() -> None:
    page = (ROOT / "docs" / "performance.md").read_text("utf-8")
    assert "python -m bench.house" in page
    for ceiling in ("1.5 ms", "60 ms", "20 ms", "60 kB"):
        assert ceiling in page


def test_the_loop_is_watched() -> None:
    words = [sys.executable, "-m", "bench.blocks", "--seconds", "2", "--only", "small,upload"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.startswith("longest turn "), done.stderr
    assert " 0 beats" not in done.stdout
