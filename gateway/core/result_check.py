"""A result held against what was asked: the differences, as the words of ``x-route-warnings``.

Gateways accept less than was asked (a smaller picture, another model) with status 200; here it is seen. Rules: pure;
only what the answer really shows or says counts, what it leaves out is no difference; a picture's size and transparency
are those of its own header. Nothing is said when the caller left the choice to the model. It must never judge whether a
difference is a failure: that is the route's choice (``result:``).
"""

import re
from collections.abc import Iterator

from msgspec import Struct

from gateway.core.plan import Target
from gateway.core.seen import Reading
from gateway.core.size_rules import read_size
from gateway.core.terms import Contract
from gateway.core.tokens import Size, TokenTable, formula
from gateway.core.types import Facts, ImageFacts

SIZE_MISMATCH = "size_mismatch"
QUALITY_MISMATCH = "quality_mismatch"
FORMAT_MISMATCH = "format_mismatch"
MODEL_MISMATCH = "model_mismatch"
COUNT_MISMATCH = "count_mismatch"
ALPHA_MISSING = "alpha_missing"
TOKENS_MISMATCH = "tokens_mismatch"
NOT_AN_IMAGE = "not_an_image"

DIFFERENCES = (
    SIZE_MISMATCH,
    QUALITY_MISMATCH,
    FORMAT_MISMATCH,
    MODEL_MISMATCH,
    COUNT_MISMATCH,
    ALPHA_MISSING,
    TOKENS_MISMATCH,
    NOT_AN_IMAGE,
)

TOKENS_TOLERANCE = 0.05  # of the expected number

_AUTO = "auto"
_UNKNOWN = "unknown"
_NO_PIXELS = "svg"
_MOVING_OR_DRAWN = frozenset({"gif", "svg"})
_SNAPSHOT = re.compile(r"-20[0-9]{2}-[0-9]{2}-[0-9]{2}")


class Sent(Struct, frozen=True, kw_only=True):
    """What one target was asked. ``facts`` are those after translation; ``names`` what its model may call itself.

    ``contract`` is that of the pictures: the image tool's in a Responses request.
    """

    facts: Facts
    contract: Contract
    names: frozenset[str]
    tool_names: frozenset[str] = frozenset()


def sent_to(target: Target, facts: Facts) -> Sent:
    """Say what a target was asked. A dated name may call itself by that day only; any other, also as its contract."""
    own = {target.sent_model}
    if not _SNAPSHOT.search(target.sent_model):
        own |= {target.row.name, target.contract.name}
    tool = target.tool_sent_model
    return Sent(
        facts=target.facts or facts,
        contract=target.contract,
        names=frozenset(own),
        tool_names=frozenset() if tool is None else frozenset({tool, target.contract.name}),
    )


def differences(sent: Sent, reading: Reading) -> tuple[str, ...]:
    """Give what is different in a delivered answer, each word once, in the order of ``DIFFERENCES``."""
    found = set(_of_pictures(sent, reading)) | set(_of_words(sent, reading))
    return tuple(word for word in DIFFERENCES if word in found)


def _of_pictures(sent: Sent, reading: Reading) -> Iterator[str]:
    facts, pictures = sent.facts, reading.pictures
    if facts.surface.is_images and len(pictures) + reading.url_count != facts.n:
        yield COUNT_MISMATCH
    if reading.not_pictures:
        yield NOT_AN_IMAGE
    asked = read_size(facts.size)
    form = facts.output_format or sent.contract.default_format
    for picture in pictures:
        if picture.format == _UNKNOWN:
            yield NOT_AN_IMAGE
            continue
        if asked is not None and _is_other_size(picture, asked):
            yield SIZE_MISMATCH
        if form is not None and picture.format != form:
            yield FORMAT_MISMATCH
        if facts.background == "transparent" and picture.alpha is False:
            yield ALPHA_MISSING
    if _is_off_in_tokens(sent, reading):
        yield TOKENS_MISMATCH


def _is_other_size(picture: ImageFacts, asked: tuple[int, int]) -> bool:
    has_pixels = picture.format != _NO_PIXELS and picture.width is not None
    return has_pixels and (picture.width, picture.height) != asked


def _of_words(sent: Sent, reading: Reading) -> Iterator[str]:
    facts = sent.facts
    if _is_other(facts.size, reading.size):
        yield SIZE_MISMATCH
    if _is_other(facts.quality, reading.quality):
        yield QUALITY_MISMATCH
    if _is_other(facts.output_format, reading.output_format):
        yield FORMAT_MISMATCH
    if _is_other_model(sent.names, reading.served_model) or _is_other_model(sent.tool_names, reading.tool_model):
        yield MODEL_MISMATCH


def _is_other(asked: str | None, said: str | None) -> bool:
    return asked is not None and asked != _AUTO and said is not None and said != asked


def _is_other_model(names: frozenset[str], served: str | None) -> bool:
    """Whether a model calls itself something that is none of ``names``.

    A snapshot is what its undated name stands for; two snapshots of different days are not the same.
    """
    if served is None or not names or served in names:
        return False
    return _SNAPSHOT.sub("", served) not in names and served not in {_SNAPSHOT.sub("", name) for name in names}


def _is_off_in_tokens(sent: Sent, reading: Reading) -> bool:
    """Whether the pictures took other output tokens than their size and quality take: a sign of another model."""
    facts, table, tokens = sent.facts, sent.contract.tokens, reading.image_tokens
    if table is None or tokens is None or not reading.pictures or reading.url_count:
        return False
    quality = facts.quality if facts.quality not in (None, _AUTO) else reading.quality
    counts = [_tokens_of(picture, table, quality) for picture in reading.pictures]
    told = [count for count in counts if count is not None]
    if len(told) < len(counts):
        return False
    previews = table.partial * (facts.partial_images or 0) * len(counts)
    return not sum(told) * (1 - TOKENS_TOLERANCE) <= tokens <= sum(told) * (1 + TOKENS_TOLERANCE) + previews


def _tokens_of(picture: ImageFacts, table: TokenTable, quality: str | None) -> int | None:
    """Give the output tokens of one still picture; ``None`` when the table does not say."""
    if picture.width is None or picture.height is None or picture.format in _MOVING_OR_DRAWN:
        return None
    size: Size = (picture.width, picture.height)
    factor = table.factors.get(quality or "")
    return table.fixed.get(size, {}).get(quality or "") if factor is None else formula(factor, size)
