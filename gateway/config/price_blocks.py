"""The shape of a price: in the catalog, and in a row of the routes file.

A price is of one unit and has the keys of that unit only. Amounts are read as decimals, digit by digit as they were
written, so that 0.1 is a tenth.
"""

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from gateway.config.forms import VARIABLE, Count, Strict, described
from gateway.config.mistake import listed, quoted
from gateway.core.prices import PriceUnit

_AMOUNT = re.compile(r"([0-9]{1,7})(\.[0-9]{1,12})?")
_SMALL = re.compile(r"[0-9](\.[0-9]+)?e-0?[0-9]{1,2}")  # how Python writes what was read as 0.00001
_CURRENCY = re.compile(r"[A-Z][A-Z0-9]{2,9}")
_SIZE = re.compile(r"1K|2K|4K|[1-9][0-9]{0,5}x[1-9][0-9]{0,5}")
_GROUP = re.compile(r"[!-~]{1,64}")
_QUALITY = re.compile(r"\*|[a-z][a-z0-9_-]{0,31}")


def _amount(value: object) -> Fraction:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0:
        text = str(value)
        if _AMOUNT.fullmatch(text) or _SMALL.fullmatch(text):
            return Fraction(text)
    if isinstance(value, str) and _AMOUNT.fullmatch(value):
        return Fraction(value)
    raise ValueError("must be an amount of at least 0 with at most 7 digits before the point and 12 after it")


def _currency(value: str) -> str:
    if not _CURRENCY.fullmatch(value):
        raise ValueError("must be a currency in capital letters, like USD")
    return value


def _size(value: str) -> str:
    if not _SIZE.fullmatch(value):
        raise ValueError("must be 1K, 2K, 4K or a size written like 1024x1024")
    return value


def _quality(value: str) -> str:
    if not _QUALITY.fullmatch(value):
        raise ValueError("must be a quality, or * for any other")
    return value


def _group_ratio(value: object) -> Fraction | dict[str, Fraction]:
    """Read a ratio, or one for each price group by its name."""
    if not isinstance(value, dict):
        return _amount(value)
    if not value or not all(isinstance(name, str) and _GROUP.fullmatch(name) for name in value):
        raise ValueError("must be an amount, or an amount for each price group by its name")
    return {name: _amount(ratio) for name, ratio in value.items()}


_AMOUNT_SCHEMA: dict[str, Any] = {"anyOf": [{"type": "number", "minimum": 0}, VARIABLE]}
Amount: TypeAlias = Annotated[Fraction, *described(_amount, _AMOUNT_SCHEMA)]
_GROUPS_SCHEMA: dict[str, Any] = {"type": "object", "additionalProperties": _AMOUNT_SCHEMA, "minProperties": 1}
GroupRatio: TypeAlias = Annotated[
    Fraction | dict[str, Fraction], *described(_group_ratio, {"anyOf": [*_AMOUNT_SCHEMA["anyOf"], _GROUPS_SCHEMA]})
]
Currency: TypeAlias = Annotated[str, AfterValidator(_currency)]
SizeName: TypeAlias = Annotated[str, AfterValidator(_size)]
QualityName: TypeAlias = Annotated[str, AfterValidator(_quality)]

RATES = (
    *("text_in", "text_in_cached", "image_in", "image_in_cached", "image_out", "text_out"),
    *("input", "input_cached", "output"),
)
RATIOS = ("model_ratio", "completion_ratio", "cache_ratio", "image_ratio", "group_ratio")
_KEYS: Mapping[PriceUnit, frozenset[str]] = {
    PriceUnit.TOKENS: frozenset({*RATES, "token_table", "exact_up_to"}),
    PriceUnit.PER_REQUEST: frozenset({"amount"}),
    PriceUnit.PER_IMAGE: frozenset({"amount"}),
    PriceUnit.PER_IMAGE_MATRIX: frozenset({"matrix"}),
    PriceUnit.RATIO: frozenset({*RATIOS, "token_table"}),
    PriceUnit.UPSTREAM_REPORTED: frozenset(),
}
_NEEDED: Mapping[PriceUnit, tuple[frozenset[str], ...]] = {
    PriceUnit.TOKENS: (frozenset({"text_in", "input"}), frozenset({"image_out", "text_out", "output"})),
    PriceUnit.PER_REQUEST: (frozenset({"amount"}),),
    PriceUnit.PER_IMAGE: (frozenset({"amount"}),),
    PriceUnit.PER_IMAGE_MATRIX: (frozenset({"matrix"}),),
    PriceUnit.RATIO: (frozenset({"model_ratio"}), frozenset({"completion_ratio"})),
    PriceUnit.UPSTREAM_REPORTED: (),
}
_OF_EVERY_UNIT = frozenset({"unit", "currency", "as_of", "source"})


def _per_million(what: str) -> Any:
    return Field(default=None, description=f"{what}, for a million tokens.")


class PriceBlock(Strict):
    """What an upstream charges: a price of the catalog by its name, or one of one unit written out."""

    catalog: str | None = Field(default=None, description="A price of the catalog, as a bare word is.")
    unit: PriceUnit | None = Field(default=None, description="The way of charging.")
    currency: Currency = Field(default="USD", description="What the amounts are in.")
    amount: Amount | None = Field(default=None, description="For each request, or for each picture.")
    matrix: dict[SizeName, dict[QualityName, Amount]] | None = Field(
        default=None, min_length=1, description="For each picture, by size (WxH, or 1K, 2K, 4K) and quality."
    )
    text_in: Amount | None = _per_million("Text given to an image model")
    text_in_cached: Amount | None = _per_million("Cached text given to an image model")
    image_in: Amount | None = _per_million("Pictures given to an image model")
    image_in_cached: Amount | None = _per_million("Cached pictures given to an image model")
    image_out: Amount | None = _per_million("Pictures made")
    text_out: Amount | None = _per_million("Text an image model writes")
    input: Amount | None = _per_million("Input of a text model")
    input_cached: Amount | None = _per_million("Cached input of a text model")
    output: Amount | None = _per_million("Output of a text model")
    token_table: str | None = Field(
        default=None, description="The catalog's count of tokens of a picture, to estimate."
    )
    exact_up_to: Count | None = Field(default=None, description="With more input tokens than this a cost is estimated.")
    model_ratio: Amount | None = Field(default=None, description="Input; 1 is USD 2 for a million tokens.")
    completion_ratio: Amount | None = Field(default=None, description="Output, as a multiple of input.")
    cache_ratio: Amount | None = Field(default=None, description="Cached input, as a multiple of input; absent: 1.")
    image_ratio: Amount | None = Field(default=None, description="Pictures given, as a multiple of input; absent: 1.")
    group_ratio: GroupRatio | None = Field(
        default=None,
        description="The factor of the account's group; absent: 1. By group: the one of the channel's group applies.",
    )

    @model_validator(mode="before")
    @classmethod
    def _from_word(cls, value: object) -> object:
        return {"catalog": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_unit(self) -> "PriceBlock":
        given = {name for name in self.model_fields_set if getattr(self, name) is not None}
        if self.catalog is not None:
            if given - {"catalog"}:
                raise ValueError("is a price of the catalog or one written out, not both: remove 'catalog' or the rest")
            return self
        if self.unit is None:
            raise ValueError(f"needs a 'unit': {listed([unit.value for unit in PriceUnit])}")
        strange = sorted(given - _OF_EVERY_UNIT - _KEYS[self.unit])
        if strange:
            raise ValueError(f"has the unit {self.unit.value}, to which {quoted(strange[0])} does not belong")
        for choice in _NEEDED[self.unit]:
            if not choice & given:
                raise ValueError(f"has the unit {self.unit.value}, which needs {listed(sorted(choice))}")
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """A bare word is a price of the catalog."""
        block = handler.resolve_ref_schema(handler(schema))
        return {"description": "What the upstream charges for this row.", "anyOf": [{"type": "string"}, block]}
