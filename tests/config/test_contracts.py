# ruff: noqa: E501  # a case a line: the file reads as a table
from datetime import date
from pathlib import Path

import pytest

from gateway.config.catalog import CatalogBroken
from gateway.config.contract_blocks import ContractBlock
from gateway.config.contracts import contracts, legacy, read_contracts, read_legacy
from gateway.config.prices import prices
from gateway.core.table import Row
from gateway.core.terms import Mode, Sizes, Span, Unknown
from gateway.core.types import Surface
from tests.config.files import GOOD, good, lines, with_route, with_row

SAMPLE = b"""\
as_of: 2026-11-20
sources: {page: a page}
contracts:
  open: {}
  first:
    surfaces: [images/generations]
    size: {words: [auto, 1024x1024]}
    quality: [low]
    n: {lowest: 1, highest: 4}
    retired_on: 2026-12-01
    source: {surfaces: [page], size: [page], quality: [page], n: [page], retired_on: [page]}
  second:
    extends: first
    names: [second-2026-01-01]
    quality: [low, high]
    drops: [style]
    source: {names: [page], quality: [page], drops: [page]}
"""


def test_a_contract_has_all_of_the_one_it_extends_but_what_it_replaces() -> None:
    read = read_contracts(SAMPLE, "sample.yaml", {})
    second = read.named("second-2026-01-01")
    assert second is not None
    assert second.name == "second"
    assert second.surfaces == {Surface.GENERATIONS}
    assert second.size == Sizes(words=("auto", "1024x1024"))
    assert second.words == {"quality": ("low", "high")}
    assert second.n == Span(lowest=1, highest=4)
    assert second.drops == {"style"}
    assert second.retired_on == date(2026, 12, 1)
    assert read.named("third") is None


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (b"extends: first", b"extends: second", "contracts.second.extends: a contract cannot extend itself"),
        (b"extends: first", b"extends: frist", "contracts.second.extends: there is no contract 'frist'; did you mean 'first'?"),
        (b"{words: [auto, 1024x1024]}", b"{words: [auto, 1024x]}", "contracts.first.size.words[1]: must be auto or a size, written like 1024x1024"),
        (b"lowest: 1", b"lowest: 5", "contracts.first.n: lowest must not be more than highest"),
        (b"retired_on: 2026-12-01", b"retired_on: soon", "contracts.first.retired_on: must be a day, written like 2026-12-01"),
        (b"retired_on: 2026-12-01", b"retired_on: 2026-13-01", "contracts.first.retired_on: is no day of the calendar"),
        (b"quality: [low]\n", b"quality: ['l w']\n", "contracts.first.quality[0]: must be a word"),
        (b"drops: [style]", b"drops: [stile]", "contracts.second.drops[0]: 'stile' is not known here; did you mean 'style'?"),
        (b"quality: [page], drops", b"drops", "contracts.second.source.quality: is missing: where is this figure from?"),
        (b"source: {names: [page]", b"source: {names: [pag]", "contracts.second.source.names: there is no source 'pag'"),
        (b"as_of: 2026-11-20\n", b"", "as_of: is missing"),
        (b"names: [sec", b"token_table: t\n    names: [sec", "contracts.second.token_table: there is no token table 't'"),
    ],
)  # fmt: skip
def test_a_broken_catalog_raises(old: bytes, new: bytes, expected: str) -> None:
    with pytest.raises(CatalogBroken) as broken:
        read_contracts(SAMPLE.replace(old, new, 1), "sample.yaml", {})
    assert expected in str(broken.value)


def test_two_contracts_that_extend_each_other_extend_themselves() -> None:
    looped = SAMPLE.replace(
        b"    surfaces: [images/generations]\n", b"    extends: second\n    surfaces: [images/generations]\n"
    )
    with pytest.raises(CatalogBroken) as broken:
        read_contracts(looped, "sample.yaml", {})
    assert len(broken.value.mistakes) == 2


def test_a_contract_that_extends_a_loop_is_not_the_one_at_fault() -> None:
    looped = SAMPLE.replace(b"extends: first", b"extends: second") + b"  third: {extends: second}\n"
    with pytest.raises(CatalogBroken) as broken:
        read_contracts(looped, "sample.yaml", {})
    assert [one.path for one in broken.value.mistakes] == ["contracts.second.extends"]


@pytest.mark.parametrize(
    ("row", "model", "name"),
    [
        ("gpt-image-2", None, "gpt-image-2"),
        ("gpt-image-2", "gpt-image-2-2026-04-21", "gpt-image-2"),
        ("pic", "gpt-image-1.5", "gpt-image-1.5"),
        ("gpt-image-2", "relay-77", "gpt-image-2"),
        ("gpt-5.5", None, "open"),
        ("pic", "pic-A", "open"),
    ],
)
def test_a_row_without_a_contract_has_the_one_named_like_its_model_or_itself(
    row: str, model: str | None, name: str
) -> None:
    found = contracts(prices().tables).of_row(row, model, None)
    assert found is not None
    assert found.name == name


def test_a_row_names_a_contract_or_extends_one() -> None:
    catalog = contracts(prices().tables)
    named = catalog.of_row("pic", None, ContractBlock.model_validate("gpt-image-1.5"))
    assert named == catalog.named("gpt-image-1.5")
    block = ContractBlock.model_validate(
        {
            "extends": "gpt-image-2",
            "mode": "advise",
            "background": ["auto", "opaque", "transparent"],
            "unknown_parameters": "refuse",
            "refuses": [],
        }
    )
    extended = catalog.of_row("pic", None, block)
    assert extended is not None
    assert (extended.name, extended.mode, extended.unknown) == ("gpt-image-2", Mode.ADVISE, Unknown.REFUSE)
    assert "transparent" in extended.words["background"]
    assert extended.words["quality"] == ("auto", "low", "medium", "high")
    assert extended.refuses == frozenset()
    assert catalog.of_row("pic", None, ContractBlock.model_validate("gpt-image-9")) is None


def test_fields_without_a_name_extend_what_the_row_would_have_had() -> None:
    catalog = contracts(prices().tables)
    own = catalog.of_row("gpt-image-2", None, ContractBlock.model_validate({"mode": "advise"}))
    assert own is not None
    assert (own.name, own.mode) == ("gpt-image-2", Mode.ADVISE)
    nameless = catalog.of_row("pic", None, ContractBlock.model_validate({"n": {"lowest": 1, "highest": 1}}))
    assert nameless is not None
    assert (nameless.name, nameless.is_open) == ("inline", False)
    still_open = catalog.of_row("pic", None, ContractBlock.model_validate({"extends": "open", "mode": "advise"}))
    assert still_open is not None
    assert still_open.is_open


BARE = GOOD.replace(", serves: [images/generations, images/edits]}\n  sand", "}\n  sand")
ROW = "channels.direct.rows.gpt-image-2"


def row_of(path: Path, text: str) -> Row:
    return good(path, text).table.channels["direct"].rows["gpt-image-2"]


def test_a_row_without_surfaces_has_those_of_its_contract(tmp_path: Path) -> None:
    row = row_of(tmp_path, BARE)
    assert row.serves == {Surface.GENERATIONS, Surface.EDITS}
    assert row.contract.name == "gpt-image-2"
    assert good(tmp_path, f"{BARE}    default_for: [images/edits]\n").table.default_route(Surface.EDITS) is not None


def test_a_row_chooses_its_contract_and_a_route_what_it_cannot_bear(tmp_path: Path) -> None:
    assert row_of(tmp_path, with_row("contract: open")).contract.is_open
    text = with_row("contract: {extends: gpt-image-1.5, mode: advise, quality: [low], drops: []}")
    contract = row_of(tmp_path, text).contract
    assert (contract.name, contract.mode, contract.drops) == ("gpt-image-1.5", Mode.ADVISE, frozenset())
    assert contract.words["quality"] == ("low",)
    route = good(tmp_path, with_route("result: {size_mismatch: fail, alpha_missing: warn}")).table.routes["gpt-image-2"]
    assert route.intolerable == {"size_mismatch"}


def test_the_sandbox_has_no_tokens_to_count_and_no_last_day(tmp_path: Path) -> None:
    loaded = good(tmp_path, GOOD.replace("gpt-image-2", "gpt-image-1.5"))
    direct, sandbox = (loaded.table.channels[name].rows["gpt-image-1.5"].contract for name in ("direct", "sandbox"))
    assert direct.tokens is not None
    assert direct.retired_on == date(2026, 12, 1)
    assert (sandbox.name, sandbox.tokens, sandbox.retired_on) == ("gpt-image-1.5", None, None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (with_row("contract: gpt-image-3"), f"{ROW}.contract: there is no contract 'gpt-image-3'; did you mean 'gpt-image-2'?"),
        (with_row("contract: {extends: gpt-image-3, n: {lowest: 1, highest: 1}}"), f"{ROW}.contract.extends: there is no contract 'gpt-image-3'; did you mean 'gpt-image-2'?"),
        (with_row("contract: {qualities: [low]}"), f"{ROW}.contract.qualities: is not a key here; did you mean 'quality'?"),
        (with_row("contract: {mode: warn}"), f"{ROW}.contract.mode: 'warn' is not known here: use enforce or advise"),
        (with_row("contract: [open]"), f"{ROW}.contract: must be a contract's name, or {{extends: NAME, FIELD: VALUE}}"),
        (with_row("contract: {n: 4}"), f"{ROW}.contract.n: must be a block of keys"),
        (with_row("contract: {mask: {max_bytes: 4}}"), f"{ROW}.contract.mask.max_bytes: needs a unit"),
        (with_row("contract: {retired_on: soon}"), f"{ROW}.contract.retired_on: must be a day, written like 2026-12-01"),
        (BARE.replace("model: gpt-image-2-2026-04-21", "contract: open"), f"{ROW}.serves: is missing: name the surfaces, such as [images/generations, images/edits]; only a contract other than open tells them"),
        (with_route("result: {size_mismatch: stop}"), "routes.gpt-image-2.result.size_mismatch: 'stop' is not known here: use warn or fail"),
        (with_route("result: {sise_mismatch: fail}"), "routes.gpt-image-2.result.sise_mismatch: is not a key here; did you mean 'size_mismatch'?"),
    ],
)  # fmt: skip
def test_mistakes_in_contracts_have_their_place(tmp_path: Path, text: str, expected: str) -> None:
    (line,) = lines(tmp_path, text)
    assert expected in line


def test_the_shipped_contracts_are_those_of_the_documentation() -> None:
    assert set(contracts(prices().tables).by_name) >= {
        "open",
        "gpt-image-1.5",
        "gpt-image-1-mini",
        "chatgpt-image-latest",
        "gpt-image-2",
        "gpt-image-2.5-sunburst",
        "gpt-image-2.5-flare",
        "gpt-image-2.6-sunburst",
        "gpt-image-2.6-flare",
        "gemini-3-pro-image",
        "grok-imagine-image",
    }


def test_the_shipped_legacy_names_are_read() -> None:
    assert legacy().values["quality"] == {"standard": "medium", "hd": "high"}
    assert {"dall-e-2", "dall-e-3", "gpt-image-1"} == set(legacy().models)
    assert legacy().results == {"dall-e-2": "url", "dall-e-3": "url"}


def test_a_broken_legacy_file_raises() -> None:
    with pytest.raises(CatalogBroken):
        read_legacy(b"as_of: 2026-11-20\nsources: [x]\nmodels: {}\nvalues: {n: {a: b}}\n", "legacy.yaml")
