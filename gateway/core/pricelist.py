"""The price list of a catalog router (``/api/pricing`` of new-api and its kin), read without believing it.

Everything but a model's name may be absent or of another kind: then it is not known. Numbers are exact fractions of
what was written. What a list claims is a claim: an endpoint that is not there may still serve, and edits have no name
in such lists at all. Pure.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Final

from msgspec import Struct, field

from gateway.core.types import JsonObject, JsonValue, Surface

UNSET_RATIO: Final = Fraction(75, 2)  # what such a router assumes for a model without a ratio, before it refuses it
UNSET_COMPLETION: Final = Fraction(2)  # and for the output of a model whose name begins like OpenAI's
BY_RATIO: Final = 0
BY_CALL: Final = 1
_CHARS: Final = 24
_MOST_ROWS: Final = 20_000
_SURFACES: Final[Mapping[str, Surface]] = {
    "image-generation": Surface.GENERATIONS,
    "openai-response": Surface.RESPONSES,
}


class ListedModel(Struct, frozen=True, kw_only=True):
    """One row of the list. ``by_call``: a flat price; ``None`` when the list does not say how it charges."""

    name: str
    by_call: bool | None = None
    model_ratio: Fraction | None = None
    completion_ratio: Fraction | None = None
    cache_ratio: Fraction | None = None
    image_ratio: Fraction | None = None
    model_price: Fraction | None = None
    groups: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()
    is_tiered: bool = False  # billed by an expression, which nobody outside can work out

    @property
    def claims(self) -> tuple[Surface, ...]:
        """The surfaces it claims to serve; never edits."""
        return tuple(dict.fromkeys(_SURFACES[word] for word in self.endpoints if word in _SURFACES))

    @property
    def figures(self) -> tuple[Fraction | bool | None, ...]:
        """What makes its price."""
        ratios = (self.model_ratio, self.completion_ratio, self.cache_ratio, self.image_ratio)
        return (self.by_call, self.model_price, self.is_tiered, *(() if self.by_call else ratios))

    def is_for(self, group: str) -> bool:
        """Whether an account of this group may use it; a list that names no groups says nothing against it."""
        return not self.groups or group in self.groups or "all" in self.groups


class PriceList(Struct, frozen=True, kw_only=True):
    """A whole list. ``group_ratio``: what each group pays of a price."""

    models: Mapping[str, ListedModel]
    group_ratio: Mapping[str, Fraction] = field(default_factory=dict)
    version: str | None = None

    def ratio_of(self, group: str) -> Fraction | None:
        """Give what a group pays of each price; ``None`` when the list does not say."""
        return self.group_ratio.get(group)


def read_price_list(document: JsonValue) -> PriceList | str:
    """Read a list, or say in one sentence why it is none."""
    if not isinstance(document, Mapping):
        return "it is not a JSON object"
    if document.get("success") is False:
        return f"the router refused it: {document.get('message') or 'without a reason'}"
    rows = _objects(document.get("data"))
    if not rows:
        return "it has no rows under 'data'"
    if len(rows) > _MOST_ROWS:
        return f"it has more than {_MOST_ROWS} rows"
    models = {model.name: model for model in map(_model, rows) if model is not None}
    ratios = document.get("group_ratio")
    groups = {name: _number(value) for name, value in ratios.items()} if isinstance(ratios, Mapping) else {}
    versions = (document.get("pricing_version"), *(row.get("pricing_version") for row in rows[:1]))
    return PriceList(
        models=models,
        group_ratio={name: ratio for name, ratio in groups.items() if ratio is not None},
        version=next((one for one in versions if isinstance(one, str) and one), None),
    )


def _model(row: JsonObject) -> ListedModel | None:
    name = row.get("model_name")
    if not isinstance(name, str) or not name or not name.isprintable() or len(name) > 200:
        return None
    kind = row.get("quota_type")
    return ListedModel(
        name=name,
        by_call={BY_RATIO: False, BY_CALL: True}.get(kind) if type(kind) is int else None,
        model_ratio=_number(row.get("model_ratio")),
        completion_ratio=_number(row.get("completion_ratio")),
        cache_ratio=_number(row.get("cache_ratio")),
        image_ratio=_number(row.get("image_ratio")),
        model_price=_number(row.get("model_price")),
        groups=_words(row.get("enable_groups")),
        endpoints=_words(row.get("supported_endpoint_types")),
        is_tiered=row.get("billing_mode") == "tiered_expr",
    )


def _number(value: JsonValue) -> Fraction | None:
    """Read a number of at least 0 as it was written; a float has the digits of its shortest form."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    text = str(value)
    try:
        number = Decimal(text) if len(text) <= _CHARS else Decimal("NaN")
    except InvalidOperation:
        return None
    return Fraction(number) if number.is_finite() and 0 <= number < 10**7 else None


def _words(value: JsonValue) -> tuple[str, ...]:
    listed = value if isinstance(value, Sequence) and not isinstance(value, str) else ()
    return tuple(one for one in listed if isinstance(one, str))


def _objects(value: JsonValue) -> Sequence[JsonObject]:
    listed = value if isinstance(value, Sequence) and not isinstance(value, str) else ()
    return [one for one in listed if isinstance(one, Mapping)]
