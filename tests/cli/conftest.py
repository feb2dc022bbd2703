from pathlib import Path

import pytest

from tests.cli.program import ROUTES, Program


@pytest.fixture
def bare(tmp_path: Path) -> Program:
    """The program in an empty directory."""
    return Program(directory=tmp_path)


@pytest.fixture
def program(bare: Program) -> Program:
    """The program beside a small routes file."""
    (bare.directory / "routes.yaml").write_text(ROUTES)
    return bare
