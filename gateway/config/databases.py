"""Where the ledger is and what replicas share: the forms of ``storage.database`` and ``storage.shared``.

A URL of a server may carry a password; it is meant to come from a variable, and no message repeats it.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, unquote, urlsplit

MEMORY: Final = "memory:"
DATABASE_FORM: Final[dict[str, Any]] = {"type": "string", "pattern": r"^(sqlite:///.+|postgresql://.+)$|\$\{.*\}"}
SHARED_FORM: Final[dict[str, Any]] = {
    "type": "string",
    "pattern": r"^(memory:|redis://.+|rediss://.+|unix://.+)$|\$\{.*\}",
}

_SQLITE: Final = "sqlite:///"
_POSTGRES: Final = "postgresql"
_REDIS: Final = frozenset({"redis", "rediss"})
_NUMBER: Final = re.compile(r"/[0-9]{1,5}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseFile:
    """A SQLite file, relative to the data directory unless its path is absolute."""

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server, as its URL says; of ``storage.shared`` absent (empty): this process alone."""

    url: str


def database(value: object) -> DatabaseFile | Server:
    """Read ``storage.database``. Raises ``ValueError`` with what is wrong, as pydantic wants it."""
    if isinstance(value, str) and value.startswith(_SQLITE):
        return _file(value)
    if isinstance(value, str) and value.startswith(f"{_POSTGRES}://"):
        return _postgres(value)
    raise ValueError("must be sqlite:///waybill.db or postgresql://USER:PASSWORD@HOST/NAME")


def shared(value: object) -> Server:
    """Read ``storage.shared``. Raises ``ValueError`` with what is wrong, as pydantic wants it."""
    if value == MEMORY:
        return Server(url="")
    found = _parts(value)
    if found is not None and found.scheme in _REDIS and found.hostname:
        if found.path not in {"", "/"} and not _NUMBER.fullmatch(found.path):
            raise ValueError("must name a database of the server by its number, as redis://HOST:6379/0 does")
        return Server(url=str(value))
    if found is not None and found.scheme == "unix" and not found.hostname and len(found.path) > 1:
        return Server(url=str(value))
    raise ValueError("must be memory: or redis://USER:PASSWORD@HOST:PORT/NUMBER (rediss:// with TLS, unix:///SOCKET)")


def database_url(where: DatabaseFile | Server, data_dir: Path) -> str:
    """Give the URL that opens it."""
    if isinstance(where, Server):
        return where.url
    path = str(data_dir.absolute() / where.path)
    return _SQLITE + path.replace("%", "%25").replace("?", "%3F")


def _file(value: str) -> DatabaseFile:
    path = unquote(value.removeprefix(_SQLITE))
    if (
        not path
        or path.endswith("/")
        or path.startswith(":")
        or "?" in value
        or "\ufffd" in path
        or not path.isprintable()
    ):
        raise ValueError(f"must name a file, as {_SQLITE}waybill.db does, without a query")
    return DatabaseFile(path=path)


def _postgres(value: str) -> Server:
    found = _parts(value)
    name = "" if found is None else found.path.strip("/")
    if found is None or found.fragment or not name or "/" in name:
        raise ValueError("must name a database of the server, as postgresql://USER:PASSWORD@HOST/NAME does")
    if not found.hostname and "host=" not in found.query:
        raise ValueError("must name the server, as postgresql://USER:PASSWORD@HOST/NAME does")
    return Server(url=value)


def _parts(value: object) -> SplitResult | None:
    """Split a URL; ``None``: it is none."""
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or " " in value:
        return None
    try:
        found = urlsplit(value)
        _ = found.port
    except ValueError:
        return None
    return found
