"""The shipped, dated data beside the code: which words mean which failure, and how long to wait.

``gateway/catalog`` is part of the program: a mistake there is a bug of this version and raises ``CatalogBroken`` with
every mistake, while a mistake in a routes file is a value.
"""

from importlib.resources import files
from typing import TypeVar

from pydantic import Field, ValidationError

from gateway.config import faults
from gateway.config.forms import Count, Duration, Strict
from gateway.config.mistake import Mistake, in_file
from gateway.config.nodes import plain
from gateway.config.source import parse
from gateway.core.table import FailureCodes, Patience, Phrase
from gateway.core.types import FailureClass

_M = TypeVar("_M", bound=Strict)


class CatalogBroken(Exception):
    """A shipped data file does not have its shape."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        super().__init__("\n".join(str(one) for one in mistakes))
        self.mistakes = tuple(mistakes)


class Dated(Strict):
    """A data file: the day it was gathered, and from where."""

    as_of: str = Field(pattern=r"^20[0-9]{2}-[0-9]{2}-[0-9]{2}$", description="The day the data was gathered.")
    sources: list[str] = Field(min_length=1, description="Where the data is from.")


class _PhraseBlock(Strict):
    text: str = Field(min_length=4, description="What an error message contains.")
    kind: FailureClass = Field(alias="class", description="The class it decides.")


class _FailuresFile(Dated):
    codes: dict[str, FailureClass] = Field(description="An error's code -> class.")
    code_prefixes: dict[str, FailureClass] = Field(default={}, description="How a code begins -> class.")
    types: dict[str, FailureClass] = Field(description="An error's type -> class.")
    statuses: dict[int, FailureClass] = Field(description="HTTP status -> class.")
    phrases: list[_PhraseBlock] = Field(description="Phrases of messages, tried in order.")


class _HeavyBlock(Strict):
    patience: Duration = Field(description="How long to wait for a heavy request.")
    pixels: int = Field(gt=0, description="Over this many pixels a request is heavy.")
    inputs: Count = Field(description="Over this many given pictures a request is heavy.")


class _PatienceFile(Dated):
    by_quality: dict[str, Duration] = Field(min_length=1, description="Quality -> how long to wait.")
    default: Duration = Field(description="For every other quality, and none.")
    heavy: _HeavyBlock = Field(description="Requests that take longer.")
    responses: Duration = Field(description="For the responses surface.")


def failure_codes() -> FailureCodes:
    """Read the shipped ``failures.yaml``. Raises ``CatalogBroken``."""
    return read_failures(shipped("failures.yaml"), "failures.yaml")


def patience() -> Patience:
    """Read the shipped ``patience.yaml``. Raises ``CatalogBroken``."""
    return read_patience(shipped("patience.yaml"), "patience.yaml")


def read_failures(data: bytes, name: str) -> FailureCodes:
    """Read a failures file: codes and types as they stand, longer prefixes first, phrases in lower case."""
    file = read_file(data, name, _FailuresFile)
    by_length = sorted(file.code_prefixes.items(), key=lambda pair: -len(pair[0]))
    return FailureCodes(
        codes=file.codes,
        code_prefixes=tuple(by_length),
        types=file.types,
        statuses=file.statuses,
        phrases=tuple(Phrase(text=line.text.lower(), kind=line.kind) for line in file.phrases),
    )


def read_patience(data: bytes, name: str) -> Patience:
    """Read a patience file; seconds."""
    file = read_file(data, name, _PatienceFile)
    return Patience(
        by_quality=file.by_quality,
        default_s=file.default,
        heavy_s=file.heavy.patience,
        heavy_pixels=file.heavy.pixels,
        heavy_inputs=file.heavy.inputs,
        responses_s=file.responses,
    )


def read_file(data: bytes, name: str, model: type[_M]) -> _M:
    """Read a data file of the catalog. Raises ``CatalogBroken``."""
    parsed = parse(data)
    if parsed.root is None or parsed.mistakes:
        raise CatalogBroken(in_file(parsed.mistakes, name))
    try:
        return model.model_validate(plain(parsed.root))
    except ValidationError as error:
        raise CatalogBroken(in_file(faults.explain(error, parsed.root, model), name)) from None


def shipped(name: str) -> bytes:
    """Give the bytes of a data file of the catalog."""
    return files("gateway").joinpath("catalog", name).read_bytes()
