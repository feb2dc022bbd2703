"""kill -9 at the twelve named points, and an audit at each next start; 25 rounds are ``tests/crash/rounds.py``."""

import ast
from pathlib import Path

import gateway
from tests.cli.program import Program
from tests.crash.doomed import POINTS
from tests.crash.rounds import run

ROUNDS = 2


async def test_killed_at_every_point_the_books_agree_with_the_upstream(tmp_path: Path) -> None:
    house = await run(tmp_path / "house", list(POINTS) * ROUNDS)
    assert house.kills == dict.fromkeys(POINTS, ROUNDS)
    assert len(POINTS) == 12


def test_the_program_knows_of_no_such_point(tmp_path: Path) -> None:
    for file in Path(gateway.__file__).parent.rglob("*.py"):
        tree = ast.parse(file.read_text("utf-8"))
        named = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
        modules |= {one.name for node in ast.walk(tree) if isinstance(node, ast.Import) for one in node.names}
        assert "SIGKILL" not in named, file
        assert not any(module.partition(".")[0] == "tests" for module in modules), file
    ran = Program(directory=tmp_path).run("mid settle", "1", "serve", "--port", "0")
    assert ran.code == 2
    assert ran.out == ""
