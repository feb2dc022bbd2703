"""A small good routes file, and short ways to load a text and to see its mistakes."""

from collections.abc import Mapping
from pathlib import Path

from gateway.config import Loaded, load

GOOD = """\
version: 1
channels:
  direct:
    owner: openai
    kind: direct
    base_url: https://api.example.com/v1
    api_key: ${DIRECT_KEY}
    rows:
      gpt-image-2: {model: gpt-image-2-2026-04-21, serves: [images/generations, images/edits]}
  sandbox:
    owner: sandbox
    kind: sandbox
    rows:
      gpt-image-2: {serves: [images/generations, images/edits]}
routes:
  gpt-image-2:
    targets: [direct, sandbox]
"""

KEYED: Mapping[str, str] = {"DIRECT_KEY": "sk-direct"}


def good(path: Path, text: str, env: Mapping[str, str] = KEYED, *, sandbox_allowed: bool = True) -> Loaded:
    """Load a text that must be good; ``path`` is a directory."""
    file = path / "routes.yaml"
    file.write_text(text, encoding="utf-8")
    loaded = load(file, env=env, data_dir=path, sandbox_allowed=sandbox_allowed)
    assert isinstance(loaded, Loaded), [str(one) for one in loaded]
    return loaded


def lines(path: Path, text: str | bytes, env: Mapping[str, str] = KEYED) -> list[str]:
    """Load a text and give its mistakes as lines without the directory."""
    file = path / "routes.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    loaded = load(file, env=env, data_dir=path, sandbox_allowed=True)
    return [] if isinstance(loaded, Loaded) else [str(one).removeprefix(f"{path}/") for one in loaded]


def with_channel(extra: str) -> str:
    """Give the good file with one more line in the channel ``direct``."""
    return GOOD.replace("    owner: openai\n", f"    owner: openai\n    {extra}\n")


def with_route(extra: str) -> str:
    """Give the good file with one more line at the end of its route."""
    return f"{GOOD}    {extra}\n"


def with_top(extra: str) -> str:
    """Give the good file with one more line at its end."""
    return f"{GOOD}{extra}\n"


def with_row(extra: str) -> str:
    """Give the good file with more in the direct channel's row."""
    return GOOD.replace("model: gpt-image-2-2026-04-21", f"model: gpt-image-2-2026-04-21, {extra}")
