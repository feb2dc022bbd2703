"""The house style, measured: sizes, names, catch-alls, environment reads, mutable module state."""

import ast
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

import gateway

ROOT = Path(gateway.__file__).parent
FILES = sorted(path for path in ROOT.rglob("*.py") if "versions" not in path.parts)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
NESTING = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.Match)
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "manager", "base", "common", "misc"}
CATCH_ALLS = {"web/edge.py", "stores/writer.py", "stores/events.py"}
ENVIRONMENT_READERS = {"launcher.py"}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def trees() -> Iterator[tuple[str, ast.Module]]:
    for path in FILES:
        yield name_of(path), ast.parse(path.read_text("utf-8"))


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for file, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, FUNCTIONS):
                yield file, node


def depth(node: ast.AST, level: int = 0) -> int:
    deepest = level
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (*FUNCTIONS, ast.ClassDef, ast.Lambda)):
            continue
        is_elif = isinstance(node, ast.If) and isinstance(child, ast.If) and child in node.orelse
        deeper = level + (isinstance(child, NESTING) and not is_elif)
        deepest = max(deepest, depth(child, deeper))
    return deepest


def test_no_file_is_over_400_lines_and_the_median_is_at_most_170() -> None:
    lengths = {name_of(path): len(path.read_text("utf-8").splitlines()) for path in FILES}
    assert {name: lines for name, lines in lengths.items() if lines > 400} == {}
    assert statistics.median(lengths.values()) <= 170


def test_no_function_is_over_50_lines() -> None:
    long = {f"{file}:{node.name}": node.end_lineno - node.lineno + 1 for file, node in functions() if node.end_lineno}
    assert {name: lines for name, lines in long.items() if lines > 50} == {}


def test_no_function_takes_more_than_six_parameters() -> None:
    def count(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
        given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        return len([arg for arg in given if arg.arg not in {"self", "cls"}])

    limits = {f"{file}:{node.name}": count(node) for file, node in functions() if not file.startswith("cli/")}
    assert {name: n for name, n in limits.items() if n > (8 if name.startswith("main.py") else 6)} == {}


def test_no_function_nests_deeper_than_three() -> None:
    assert {f"{file}:{node.name}": depth(node) for file, node in functions() if depth(node) > 3} == {}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_modules_are_named_for_what_they_are_and_say_what_they_do(path: Path) -> None:
    assert path.stem not in FORBIDDEN_NAMES
    assert ast.get_docstring(ast.parse(path.read_text("utf-8")))


def test_everything_is_caught_at_three_named_places_only() -> None:
    found = set()
    for file, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.ExceptHandler) and (
                node.type is None
                or (isinstance(node.type, ast.Name) and node.type.id in {"Exception", "BaseException"})
            ):
                found.add(file)
    assert found <= CATCH_ALLS


def test_the_environment_is_read_in_config_and_the_launcher_only() -> None:
    readers = {
        file
        for file, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"}
    }
    assert {file for file in readers if not file.startswith("config/")} <= ENVIRONMENT_READERS


def test_no_module_imports_inside_a_function_or_declares_a_global() -> None:
    found = {
        f"{file}:{node.name}"
        for file, node in functions()
        for inner in ast.walk(node)
        if isinstance(inner, (ast.Import, ast.ImportFrom, ast.Global))
    }
    assert found == set()


def test_no_bare_task_is_started() -> None:
    found = {
        f"{file}:{node.lineno}"
        for file, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "create_task"
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id in {"asyncio", "loop"}
    }
    assert found == set()


def test_no_module_holds_mutable_state_but_constants() -> None:
    found = set()
    for file, tree in trees():
        for node in tree.body:
            if not isinstance(node, (ast.Assign, ast.AnnAssign)):
                continue
            if isinstance(node.value, (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names = {target.id for target in targets if isinstance(target, ast.Name)}
                found |= {f"{file}:{name}" for name in names if name != "__all__" and not name.isupper()}
    assert found == set()
