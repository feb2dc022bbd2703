"""The blocks that say how a route chooses and repeats, and what a channel may be asked; part of the file's model."""

import re
from collections.abc import Mapping
from enum import StrEnum
from fractions import Fraction
from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, GetJsonSchemaHandler, WithJsonSchema, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from gateway.config import units
from gateway.config.forms import VARIABLE, Count, Named, Strict, described
from gateway.core.ceiling import Ceiling
from gateway.core.downgrade import FINAL
from gateway.core.limits import Rate
from gateway.core.pixels import pixels_of
from gateway.core.prices import MICRO
from gateway.core.table import Downgrade, Limits
from gateway.core.types import FailureClass, Surface

_QUALITIES = ("low", "medium", "high", "xhigh")
_WORD_FORM = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_MONEY = re.compile(r"([0-9]{1,7}(?:\.[0-9]{1,6})?) ?([A-Z][A-Z0-9]{2,9})")
MONEY = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? ?[A-Z][A-Z0-9]{2,9}$|\$\{.*\}"}
_STEP_CLASSES = {"enum": [kind.value for kind in FailureClass if kind not in FINAL]}
HEAVIEST = 1_000_000
MOST_REPEATS = 10


def _weight(value: object) -> int:
    weight = units.whole(value)
    if not 0 <= weight <= HEAVIEST:
        raise ValueError(f"must be between 0 and {HEAVIEST}")
    return weight


def _times(value: object) -> int:
    times = units.whole(value)
    if not 1 <= times <= MOST_REPEATS:
        raise ValueError(f"must be between 1 and {MOST_REPEATS}")
    return times


def _quality(value: object) -> str:
    if value not in _QUALITIES:
        raise ValueError("must be low, medium, high or xhigh")
    return str(value)


def _low_size(value: object) -> str:
    if not isinstance(value, str) or not pixels_of(value):
        raise ValueError("must be a size written like 1024x1024")
    return value


def _option(value: str) -> str:
    if not _WORD_FORM.fullmatch(value):
        raise ValueError("must be a word of lower-case letters and digits")
    return value


def _not_over(value: FailureClass) -> FailureClass:
    if value in FINAL:
        raise ValueError(f"{value} ends the request: nothing is asked for after it")
    return value


def _money(value: object) -> Ceiling:
    match = _MONEY.fullmatch(value) if isinstance(value, str) else None
    micro = Fraction(match[1]) * MICRO if match is not None else Fraction(0)
    if match is None or micro <= 0 or micro.denominator != 1:
        raise ValueError("must be an amount of more than zero with its currency, written like 0.25USD")
    return Ceiling(amount_micro=int(micro), currency=match[2])


def _bounded(low: int, high: int) -> dict[str, Any]:
    return {"anyOf": [{"type": "integer", "minimum": low, "maximum": high}, VARIABLE]}


Weight: TypeAlias = Annotated[int, *described(_weight, _bounded(0, HEAVIEST))]
Times: TypeAlias = Annotated[int, *described(_times, _bounded(1, MOST_REPEATS))]


Option: TypeAlias = Annotated[str, AfterValidator(_option)]
LowQuality: TypeAlias = Annotated[str, *described(_quality, {"enum": [*_QUALITIES]})]
LowSize: TypeAlias = Annotated[str, *described(_low_size, {"type": "string", "pattern": "^[0-9]+x[0-9]+$"})]
StepClass: TypeAlias = Annotated[FailureClass, AfterValidator(_not_over), WithJsonSchema(_STEP_CLASSES)]
Money: TypeAlias = Annotated[Ceiling, *described(_money, MONEY)]


class Requirement(StrEnum):
    """What a row may demand before it takes traffic."""

    VERIFIED = "verified"


class FailureAction(StrEnum):
    """What may follow a failure, as the file says it."""

    NEXT = "next"
    STOP = "stop"
    SAME = "same"
    DOWNGRADE = "downgrade"


class ActionBlock(Strict):
    """What follows a class of failure: a word, or ``{action: same, times: N}``."""

    action: FailureAction = Field(
        description="next: the next target; stop: give up; same: the same target again, then the class's default; "
        "downgrade: the same target again, for less, as the route's downgrade says."
    )
    times: Times | None = Field(default=None, description="How often the same target is asked again, for same.")

    @model_validator(mode="before")
    @classmethod
    def _from_word(cls, value: object) -> object:
        return {"action": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _times_belong_to_same(self) -> "ActionBlock":
        if self.action is FailureAction.SAME and self.times is None:
            raise ValueError("same needs a number of times: write {action: same, times: 1}")
        if self.action is not FailureAction.SAME and self.times is not None:
            raise ValueError("'times' belongs to the action same")
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """A bare word is the action."""
        block = handler.resolve_ref_schema(handler(schema))
        return {"description": block["description"], "anyOf": [block, {"enum": ["next", "stop", "downgrade"]}]}


class SetBlock(Strict):
    """What a step down sets; a value that is no less than what was asked for is left alone."""

    quality: LowQuality | None = Field(default=None, description="low, medium, high or xhigh, when more was asked for.")
    size: LowSize | None = Field(default=None, description="WxH, when more pixels were asked for, or any size.")
    background: Option | None = Field(default=None, description="Another background, opaque for instance.")
    output_format: Option | None = Field(default=None, description="Another format.")
    input_fidelity: Option | None = Field(default=None, description="Another input_fidelity.")

    @model_validator(mode="after")
    def _something(self) -> "SetBlock":
        if not self.texts():
            raise ValueError("must set something")
        return self

    def texts(self) -> tuple[tuple[str, str], ...]:
        """Give the parameters that are set, in the order of this block."""
        given = ((name, getattr(self, name)) for name in type(self).model_fields)
        return tuple((name, text) for name, text in given if text is not None)


class DowngradeBlock(Strict):
    """A step down: what is asked for instead, after a class of failure."""

    on: StepClass = Field(description="The class of failure it follows.")
    sets: SetBlock = Field(alias="set", description="The parameters that are set, and to what.")

    def frozen(self, actions: Mapping[FailureClass, ActionBlock]) -> Downgrade:
        """Give the step as the table holds it: where ``on_failure`` says next, it leads on."""
        said = actions.get(self.on)
        return Downgrade(
            on=self.on, sets=self.sets.texts(), stays=said is None or said.action is not FailureAction.NEXT
        )


class LimitsBlock(Strict):
    """What may be asked of a channel in any minute."""

    rpm: Count | None = Field(default=None, description="Requests a minute.")
    ipm: Count | None = Field(default=None, description="Pictures a minute.")

    def frozen(self) -> Limits:
        """Give the limits as the table holds them."""
        return Limits(
            requests=None if self.rpm is None else Rate(per_minute=self.rpm),
            images=None if self.ipm is None else Rate(per_minute=self.ipm),
        )


class UseBlock(Named):
    """Targets that a rule leaves: those of a channel, or one of its rows."""

    channel: str = Field(description="A channel among the route's targets.")
    row: str | None = Field(default=None, description="One of its rows; absent: all that are targets.")


def _conditions(value: object) -> dict[str, Any]:
    """Take the block as it is; ``rules`` reads each condition, and says what is wrong with it where it stands."""
    if not isinstance(value, dict):
        raise ValueError("must be a block of keys")  # noqa: TRY004  # pydantic reads ValueError
    if not value:
        raise ValueError("must have at least one entry")
    return value


def _any_of(what: str, *forms: dict[str, Any]) -> dict[str, Any]:
    """Give the schema of a condition: one of the forms, or a list of the first."""
    return {"description": what, "anyOf": [*forms, {"type": "array", "items": forms[0], "minItems": 1}]}


_WORD = {"type": ["string", "number"]}
_FLAG = {"type": "boolean"}
_WHOLE = {"type": "integer"}
_SPAN = {
    "type": "object",
    "properties": {
        "gte": {"type": "integer", "description": "At least this."},
        "lte": {"type": "integer", "description": "At most this."},
    },
    "additionalProperties": False,
    "minProperties": 1,
}
_SURFACE = {"enum": [surface.value for surface in Surface]}
_IF = {
    "type": "object",
    "minProperties": 1,
    "properties": {
        "surface": _any_of("Where the request came in.", _SURFACE, VARIABLE),
        "size": _any_of("The size asked for.", _WORD),
        "quality": _any_of("The quality asked for.", _WORD),
        "background": _any_of("The background asked for.", _WORD),
        "output_format": _any_of("The format asked for.", _WORD),
        "n": _any_of("How many pictures; 1 when the request does not say.", _WHOLE, _SPAN, VARIABLE),
        "pixels": _any_of("Width times height of the size asked for.", _WHOLE, _SPAN, VARIABLE),
        "partial_images": _any_of("Previews asked for.", _WHOLE, _SPAN, VARIABLE),
        "input_images": _any_of("How many pictures were given, without the mask.", _WHOLE, _SPAN, VARIABLE),
        "prompt_chars": _any_of("Length of the prompt.", _WHOLE, _SPAN, VARIABLE),
        "stream": _any_of("Whether a stream was asked for.", _FLAG, VARIABLE),
        "has_mask": _any_of("Whether a mask was given.", _FLAG, VARIABLE),
    },
    "patternProperties": {r"^tag\..+": _any_of("A tag of x-request-tags.", _WORD)},
    "additionalProperties": False,
}

Conditions: TypeAlias = Annotated[dict[str, Any], BeforeValidator(_conditions), WithJsonSchema(_IF)]


class WhenBlock(Strict):
    """A rule: if every condition is met, only these targets are left."""

    conditions: Conditions = Field(alias="if", description="Conditions on the request, all of which must be met.")
    use: list[UseBlock] = Field(min_length=1, description="The targets that are left, in the order of the route.")
