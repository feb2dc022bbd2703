"""kill -9 at the twelve named points, and an audit at each next start; 25 rounds are ``tests/crash/rounds.py``."""

import ast
from pathlib import Path

import gateway
from tests.cli.program import Program
from tests.crash.doomed import POINTS
from tests.crash.rounds import run
from tests.servers.postgres import Postgres

ROUNDS = 2
SAMPLE_S = 25.0
LEAST = 4
FIRST = ("mid settle", "before hold commit", "hold, unsent", "mid body", "settled, unanswered", "sent")
ON_A_SERVER = (*FIRST, *(point for point in POINTS if point not in FIRST))


async def test_killed_at_every_point_the_books_agree_with_the_upstream(tmp_path: Path) -> None:
    house = await run(tmp_path / "house", list(POINTS) * ROUNDS)
    assert house.kills == dict.fromkeys(POINTS, ROUNDS)
    assert len(POINTS) == 12


async def test_killed_with_the_ledger_on_a_server_the_books_agree_too(tmp_path: Path, postgres: Postgres) -> None:
    """As many of the points as there is time for, those in transactions first."""
    house = await run(tmp_path / "house", ON_A_SERVER, postgres.new_database(), SAMPLE_S)
    assert house.kills.total() >= LEAST
    assert set(ON_A_SERVER) == set(POINTS)


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
