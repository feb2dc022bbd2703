"""The optional extras of the distribution: which are not installed, and how one is.

Looked up by the name of what each brings, without importing it.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

MODULES: Mapping[str, str] = MappingProxyType({"postgres": "psycopg", "redis": "redis", "s3": "obstore"})
_CLONE = Path(__file__).parents[1] / "pyproject.toml"


def is_installed(extra: str) -> bool:
    """Whether what an extra brings is there."""
    return find_spec(MODULES[extra]) is not None


def how_to_install(extra: str, clone: Path = _CLONE) -> str:
    """Give the command that installs an extra: into the environment of a clone, or else beside the package.

    ``clone``: the file that only a clone of the repository has.
    """
    return f".venv/bin/pip install -e '.[{extra}]'" if clone.is_file() else f"pip install 'waybill-gateway[{extra}]'"
