"""The catalog of prices, and prices written out in a row."""

from fractions import Fraction
from pathlib import Path

import pytest
from pydantic import ValidationError

from gateway.config import Loaded, load
from gateway.config.catalog import CatalogBroken, shipped
from gateway.config.price_blocks import PriceBlock
from gateway.config.prices import Prices, prices, read_prices
from gateway.core.prices import ImagePrice, Item, MatrixPrice, Price, PriceUnit, ReportedPrice, RequestPrice, TokenPrice
from gateway.core.types import JsonObject, JsonValue
from tests.config.files import good, lines, with_row
from tests.core import priced

SAMPLE = """\
as_of: 2026-11-20
sources: [a page]
token_tables:
  t: {fixed: {1024x1024: {low: 272}}, as_of: 2026-11-20, source: a page}
prices:
  a/b: {unit: tokens, text_in: 5, image_out: 30, token_table: t, as_of: 2026-11-20, source: a page}
"""

IN_OUT = ("text_in", "text_in_cached", "image_in", "image_in_cached", "image_out", "text_out")
LISTED: list[tuple[str, tuple[str | None, ...]]] = [
    ("openai/gpt-image-2", ("5", "1.25", "8", "2", "30", None)),
    ("openai/gpt-image-2.5-sunburst", ("5", "1.25", "8", "2", "30", None)),
    ("openai/gpt-image-2.5-flare", ("5", "1.25", "8", "2", "30", None)),
    ("openai/gpt-image-2.6-sunburst", ("5", "1.25", "8", "2", "30", None)),
    ("openai/gpt-image-2.6-flare", ("5", "1.25", "8", "2", "30", None)),
    ("openai/gpt-image-1.5", ("5", "1.25", "8", "2", "32", "10")),
    ("openai/chatgpt-image-latest", ("5", "1.25", "8", "2", "32", "10")),
    ("openai/gpt-image-1-mini", ("2", "0.20", "2.5", "0.25", "8", None)),
]


@pytest.mark.parametrize(("name", "rates"), LISTED)
def test_the_list_prices_are_the_published_ones(name: str, rates: tuple[str | None, ...]) -> None:
    price = prices().by_name[name]
    assert isinstance(price, TokenPrice)
    assert price.currency == "USD"
    assert price.id == f"{name}@2026-11-20"
    found = {item.value: rate for item, rate in price.rates.items()}
    assert found == {item: Fraction(rate) for item, rate in zip(IN_OUT, rates, strict=True) if rate is not None}


def test_the_tables_of_the_catalog_are_the_published_ones() -> None:
    shipped_tables = prices().tables
    for name, table in {"gpt-image-2": priced.TABLE_2, "gpt-image-2.5": priced.TABLE_2_5}.items():
        assert shipped_tables[name].factors == table.factors
        assert shipped_tables[name].auto_sizes == table.auto_sizes
        assert shipped_tables[name].partial == 100
    assert shipped_tables["gpt-image-1.5"].fixed == priced.TABLE_1_5.fixed
    mini = prices().by_name["openai/gpt-image-1-mini"]
    assert isinstance(mini, TokenPrice)
    assert mini.table is None


def test_every_price_and_table_has_a_day_and_a_source() -> None:
    text = shipped("prices.yaml")
    with pytest.raises(CatalogBroken, match=r"prices\.openai/gpt-5\.5\.source: is missing"):
        read_prices(text.replace(b"source: \"OpenAI's pricing page as quoted", b'# source: "'), "prices.yaml")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("fixed: {1024x1024: {low: 272}}", "factors: {low: 1}", "token_tables.t: has either factors with auto_sizes"),
        ("fixed: {1024x1024: {low: 272}}", "fixed: {1024x1024: {}}", "token_tables.t: has a size without a quality"),
        ("1024x1024", "large", "token_tables.t.fixed.large: must be a size, written like 1024x1024"),
        ("token_table: t", "token_table: u", "prices.a/b: there is no token table 'u'"),
        (
            "unit: tokens, text_in: 5, image_out: 30, token_table: t",
            "catalog: x",
            "is a price of the catalog or one written out",
        ),
        ("unit: tokens", "unit: per_request", "prices.a/b: has the unit per_request, to which 'image_out' does not"),
    ],
)
def test_a_broken_list_says_where(old: str, new: str, said: str) -> None:
    with pytest.raises(CatalogBroken) as broken:
        read_prices(SAMPLE.replace(old, new, 1).encode(), "sample.yaml")
    assert said in str(broken.value)


def catalog() -> Prices:
    return read_prices(SAMPLE.encode(), "sample.yaml")


def test_a_row_has_the_catalogs_price_one_of_its_own_or_none() -> None:
    held = catalog()
    assert held.of_row("c/r", None) is None
    assert held.of_row("c/r", PriceBlock.model_validate("a/b")) is held.by_name["a/b"]
    assert held.of_row("c/r", PriceBlock.model_validate({"catalog": "a/b"})) is held.by_name["a/b"]
    own = PriceBlock.model_validate({"unit": "per_request", "amount": 0.03, "currency": "USD"})
    assert held.of_row("c/r", own) == RequestPrice(id="row:c/r", currency="USD", amount=Fraction(30_000))


def test_every_unit_can_be_written_out() -> None:
    held = catalog()

    def made(**block: object) -> object:
        return held.of_row("c/r", PriceBlock.model_validate(block))

    assert made(unit="per_image", amount="0.02", currency="CNY") == ImagePrice(
        id="row:c/r", currency="CNY", amount=Fraction(20_000)
    )
    assert made(unit="per_image_matrix", matrix={"1K": {"*": 0.15}}) == MatrixPrice(
        id="row:c/r", currency="USD", cells={"1K": {"*": Fraction(150_000)}}
    )
    assert made(unit="upstream_reported") == ReportedPrice(id="row:c/r", currency="USD")
    tokens = made(unit="tokens", input=5, output=30, token_table="t", exact_up_to=9)
    assert isinstance(tokens, TokenPrice)
    assert tokens.rates == {Item.INPUT: Fraction(5), Item.OUTPUT: Fraction(30)}
    assert (tokens.table, tokens.exact_up_to) == (held.tables["t"], 9)
    ratio = made(unit="ratio", model_ratio=2.5, completion_ratio=8, cache_ratio=0.25, image_ratio=2, group_ratio=0.8)
    assert isinstance(ratio, TokenPrice)
    assert ratio.unit is PriceUnit.RATIO
    assert [ratio.rates[item] for item in (Item.INPUT, Item.INPUT_CACHED, Item.IMAGE_IN)] == [4, 1, 8]
    bare = made(unit="ratio", model_ratio=2.5, completion_ratio=8)
    assert isinstance(bare, TokenPrice)
    assert bare.rates[Item.TEXT_IN_CACHED] == 5


NO_AMOUNTS: list[JsonValue] = [
    *(-1, -0.5, "1,5", "free", True, float("nan"), float("inf"), 1e9, "1e3", [], 10**8),
]


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ({"catalog": "a/b", "amount": 1}, "is a price of the catalog or one written out, not both"),
        ({"amount": 1}, "needs a 'unit'"),
        ({"unit": "per_request"}, "has the unit per_request, which needs amount"),
        ({"unit": "per_request", "amount": 1, "matrix": {"1K": {"*": 1}}}, "to which 'matrix' does not belong"),
        ({"unit": "tokens", "text_in": 1}, "which needs image_out, output or text_out"),
        ({"unit": "tokens", "image_out": 1}, "which needs input or text_in"),
        ({"unit": "ratio", "model_ratio": 1}, "which needs completion_ratio"),
        ({"unit": "per_image_matrix", "matrix": {"large": {"low": 1}}}, "must be 1K, 2K, 4K or a size"),
        ({"unit": "per_image_matrix", "matrix": {"1K": {"LOW!": 1}}}, "must be a quality, or * for any other"),
        ({"unit": "per_request", "amount": 1, "currency": "dollars"}, "must be a currency in capital letters"),
        ({"unit": ["tokens", "per_request"], "amount": 1}, "Input should be"),
        *(({"unit": "per_request", "amount": amount}, "must be an amount of at least 0") for amount in NO_AMOUNTS),
    ],
)
def test_a_price_with_two_units_or_none_is_a_clear_mistake(block: JsonObject, said: str) -> None:
    with pytest.raises(ValidationError) as wrong:
        PriceBlock.model_validate(block)
    assert said in str(wrong.value)


@pytest.mark.parametrize("amount", [0.1, "0.1", 0.000001, 1e-05, 0, 1.25, "0.000000000001", 9_999_999])
def test_an_amount_is_what_was_written(amount: float | str) -> None:
    block = PriceBlock.model_validate({"unit": "per_image", "amount": amount})
    assert block.amount == Fraction(str(amount))


def price_in_the_file(path: Path, written: str) -> Price | None:
    table = good(path, with_row(f"price: {written}")).table
    return table.channels["direct"].rows["gpt-image-2"].price


def test_a_row_of_the_file_names_a_price_or_writes_one_out(tmp_path: Path) -> None:
    listed = price_in_the_file(tmp_path, "openai/gpt-image-2")
    assert listed == prices().by_name["openai/gpt-image-2"]
    own = price_in_the_file(tmp_path, "{unit: per_request, amount: 0.03, currency: USD}")
    assert own == RequestPrice(id="row:direct/gpt-image-2", currency="USD", amount=Fraction(30_000))
    assert price_in_the_file(tmp_path, "null") is None
    assert price_in_the_file(tmp_path, "'${PRICE:-openai/gpt-image-2}'") == listed


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("openai/gpt-image-9", "price: there is no price 'openai/gpt-image-9' in the catalog; did you"),
        ("{catalog: openai/gpt}", "price.catalog: there is no price 'openai/gpt' in the catalog"),
        ("{unit: tokens, input: 1, output: 2, token_table: gpt-image-3}", "price.token_table: there is no token table"),
        ("{unit: per_request, amount: 1, matrix: {1K: {low: 1}}}", "price: has the unit per_request, to which"),
        ("{unit: per_request, unit: tokens, amount: 1}", "price.unit: 'unit' is given twice"),
        ("{unit: per_picture, amount: 1}", "price.unit: 'per_picture' is not known here"),
        ("{unit: per_request, amount: -1}", "price.amount: must be an amount of at least 0"),
        ("{unit: per_request, amuont: 1}", "price.amuont: is not a key here; did you mean 'amount'?"),
        ("[openai/gpt-image-2]", "price: must be the name of a price, or a block with a unit"),
        ("5", "price: must be the name of a price, or a block with a unit"),
    ],
)
def test_a_bad_price_of_the_file_is_said_at_its_place(tmp_path: Path, written: str, said: str) -> None:
    found = lines(tmp_path, with_row(f"price: {written}"))
    assert any(
        line.startswith("routes.yaml:9:") and f": channels.direct.rows.gpt-image-2.{said}" in line for line in found
    )


def test_every_row_of_the_shipped_file_has_a_price(tmp_path: Path) -> None:
    loaded = load(Path(__file__).parents[2] / "routes.yaml", env={}, data_dir=tmp_path, sandbox_allowed=True)
    assert isinstance(loaded, Loaded)
    rows = [row for channel in loaded.table.channels.values() for row in channel.rows.values()]
    assert all(row.price is not None for row in rows)
    sandbox = loaded.table.channels["sandbox"].rows.values()
    assert {row.price.amount for row in sandbox if isinstance(row.price, RequestPrice)} == {0}


RATIO = "price: {unit: ratio, model_ratio: 2, completion_ratio: 4, group_ratio: %s}"


@pytest.mark.parametrize(
    ("group", "ratio", "micro"),
    [("", "0.5", 2), ("group: vip", "{default: 1, vip: 0.25}", 1), ("group: default", "{default: 1, vip: 0.25}", 4)],
)
def test_a_channels_group_chooses_what_it_pays_of_a_price(tmp_path: Path, group: str, ratio: str, micro: int) -> None:
    text = with_row(RATIO % ratio)
    text = text.replace("    owner: openai\n", f"    owner: openai\n    {group}\n") if group else text
    channel = good(tmp_path, text).table.channels["direct"]
    price = channel.rows["gpt-image-2"].price
    assert isinstance(price, TokenPrice)
    assert price.rates[Item.TEXT_IN] == micro
    assert channel.group == (group.removeprefix("group: ") or None)


@pytest.mark.parametrize(
    ("group", "ratio", "sentence"),
    [
        ("", "{vip: 0.8}", "price.group_ratio: names price groups, so the channel needs a 'group'"),
        ("group: vpi", "{vip: 0.8}", "has no ratio for the channel's group 'vpi'; did you mean 'vip'?"),
        ("group: vip", "{}", "price.group_ratio: must be an amount, or an amount for each price group by its name"),
        ("group: vip", "{vip: -1}", "price.group_ratio: must be an amount of at least 0"),
    ],
)
def test_ratios_by_group_that_nobody_pays_are_mistakes(tmp_path: Path, group: str, ratio: str, sentence: str) -> None:
    text = with_row(RATIO % ratio)
    text = text.replace("    owner: openai\n", f"    owner: openai\n    {group}\n") if group else text
    found = lines(tmp_path, text)
    assert any(sentence in line for line in found), found


def test_a_price_of_the_catalog_is_for_every_group() -> None:
    text = (
        SAMPLE + "  c/d: {unit: ratio, model_ratio: 1, completion_ratio: 1, group_ratio: {vip: 1},"
        " as_of: 2026-11-20, source: a page}\n"
    )
    with pytest.raises(CatalogBroken, match="is for everybody"):
        read_prices(text.encode(), "prices.yaml")
