"""The README's commands and programs, run as they stand there against a real server with no account."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.program import REPOSITORY, Program
from tests.cli.test_serve import serving
from tests.sdk.install import install

NODE = REPOSITORY / "tests" / "sdk" / "node"
WRITTEN_URL = "http://127.0.0.1:8484"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ENDLESS = re.compile(r"^waybill logs .*--follow.*$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """A directory with a server at hand, ``waybill`` on the path, and nothing else."""

    directory: Path
    env: Mapping[str, str]

    def run(self, *command: str) -> str:
        done = subprocess.run(
            command,
            cwd=self.directory,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def write(self, name: str, text: str) -> None:
        (self.directory / name).write_text(text.replace(WRITTEN_URL, self.env["WAYBILL_URL"]), "utf-8")

    def picture(self) -> bytes:
        return (self.directory / "lighthouse.png").read_bytes()


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    directory = tmp_path_factory.mktemp("desk")
    shim = directory / "bin" / "waybill"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m gateway "$@"\n', "utf-8")
    shim.chmod(0o755)
    program = Program(directory=directory)
    with serving(program) as (_, url):
        path = f"{shim.parent}:{program.environment()['PATH']}"
        yield Desk(directory=directory, env=program.environment(PATH=path, WAYBILL_URL=url, NO_PROXY="127.0.0.1"))


def examples(page: str, language: str) -> list[str]:
    text = (REPOSITORY / page).read_text("utf-8")
    return [block for written, block in FENCE.findall(text) if written == language]


@pytest.mark.parametrize("page", ["README.md", "docs/sandbox.md"])
def test_the_shell_examples_run(desk: Desk, page: str) -> None:
    ran = [block for block in examples(page, "sh") if re.search(r"^(?:#.*\n)*(?:curl|waybill) ", block)]
    assert len(ran) >= 2
    for block in ran:
        desk.write("example.sh", ENDLESS.sub("", block))
        desk.run("bash", "-euo", "pipefail", "example.sh")
    assert desk.picture().startswith(b"\x89PNG")


def test_the_python_example_runs(desk: Desk) -> None:
    (block,) = examples("README.md", "python")
    desk.write("example.py", block)
    url, drawn = desk.run(sys.executable, "example.py").splitlines()
    assert drawn == "['image_generation_call', 'message']"
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/assets/[\w-]+", url)
    assert desk.picture().startswith(b"\x89PNG")


def test_the_node_example_runs(desk: Desk) -> None:
    if not shutil.which("npm"):
        pytest.skip("npm is not installed")
    install(NODE)
    (block,) = examples("README.md", "js")
    desk.write("example.mjs", block)
    (desk.directory / "node_modules").symlink_to(NODE / "node_modules")
    assert desk.run("node", "example.mjs") == "1\n"
    assert desk.picture().startswith(b"\x89PNG")


def test_the_failure_that_is_rehearsed_is_in_the_ledger(desk: Desk) -> None:
    (block,) = [block for block in examples("README.md", "sh") if "[fail 429]" in block]
    desk.write("example.sh", block)
    answer = desk.run("bash", "example.sh")
    request_id = re.search(r"x-request-id: (req_[0-9a-f]{32})", answer)
    assert request_id is not None
    assert request_id[1] in desk.run("waybill", "logs", "--failed", "--json")
    assert "rate_limited: 429" in desk.run("waybill", "logs", "--failed")


def test_a_rehearsed_failure_does_not_reach_the_next_request(desk: Desk) -> None:
    (block,) = [block for block in examples("README.md", "sh") if "[fail 429]" in block]
    for failure in ("429", "quota", "401", "503"):
        desk.write("example.sh", block.replace("[fail 429]", f"[fail {failure}]"))
        assert "HTTP/1.1 200" not in desk.run("bash", "example.sh")
        desk.write("example.sh", block.replace(" [fail 429]", ""))
        assert "HTTP/1.1 200" in desk.run("bash", "example.sh")
