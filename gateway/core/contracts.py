"""A request held against a contract, before anything is spent: which rules it breaks.

Rules: pure, total, and the same arguments give the same answer; what the contract does not state is not checked, and
``open`` states nothing. Violations come in the order in which a reader would look: what the model does not take at all,
then size, words, what excludes what, numbers, pictures. A message repeats a value only when it is short and plain.
"""

from collections.abc import Iterator

from msgspec import Struct

from gateway.core.delivery import FORMS, RESPONSE_FORMAT
from gateway.core.given_pictures import PictureFault, input_faults, overlay_faults
from gateway.core.redact import is_plain
from gateway.core.size_rules import broken_rule
from gateway.core.terms import Contract, Span, Unknown, parameters
from gateway.core.types import Facts, Surface

INVALID_SIZE = "invalid_size"
INVALID_VALUE = "invalid_value"
UNSUPPORTED = "unsupported_parameter"
INVALID_IMAGE = "invalid_image"
INVALID_MASK = "invalid_mask"

_DEFAULT_FORMAT = "png"
_FULL_QUALITY = 100  # of ``output_compression``: the default, which every format takes
_OF_THE_TURN = frozenset({"stream", "n"})  # of a Responses request these are not the image tool's


class Violation(Struct, frozen=True, kw_only=True):
    """One broken rule. ``rule`` is a sentence; ``value`` is the caller's word, absent when it is not fit to repeat.

    ``param`` is the parameter's plain name (``size``); ``where`` is how the body names it (``tools[0].size``).
    """

    param: str
    where: str
    code: str
    rule: str
    value: str | None = None

    @property
    def message(self) -> str:
        """The sentence for the caller, in the API's manner."""
        shown = "" if self.value is None else f" '{self.value}'"
        match self.code:
            case "invalid_size":
                return f"Invalid size{shown}. {self.rule}"
            case "unsupported_parameter":
                return f"Unsupported parameter: '{self.where}'. {self.rule}"
            case "invalid_image" | "invalid_mask":
                return f"Invalid picture in '{self.where}'. {self.rule}"
            case _:
                return f"Invalid value{shown} for '{self.where}'. {self.rule}"


def check(facts: Facts, contract: Contract) -> tuple[Violation, ...]:
    """Say which rules of ``contract`` a request breaks; none means that the model takes it, as far as is stated."""
    return () if contract.is_open else tuple(_all(facts, contract))


def _all(facts: Facts, contract: Contract) -> Iterator[Violation]:
    given = parameters(facts)
    for name in given:
        if name in contract.refuses:
            yield _violation(facts, name, UNSUPPORTED, "This model does not take it.")
    if contract.unknown is Unknown.REFUSE:
        for name in facts.unknown_parameters:
            yield _violation(facts, name, UNSUPPORTED, "This model does not take it.")
    yield from _size(facts, contract)
    for name, words in contract.words.items():
        value = given.get(name)
        if isinstance(value, str) and value not in words and name not in contract.refuses:
            yield _violation(facts, name, INVALID_VALUE, f"Supported values are: {', '.join(words)}.", value)
    if facts.response_format not in (None, *FORMS) and RESPONSE_FORMAT in contract.drops:
        yield _violation(
            facts, RESPONSE_FORMAT, INVALID_VALUE, f"Supported values are: {', '.join(FORMS)}.", facts.response_format
        )
    yield from _formats(facts, contract)
    yield from _numbers(facts, contract)
    for fault in input_faults(facts, contract):
        yield _picture(facts, fault, INVALID_IMAGE)
    for fault in overlay_faults(facts, contract):
        yield _picture(facts, fault, INVALID_MASK if fault.param == "mask" else INVALID_IMAGE)


def _size(facts: Facts, contract: Contract) -> Iterator[Violation]:
    if facts.size is None or contract.size is None or "size" in contract.refuses:
        return
    rule = broken_rule(facts.size, contract.size)
    if rule is not None:
        yield _violation(facts, "size", INVALID_SIZE, rule, facts.size)


def _formats(facts: Facts, contract: Contract) -> Iterator[Violation]:
    """Check what the output format allows."""
    form = facts.output_format or contract.default_format or _DEFAULT_FORMAT
    transparent, compressed = contract.transparent_formats, contract.compressed_formats
    if facts.background == "transparent" and transparent is not None and form not in transparent:
        rule = f"A transparent background needs output_format {_or(transparent)}."
        yield _violation(facts, "background", INVALID_VALUE, rule, facts.background)
    is_smaller = facts.output_compression is not None and facts.output_compression < _FULL_QUALITY
    if is_smaller and compressed is not None and form not in compressed:
        rule = f"Less than {_FULL_QUALITY} needs output_format {_or(compressed)}."
        yield _violation(facts, "output_compression", INVALID_VALUE, rule)
    excluded = contract.excludes.get(form, frozenset())
    for name, value in parameters(facts).items():
        is_default = (name == "partial_images" and value == 0) or (name == "output_compression" and not is_smaller)
        is_turns = facts.surface is Surface.RESPONSES and name in _OF_THE_TURN
        if name in excluded and not is_default and not is_turns:
            yield _violation(facts, name, INVALID_VALUE, f"It cannot be combined with output_format {form}.")
    for name, own in (("frame_count", "gif"), ("frame_duration_ms", "gif"), ("svg", "svg")):
        if name in parameters(facts) and name not in contract.refuses and form != own:
            yield _violation(facts, name, INVALID_VALUE, f"It needs output_format {own}.")


def _numbers(facts: Facts, contract: Contract) -> Iterator[Violation]:
    spans: tuple[tuple[str, int | None, Span | None], ...] = (
        ("n", facts.n, contract.n),
        ("partial_images", facts.partial_images, contract.partial_images),
        ("frame_count", facts.frame_count, contract.frame_count),
        ("frame_duration_ms", facts.frame_duration_ms, contract.frame_duration_ms),
    )
    for name, value, span in spans:
        if value is None or span is None or span.lowest <= value <= span.highest:
            continue
        rule = f"It must be between {span.lowest} and {span.highest}."
        yield _violation(facts, name, INVALID_VALUE, rule, str(value))
    longest = contract.prompt_chars
    if longest is not None and facts.surface.is_images and facts.prompt_chars > longest:
        yield _violation(facts, "prompt", INVALID_VALUE, f"It must have at most {longest} characters.")


def _picture(facts: Facts, fault: PictureFault, code: str) -> Violation:
    where = fault.param
    if facts.surface is Surface.RESPONSES and where == "mask":
        where = _where(facts, "input_image_mask")
    param = fault.param if fault.param in ("mask", "markup") else "image"
    return Violation(param=param, where=where, code=code, rule=fault.rule)


def _violation(facts: Facts, name: str, code: str, rule: str, value: str | None = None) -> Violation:
    shown = value if value is not None and is_plain(value) else None
    return Violation(param=name, where=_where(facts, name), code=code, rule=rule, value=shown)


def _where(facts: Facts, name: str) -> str:
    """Say how the body names a parameter: those of an image tool stand in the tool."""
    if facts.surface is not Surface.RESPONSES:
        return name
    return f"tools[{facts.tool.index if facts.tool is not None else 0}].{name}"


def _or(words: tuple[str, ...]) -> str:
    return " or ".join(words)
