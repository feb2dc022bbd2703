"""The forms that values of a file have, and what every block of keys keeps to. Pydantic at the boundary only.

Plugins of pydantic stay out: the file leads to secrets, and looking for them reads what every package says of itself.
"""

import os
from collections.abc import Callable
from typing import Annotated, Any, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetJsonSchemaHandler,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from gateway.config import units

os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

VARIABLE = {"type": "string", "pattern": r"\$\{.*\}"}
DURATION = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? ?(ms|s|m|h|d)$|\$\{.*\}"}
SIZE = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? ?(KB|MB|GB|KiB|MiB|GiB)$|\$\{.*\}"}
COUNT: dict[str, Any] = {"anyOf": [{"type": "integer", "minimum": 1}, VARIABLE]}


def _count(value: object) -> int:
    number = units.whole(value)
    if not 1 <= number <= 1_000_000:
        raise ValueError("must be between 1 and 1000000")
    return number


def described(check: Callable[[object], object], schema: dict[str, Any]) -> tuple[BeforeValidator, WithJsonSchema]:
    """Give a form by the function that reads it, and its JSON Schema."""
    return BeforeValidator(check), WithJsonSchema(schema)


Duration: TypeAlias = Annotated[float, *described(units.seconds, DURATION)]
Wait: TypeAlias = Annotated[float, *described(units.wait, DURATION)]
Size: TypeAlias = Annotated[int, *described(units.octets, SIZE)]
Count: TypeAlias = Annotated[int, *described(_count, COUNT)]
Text: TypeAlias = Annotated[str, AfterValidator(units.text)]


class Strict(BaseModel):
    """A block of the file: frozen, and no key that is not written down here.

    ``defer_build``: the file's validator is built when a file is read, and holds those of its blocks; each block's own
    would be built at every start, and never used.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        known = {field.alias or name for name, field in cls.model_fields.items()}
        return {key: held for key, held in value.items() if held is not None or key not in known}


class Named(Strict):
    """A block for which its channel's name may stand alone."""

    channel: str

    @model_validator(mode="before")
    @classmethod
    def _from_word(cls, value: object) -> object:
        return {"channel": value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """A bare word is the channel."""
        block = handler.resolve_ref_schema(handler(schema))
        return {"description": block["description"], "anyOf": [{"type": "string"}, block]}
