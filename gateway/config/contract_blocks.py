"""The shape of a contract: in the catalog, and in a row of the routes file that extends one.

Each field is optional, since one that is not stated is not checked, or is that of the contract that is extended.
"""

import re
from datetime import date
from enum import StrEnum
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from gateway.config.forms import Count, Size, Strict, described
from gateway.core.delivery import Form
from gateway.core.terms import Mode, Unknown
from gateway.core.types import Surface

_DAY = re.compile(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}")
_SIZE_WORD = re.compile(r"auto|[1-9][0-9]{0,5}x[1-9][0-9]{0,5}")


def _day(value: object) -> date:
    if not isinstance(value, str) or not _DAY.fullmatch(value):
        raise ValueError("must be a day, written like 2026-12-01")
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise ValueError("is no day of the calendar") from None


def _word(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", value):
        raise ValueError("must be a word of at most 64 letters, digits, '.', '_' and '-'")
    return value


def _size_word(value: str) -> str:
    if not _SIZE_WORD.fullmatch(value):
        raise ValueError("must be auto or a size, written like 1024x1024")
    return value


Day: TypeAlias = Annotated[date, *described(_day, {"type": "string", "pattern": _DAY.pattern})]
Word: TypeAlias = Annotated[str, AfterValidator(_word)]
SizeWord: TypeAlias = Annotated[str, AfterValidator(_size_word)]
Whole: TypeAlias = Annotated[int, Field(ge=0, le=1_000_000_000)]
Option: TypeAlias = Literal[
    "size", "quality", "background", "moderation", "input_fidelity", "complexity", "response_format", "style"
]
Parameter: TypeAlias = Literal[
    "size",
    "quality",
    "background",
    "output_format",
    "output_compression",
    "moderation",
    "input_fidelity",
    "partial_images",
    "complexity",
    "frame_count",
    "frame_duration_ms",
    "response_format",
    "style",
    "n",
    "stream",
    "svg",
    "mask",
    "markup",
]


class GridBlock(Strict):
    """Free sizes."""

    multiple: Count = Field(description="Width and height are multiples of this many pixels.")
    max_edge: Count = Field(description="No edge is longer, in pixels.")
    max_ratio: Count = Field(description="The long edge is at most this many times the short one.")
    min_pixels: Whole = Field(description="Width times height is at least this.")
    max_pixels: Whole = Field(description="Width times height is at most this.")


class SizeBlock(Strict):
    """What size may be."""

    words: list[SizeWord] = Field(default=[], description="Fixed values: auto, 1024x1024.")
    grid: GridBlock | None = Field(default=None, description="Free sizes besides.")


class SpanBlock(Strict):
    """A number's bounds, both included."""

    lowest: Whole = Field(description="The least.")
    highest: Whole = Field(description="The most.")

    @model_validator(mode="after")
    def _in_order(self) -> "SpanBlock":
        if self.lowest > self.highest:
            raise ValueError("lowest must not be more than highest")
        return self


class InputsBlock(Strict):
    """The pictures that may be given."""

    count: Count = Field(description="How many.")
    formats: list[Word] = Field(min_length=1, description="In which formats: png, webp, jpeg, gif.")
    max_bytes: Size | None = Field(default=None, description="Each is smaller than this.")


class OverlayBlock(Strict):
    """A mask or a markup."""

    max_bytes: Size = Field(description="It is smaller than this.")


class ContractFields(Strict):
    """The fields of a contract."""

    size: SizeBlock | None = Field(default=None, description="What size may be.")
    quality: list[Word] | None = Field(default=None, description="What quality may be.")
    background: list[Word] | None = Field(default=None, description="What background may be.")
    output_format: list[Word] | None = Field(default=None, description="What output_format may be.")
    moderation: list[Word] | None = Field(default=None, description="What moderation may be.")
    complexity: list[Word] | None = Field(default=None, description="What complexity may be.")
    input_fidelity: list[Word] | None = Field(default=None, description="What input_fidelity may be.")
    default_format: Word | None = Field(default=None, description="The format of results when none is asked for.")
    transparent_formats: list[Word] | None = Field(
        default=None, description="The output formats that a transparent background needs."
    )
    compressed_formats: list[Word] | None = Field(
        default=None, description="The output formats that an output_compression under 100 needs."
    )
    prompt_chars: Count | None = Field(default=None, description="The most characters of a prompt.")
    n: SpanBlock | None = Field(default=None, description="The bounds of n.")
    partial_images: SpanBlock | None = Field(default=None, description="The bounds of partial_images.")
    frame_count: SpanBlock | None = Field(default=None, description="The bounds of frame_count.")
    frame_duration_ms: SpanBlock | None = Field(default=None, description="The bounds of frame_duration_ms.")
    excludes: dict[Word, list[Parameter]] | None = Field(
        default=None, description="Output format -> parameters that cannot be combined with it."
    )
    inputs: InputsBlock | None = Field(default=None, description="The pictures that may be given.")
    mask: OverlayBlock | None = Field(default=None, description="The mask.")
    markup: OverlayBlock | None = Field(default=None, description="The markup.")
    refuses: list[Parameter] | None = Field(default=None, description="Parameters that the model does not take.")
    drops: list[Option] | None = Field(default=None, description="Parameters that are not sent; the answer is stamped.")
    unknown_parameters: Unknown | None = Field(
        default=None, description="Parameters that Waybill does not know: forward or refuse."
    )
    retired_on: Day | None = Field(default=None, description="The day from which the model no longer answers.")


class ContractBlock(ContractFields):
    """What a row accepts: a contract's name, or one extended by fields of its own."""

    extends: str | None = Field(
        default=None, description="A contract of the catalog; absent: the one named as the model or the row, else open."
    )
    mode: Mode = Field(
        default=Mode.ENFORCE,
        description="enforce: what a contract forbids is not sent. advise: it is sent when nothing else is left.",
    )

    @model_validator(mode="before")
    @classmethod
    def _from_word(cls, value: object) -> object:
        return {"extends": value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """A bare word is the contract that is taken as it is."""
        block = handler.resolve_ref_schema(handler(schema))
        return {"description": "What a row accepts.", "anyOf": [{"type": "string"}, block]}


class Verdict(StrEnum):
    """What a difference between a result and its request leads to."""

    WARN = "warn"
    FAIL = "fail"


class ResultBlock(Strict):
    """What is done about a result that is not what was asked for: warn stamps it, fail makes it a failure."""

    size_mismatch: Verdict = Field(default=Verdict.WARN, description="Another size in pixels.")
    quality_mismatch: Verdict = Field(default=Verdict.WARN, description="Another quality, by the answer's own words.")
    format_mismatch: Verdict = Field(default=Verdict.WARN, description="Another format.")
    model_mismatch: Verdict = Field(default=Verdict.WARN, description="Another model, by the answer's own words.")
    count_mismatch: Verdict = Field(default=Verdict.WARN, description="More or fewer pictures.")
    alpha_missing: Verdict = Field(default=Verdict.WARN, description="No transparency where it was asked for.")
    tokens_mismatch: Verdict = Field(default=Verdict.WARN, description="Other output tokens than such pictures take.")
    not_an_image: Verdict = Field(default=Verdict.WARN, description="Bytes that are no picture.")


class CatalogContract(ContractFields):
    """A contract of the catalog. ``source`` names, for each field that is stated, where it is from."""

    extends: str | None = Field(default=None, description="Another contract of the catalog.")
    names: list[str] = Field(default=[], description="Other words for the same model.")
    surfaces: list[Surface] = Field(default=[], description="The surfaces it answers on.")
    token_table: str | None = Field(default=None, description="How many output tokens its pictures take.")
    source: dict[str, list[str]] = Field(default={}, description="Field -> tags of its sources.")


class ContractsFile(Strict):
    """``contracts.yaml``."""

    as_of: Day = Field(description="The day the data was gathered.")
    sources: dict[str, str] = Field(min_length=1, description="Tag -> where the data is from.")
    contracts: dict[str, CatalogContract] = Field(min_length=1, description="The contracts, by name.")


class LegacyFile(Strict):
    """``legacy.yaml``."""

    as_of: Day = Field(description="The day the data was gathered.")
    sources: list[str] = Field(min_length=1, description="Where the data is from.")
    models: dict[str, list[str]] = Field(description="Dead name -> successors, best first.")
    values: dict[Option, dict[Word, Word]] = Field(description="Parameter -> old value -> new value.")
    results: dict[str, Form] = Field(
        default={}, description="Dead name -> the form of its pictures, if none is asked for."
    )
