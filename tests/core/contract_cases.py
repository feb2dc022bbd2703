"""The shipped contracts, and short ways to make a request that is held against them."""

from typing import Any

from msgspec.structs import replace

from gateway.config.contracts import contracts
from gateway.config.prices import prices
from gateway.core.terms import Contract
from gateway.core.types import Facts, ImageFacts, InputFacts, InputRole, Surface, ToolFacts

CATALOG = contracts(prices().tables)


def contract(name: str) -> Contract:
    found = CATALOG.named(name)
    assert found is not None
    return found


def generation(**options: Any) -> Facts:
    return replace(Facts(surface=Surface.GENERATIONS, asked_model="m"), **options)


def edit(*inputs: ImageFacts | None, mask: ImageFacts | None = None, source: str = "upload", **options: Any) -> Facts:
    given = tuple(InputFacts(role=InputRole.IMAGE, source=source, image=image) for image in inputs)
    masked = None if mask is None else InputFacts(role=InputRole.MASK, source=source, image=mask)
    return replace(Facts(surface=Surface.EDITS, asked_model="m", inputs=given, mask=masked), **options)


def turn(index: int = 0, **options: Any) -> Facts:
    tool = ToolFacts(asked_model="m", forced=False, index=index)
    return replace(Facts(surface=Surface.RESPONSES, asked_model="chat", tool=tool), **options)


def picture(
    form: str = "png",
    width: int | None = 1024,
    height: int | None = 1024,
    *,
    size: int = 3_000_000,
    alpha: bool | None = False,
) -> ImageFacts:
    return ImageFacts(sha256="0" * 64, bytes=size, format=form, width=width, height=height, alpha=alpha)


def mask(width: int | None = 1024, height: int | None = 1024, **more: Any) -> ImageFacts:
    return replace(picture("png", width, height, size=20_000, alpha=True), **more)


def markup(image: ImageFacts) -> InputFacts:
    return InputFacts(role=InputRole.MARKUP, source="upload", image=image)
