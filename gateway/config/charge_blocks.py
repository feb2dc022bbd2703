"""What keys are charged on a route: what a request costs, or credits; part of the file's model."""

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field, GetJsonSchemaHandler, WithJsonSchema, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from gateway.config import units
from gateway.config.forms import VARIABLE, Strict, described
from gateway.core.charges import TIERS
from gateway.core.tariff import CreditCharge, CreditMatrix, CreditsPerImage

MOST_CREDITS = 1_000_000_000


def _credits(value: object) -> int:
    number = units.whole(value)
    if not 0 <= number <= MOST_CREDITS:
        raise ValueError(f"must be between 0 and {MOST_CREDITS}")
    return number


def _tier(value: object) -> str:
    if value not in TIERS:
        raise ValueError(f"must be one of the tiers {', '.join(TIERS)}")
    return str(value)


_CREDITS: dict[str, Any] = {"anyOf": [{"type": "integer", "minimum": 0, "maximum": MOST_CREDITS}, VARIABLE]}

Credits: TypeAlias = Annotated[int, *described(_credits, _CREDITS)]
Tier: TypeAlias = Annotated[str, BeforeValidator(_tier), WithJsonSchema({"enum": list(TIERS)})]


class ChargeBlock(Strict):
    """What a key is charged: ``cost``, or credits by the picture or by its size and quality."""

    unit: Literal["cost", "credits"] = Field(description="cost: what the request costs; credits: of the key's balance.")
    per_image: Credits | None = Field(default=None, description="Credits for every picture.")
    matrix: dict[Tier, dict[str, Credits]] | None = Field(
        default=None, min_length=1, description="Credits for a picture, by tier (1K, 2K, 4K) and quality."
    )
    auto: str | None = Field(
        default=None,
        description="The quality that is charged when the request leaves it open; absent: the dearest of the tier.",
    )
    other: Credits | None = Field(
        default=None, description="Credits for a picture that is not in the matrix; absent: the request is refused."
    )

    @model_validator(mode="before")
    @classmethod
    def _from_word(cls, value: object) -> object:
        return {"unit": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _whole(self) -> "ChargeBlock":
        by = [name for name in ("per_image", "matrix") if getattr(self, name) is not None]
        if self.unit == "cost" and (by or self.auto is not None or self.other is not None):
            raise ValueError("is 'cost', to which nothing else belongs")
        if self.unit == "credits" and len(by) != 1:
            raise ValueError("in credits needs one of 'per_image' and 'matrix'")
        if self.matrix is None and (self.auto is not None or self.other is not None):
            raise ValueError("has no 'matrix', so 'auto' and 'other' mean nothing")
        for row in (self.matrix or {}).values():
            if not row:
                raise ValueError("has a tier without a quality")
            if self.auto is not None and self.auto not in row and self.other is None:
                raise ValueError("has a tier without the quality that 'auto' names")
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """A bare word is the unit."""
        block = handler.resolve_ref_schema(handler(schema))
        return {"description": "What a key is charged.", "anyOf": [{"const": "cost"}, block]}

    def frozen(self) -> CreditCharge | None:
        """Give the charge as a value; nothing for what a request costs."""
        if self.per_image is not None:
            return CreditsPerImage(amount=self.per_image)
        if self.matrix is not None:
            return CreditMatrix(cells=self.matrix, auto=self.auto, other=self.other)
        return None
