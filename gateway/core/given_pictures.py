"""Whether a model takes the pictures that were given: number, format, bytes; and the mask and the markup with them.

Everything is read from header facts; pixels are never decoded, and there is no limit on them here, since an upstream
has its own. What a header does not tell, or a picture that came as an address, is not checked. Nothing is said of a
mask's *meaning*: which pixels are edited is the model's matter.
"""

from collections.abc import Iterator

from msgspec import Struct

from gateway.core.terms import Contract, Overlay
from gateway.core.types import Facts, ImageFacts, InputFacts, Surface

_UNSIZED_IS_FINE = frozenset({"jpeg", "svg"})  # a JPEG may give its height behind the pixels


class PictureFault(Struct, frozen=True, kw_only=True):
    """What is wrong with a given picture: the parameter it came in, and a sentence."""

    param: str
    rule: str


def input_faults(facts: Facts, contract: Contract) -> Iterator[PictureFault]:
    """Check the pictures to work on."""
    rules = contract.inputs
    if rules is None:
        return
    if len(facts.inputs) > rules.count:
        yield PictureFault(param=_param(facts, None), rule=f"At most {rules.count} pictures may be given.")
    for index, given in enumerate(facts.inputs):
        image, param = given.image, _param(facts, index)
        if image is None:
            continue
        if image.format not in rules.formats:
            yield PictureFault(param=param, rule=f"It must be a picture in one of: {', '.join(rules.formats)}.")
        elif _is_sizeless(image):
            yield PictureFault(param=param, rule="Its header gives no size in pixels.")
        if rules.max_bytes is not None and image.bytes >= rules.max_bytes:
            yield PictureFault(param=param, rule=f"It must have fewer than {rules.max_bytes} bytes.")


def overlay_faults(facts: Facts, contract: Contract) -> Iterator[PictureFault]:
    """Check the mask and the markup."""
    first = facts.inputs[0].image if facts.inputs else None
    if facts.mask is not None and contract.mask is not None:
        yield from _overlay(facts.mask, contract.mask, first, "mask")
    if facts.markup is not None and contract.markup is not None:
        yield from _overlay(facts.markup, contract.markup, first, "markup")
        if facts.mask is not None:
            yield PictureFault(param="markup", rule="It cannot be combined with a mask.")


def _overlay(given: InputFacts, rules: Overlay, first: ImageFacts | None, param: str) -> Iterator[PictureFault]:
    image = given.image
    if image is None:
        return
    if image.format != "png":
        yield PictureFault(param=param, rule="It must be a PNG.")
        return
    if _is_sizeless(image):
        yield PictureFault(param=param, rule="Its header gives no size in pixels.")
    elif first is not None and first.width is not None and (image.width, image.height) != (first.width, first.height):
        yield PictureFault(param=param, rule="It must have the same width and height as the first picture.")
    if image.alpha is False:
        yield PictureFault(param=param, rule="It must have an alpha channel: its transparent pixels mark the place.")
    if image.bytes >= rules.max_bytes:
        yield PictureFault(param=param, rule=f"It must have fewer than {rules.max_bytes} bytes.")


def _is_sizeless(image: ImageFacts) -> bool:
    return image.width is None and image.format not in _UNSIZED_IS_FINE


def _param(facts: Facts, index: int | None) -> str:
    """Name the parameter that a picture came in: a form has ``image``, a JSON edit ``images``, a turn ``input``."""
    if facts.surface is Surface.RESPONSES:
        return "input"
    if any(given.source == "upload" for given in facts.inputs):
        return "image"
    return "images" if index is None else f"images[{index}]"
