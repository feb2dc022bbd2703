"""The real program in a process of its own, in an empty directory, with only the environment it is given."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]

ROUTES = """\
version: 1
channels:
  openai:
    owner: openai
    kind: direct
    base_url: https://api.openai.com/v1
    api_key: ${OPENAI_API_KEY}
    rows:
      gpt-image-2: {model: gpt-image-2-2026-04-21, serves: [images/generations, images/edits]}
      gpt-5.5: {serves: [responses], price: openai/gpt-5.5}
  laozhang:
    owner: laozhang.ai
    kind: gateway
    base_url: https://api.laozhang.ai/v1
    api_key: ${LAOZHANG_API_KEY}
    rows:
      gpt-image-2: {serves: [images/generations], price: {unit: per_request, amount: 0.03}}
  sandbox:
    owner: sandbox
    kind: sandbox
    rows:
      gpt-image-2: {serves: [images/generations, images/edits], price: {unit: per_request, amount: 0}}
routes:
  gpt-image-2: {targets: [openai, laozhang, sandbox], default_for: [images/generations]}
  gpt-5.5: {targets: [openai]}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """How a run ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """Runs ``python -m gateway`` in ``directory``."""

    directory: Path
    env: Mapping[str, str] = field(default_factory=dict)

    def argv(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "gateway", *arguments]

    def environment(self, **env: str) -> dict[str, str]:
        own = {"PYTHONPATH": str(REPOSITORY), "PATH": os.environ["PATH"], "HOME": str(self.directory)}
        return {**own, **self.env, **env}

    def run(self, *arguments: str, stdin: str = "", **env: str) -> Ran:
        done = subprocess.run(
            self.argv(*arguments),
            cwd=self.directory,
            env=self.environment(**env),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Ran(code=done.returncode, out=done.stdout, err=done.stderr)
