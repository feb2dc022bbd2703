"""A routes file -> ``Loaded``, or every mistake in it at once.

Order: bytes -> tree -> what is not built is refused -> variables -> model -> references. Each stage adds its mistakes
and the next goes on with what is left, so that one run shows all of them. Never raises for anything a file, the
environment or the disk can hold.
"""

import hashlib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace
from pydantic import ValidationError

from gateway.config import (
    build,
    catalog,
    contracts,
    crossing,
    faults,
    prices,
    rules,
    source,
    stores,
    unbuilt,
    variables,
)
from gateway.config.contracts import Contracts
from gateway.config.mistake import MAX_MISTAKES, START, WHOLE_FILE, Mistake, in_file, mistake
from gateway.config.model import RoutesFile
from gateway.config.nodes import Block, plain
from gateway.config.prices import Prices
from gateway.core.table import AssetSettings, RouteTable, Settings


class Loaded(Struct, frozen=True, kw_only=True):
    """A good file: its settings, its table, where it was read from, and the SHA-256 of its bytes.

    ``warnings``: what is no mistake and cannot have been meant, in the form of mistakes.
    """

    settings: Settings
    table: RouteTable
    path: Path
    checksum: str = ""
    warnings: tuple[Mistake, ...] = ()


def find_routes(explicit: Path | None) -> Path:
    """Give the file to read: the one asked for, else ``./routes.yaml``, else the one shipped in the package."""
    if explicit is not None:
        return explicit
    local = Path("routes.yaml")
    return local if local.is_file() else Path(str(files("gateway").joinpath("catalog", "routes.yaml")))


def load(path: Path, *, env: Mapping[str, str], data_dir: Path, sandbox_allowed: bool) -> Loaded | list[Mistake]:
    """Read a routes file.

    ``env`` gives the variables; relative storage paths lie under ``data_dir``; ``sandbox_allowed``: the server binds
    loopback or was started with ``--sandbox``. The table's version is a short SHA-256 of the file's bytes.
    """
    try:
        with path.open("rb") as handle:
            data = handle.read(source.MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "not a path"
        return in_file([mistake(START, (), f"cannot be read: {why}")], str(path))
    priced = prices.prices()
    known = contracts.contracts(priced.tables)
    read = _read(data, env, known, priced)
    if isinstance(read, list):
        return _shortened(in_file(read, str(path)))
    kept = _assets(read.file, data_dir, env)
    if isinstance(kept, Mistake):
        return in_file([kept], str(path))
    shipped = build.Shipped(
        patience=catalog.patience(),
        codes=catalog.failure_codes(),
        contracts=known,
        legacy=contracts.legacy(),
        prices=priced,
    )
    checksum = hashlib.sha256(data).hexdigest()
    table = build.table(read.file, read.root, shipped, version=checksum[:12], sandbox_allowed=sandbox_allowed)
    return Loaded(
        settings=build.settings(read.file, data_dir, kept),
        table=table,
        path=path,
        checksum=checksum,
        warnings=tuple(in_file(rules.doubts(read.root, table), str(path))),
    )


class _Read(Struct, frozen=True, kw_only=True):
    file: RoutesFile
    root: Block


def _read(data: bytes, env: Mapping[str, str], known: Contracts, priced: Prices) -> _Read | list[Mistake]:
    parsed = source.parse(data)
    found: list[Mistake] = list(parsed.mistakes)
    if parsed.root is None:
        return found
    before = unbuilt.refuse(parsed.root)
    filled = variables.fill(before.root, env)
    after = unbuilt.refuse(filled.root)  # a variable may hold a word that is refused
    found += [*before.mistakes, *filled.mistakes, *after.mistakes, *crossing.check(after.root)]
    found += [*contracts.check(after.root, known), *priced.check(after.root)]
    try:
        file = RoutesFile.model_validate(plain(after.root))
    except ValidationError as error:
        return [*found, *faults.explain(error, after.root, RoutesFile)]
    return found or _Read(file=file, root=after.root)


def _assets(file: RoutesFile, data_dir: Path, env: Mapping[str, str]) -> AssetSettings | Mistake:
    kept = file.storage
    try:
        return stores.settings(kept.assets, data_dir, env, ttl_s=kept.asset_ttl, most_bytes=kept.asset_max)
    except ValueError as error:
        return mistake(START, ("storage", "assets"), str(error))


def _shortened(mistakes: list[Mistake]) -> list[Mistake]:
    if len(mistakes) <= MAX_MISTAKES:
        return mistakes
    last = mistakes[MAX_MISTAKES - 1]
    return [*mistakes[:MAX_MISTAKES], replace(last, path=WHOLE_FILE, message="and more mistakes besides these")]
