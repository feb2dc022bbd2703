"""Contracts: the catalog's, and the one that a row of the routes file means.

A row without ``contract`` has the catalog's contract named like its model, else like the row, else ``open``. Fields of
a row replace whole fields of the contract it extends. The catalog is part of the program: a mistake in it (a contract
that extends itself, a field without a source) raises ``CatalogBroken``.
"""

from collections.abc import Iterator, Mapping

from msgspec import Struct
from msgspec.structs import replace

from gateway.config.catalog import CatalogBroken, read_file, shipped
from gateway.config.contract_blocks import (
    CatalogContract,
    ContractBlock,
    ContractFields,
    ContractsFile,
    InputsBlock,
    LegacyFile,
    OverlayBlock,
    SizeBlock,
    SpanBlock,
)
from gateway.config.mistake import START, KeyPath, Mistake, in_file, mistake, nearest, quoted, suggestion
from gateway.config.nodes import Block, Entry, block_at, shown, word
from gateway.core.legacy import Legacy
from gateway.core.terms import OPEN, OPEN_CONTRACT, Contract, Grid, Inputs, Overlay, Sizes, Span
from gateway.core.tokens import TokenTable

_WORDS = ("quality", "background", "output_format", "moderation", "complexity", "input_fidelity")
_NO_SURFACES = (
    "is missing: name the surfaces, such as [images/generations, images/edits];"
    " only a contract other than open tells them"
)
_OF_THE_CATALOG = frozenset({"extends", "source"})


class Contracts(Struct, frozen=True, kw_only=True):
    """The catalog: contracts by name, and the name behind each other word for a model."""

    by_name: Mapping[str, Contract]
    aliases: Mapping[str, str]

    def named(self, word: str) -> Contract | None:
        """Give the contract of a name, or of another word for the same model."""
        return self.by_name.get(self.aliases.get(word, word))

    def of_row(self, row: str, model: str | None, block: ContractBlock | None) -> Contract | None:
        """Give the contract that a row means; ``None`` when it names one that does not exist."""
        if block is None or block.extends is None:
            under = (self.named(model) if model is not None else None) or self.named(row) or OPEN_CONTRACT
        else:
            found = self.named(block.extends)
            if found is None:
                return None
            under = found
        return under if block is None else _named(replace(applied(block, under), mode=block.mode), block)


def contracts(tables: Mapping[str, TokenTable]) -> Contracts:
    """Read the shipped ``contracts.yaml``; ``tables`` are the catalog's token tables. Raises ``CatalogBroken``."""
    return read_contracts(shipped("contracts.yaml"), "contracts.yaml", tables)


def legacy() -> Legacy:
    """Read the shipped ``legacy.yaml``. Raises ``CatalogBroken``."""
    return read_legacy(shipped("legacy.yaml"), "legacy.yaml")


def read_contracts(data: bytes, name: str, tables: Mapping[str, TokenTable]) -> Contracts:
    """Read a contracts file. Raises ``CatalogBroken``."""
    file = read_file(data, name, ContractsFile)
    mistakes = [*_loose(file), *_sourceless(file), *_tableless(file, tables)]
    if mistakes:
        raise CatalogBroken(in_file(mistakes, name))
    by_name: dict[str, Contract] = {}
    for one in file.contracts:
        _resolve(one, file, tables, by_name)
    aliases = {alias: one for one, block in file.contracts.items() for alias in block.names}
    return Contracts(by_name=by_name, aliases=aliases)


def read_legacy(data: bytes, name: str) -> Legacy:
    """Read a legacy file. Raises ``CatalogBroken``."""
    file = read_file(data, name, LegacyFile)
    return Legacy(
        models={dead: tuple(after) for dead, after in file.models.items()},
        values={param: dict(words) for param, words in file.values.items()},
        results={dead: form.value for dead, form in file.results.items()},
    )


def applied(block: ContractFields, under: Contract) -> Contract:
    """Give ``under`` with each field that the block states in the place of its own."""
    told = {name: words for name in _WORDS if (words := _tuple(getattr(block, name))) is not None}
    transparent, compressed = _tuple(block.transparent_formats), _tuple(block.compressed_formats)
    return replace(
        under,
        size=_sizes(block.size) or under.size,
        words={**under.words, **told},
        transparent_formats=under.transparent_formats if transparent is None else transparent,
        compressed_formats=under.compressed_formats if compressed is None else compressed,
        default_format=block.default_format or under.default_format,
        prompt_chars=block.prompt_chars or under.prompt_chars,
        n=_span(block.n) or under.n,
        partial_images=_span(block.partial_images) or under.partial_images,
        frame_count=_span(block.frame_count) or under.frame_count,
        frame_duration_ms=_span(block.frame_duration_ms) or under.frame_duration_ms,
        excludes=under.excludes
        if block.excludes is None
        else {form: frozenset(names) for form, names in block.excludes.items()},
        inputs=_inputs(block.inputs) or under.inputs,
        mask=_overlay(block.mask) or under.mask,
        markup=_overlay(block.markup) or under.markup,
        refuses=under.refuses if block.refuses is None else frozenset(block.refuses),
        drops=under.drops if block.drops is None else frozenset(block.drops),
        unknown=block.unknown_parameters or under.unknown,
        retired_on=block.retired_on or under.retired_on,
    )


def _named(contract: Contract, block: ContractBlock) -> Contract:
    """Give a contract that is ``open`` but for fields of its own a name that is not ``open``."""
    has_fields = bool(block.model_fields_set - {"extends", "mode"})
    return replace(contract, name="inline") if contract.is_open and has_fields else contract


def check(root: Block, catalog: Contracts) -> Iterator[Mistake]:
    """Find the rows that name no contract, and those whose contract cannot say what they serve."""
    channels = block_at(root.get("channels"))
    for channel, entry in {} if channels is None else channels.entries.items():
        rows = block_at(entry.node.get("rows")) if isinstance(entry.node, Block) else None
        for row, held in {} if rows is None else rows.entries.items():
            if isinstance(held.node, Block):
                yield from _row(row, held, held.node, ("channels", channel, "rows", row), catalog)


def _row(row: str, entry: Entry, node: Block, path: KeyPath, catalog: Contracts) -> Iterator[Mistake]:
    given = node.get("contract")
    named = block_at(given)
    at = given if named is None else named.get("extends")
    text, model = word(at), word(node.get("model"))
    found = catalog.named(text) if text is not None else catalog.of_row(row, model, None)
    if found is None and text is not None and at is not None:
        near = suggestion(text, catalog.by_name)
        where = path if named is None else (*path, "contract")
        key = "contract" if named is None else "extends"
        yield mistake(at.mark, (*where, key), f"there is no contract {shown(at, text)}{near}")
    elif found is not None and not found.surfaces and node.get("serves") is None and "serves" not in _misspelt(node):
        yield mistake(entry.mark, (*path, "serves"), _NO_SURFACES)


def _misspelt(node: Block) -> set[str | None]:
    """Give the keys that other keys of a row were probably meant to be."""
    known = ("model", "serves", "contract", "price")
    return {nearest(name, known) for name in node.entries if name not in known}


def _loose(file: ContractsFile) -> list[Mistake]:
    """Find contracts that extend nothing that is there, or themselves."""
    found: list[Mistake] = []
    for name, block in file.contracts.items():
        path: KeyPath = ("contracts", name, "extends")
        if block.extends is not None and block.extends not in file.contracts:
            near = suggestion(block.extends, file.contracts)
            found.append(mistake(START, path, f"there is no contract {quoted(block.extends)}{near}"))
        elif name in _ancestors(name, file):
            found.append(mistake(START, path, "a contract cannot extend itself"))
    return found


def _ancestors(name: str, file: ContractsFile) -> list[str]:
    """Give what a contract extends, and what that extends; it ends where it would begin again."""
    found: list[str] = []
    block: CatalogContract | None = file.contracts[name]
    while block is not None and block.extends is not None and block.extends not in found:
        found.append(block.extends)
        block = file.contracts.get(block.extends)
    return found


def _sourceless(file: ContractsFile) -> list[Mistake]:
    found: list[Mistake] = []
    for name, block in file.contracts.items():
        path: KeyPath = ("contracts", name, "source")
        stated = [field for field in sorted(block.model_fields_set - _OF_THE_CATALOG) if getattr(block, field)]
        bare = [field for field in stated if not block.source.get(field)]
        found += [mistake(START, (*path, field), "is missing: where is this figure from?") for field in bare]
        for field, tags in block.source.items():
            unknown = [tag for tag in tags if tag not in file.sources]
            found += [mistake(START, (*path, field), f"there is no source {quoted(tag)}") for tag in unknown]
    return found


def _tableless(file: ContractsFile, tables: Mapping[str, TokenTable]) -> list[Mistake]:
    return [
        mistake(START, ("contracts", name, "token_table"), f"there is no token table {quoted(block.token_table)}")
        for name, block in file.contracts.items()
        if block.token_table is not None and block.token_table not in tables
    ]


def _resolve(name: str, file: ContractsFile, tables: Mapping[str, TokenTable], done: dict[str, Contract]) -> Contract:
    if name not in done:
        block = file.contracts[name]
        under = Contract(name=name) if block.extends is None else _resolve(block.extends, file, tables, done)
        own = replace(
            applied(block, under),
            name=name,
            surfaces=frozenset(block.surfaces) or under.surfaces,
            tokens=under.tokens if block.token_table is None else tables[block.token_table],
        )
        done[name] = OPEN_CONTRACT if name == OPEN else own
    return done[name]


def _tuple(words: list[str] | None) -> tuple[str, ...] | None:
    return None if words is None else tuple(words)


def _sizes(block: SizeBlock | None) -> Sizes | None:
    if block is None:
        return None
    grid = block.grid
    return Sizes(
        words=tuple(block.words),
        grid=None
        if grid is None
        else Grid(
            multiple=grid.multiple,
            max_edge=grid.max_edge,
            max_ratio=grid.max_ratio,
            min_pixels=grid.min_pixels,
            max_pixels=grid.max_pixels,
        ),
    )


def _span(block: SpanBlock | None) -> Span | None:
    return None if block is None else Span(lowest=block.lowest, highest=block.highest)


def _inputs(block: InputsBlock | None) -> Inputs | None:
    if block is None:
        return None
    return Inputs(count=block.count, formats=tuple(block.formats), max_bytes=block.max_bytes)


def _overlay(block: OverlayBlock | None) -> Overlay | None:
    return None if block is None else Overlay(max_bytes=block.max_bytes)
