"""Pictures: real, of the size asked, the same for the same prompt, quick and small."""

import io
import time
from xml.etree import ElementTree as ET

import pytest
from PIL import Image

from gateway.core.sandbox import Shape
from gateway.sandbox.drawing import Poster, draw


def poster(width: int = 320, height: int = 240, form: str = "png", *, clear: bool = False, **rest: object) -> Poster:
    shape = Shape(width=width, height=height, format=form, quality="low", transparent=clear, compression=80, n=1)
    return Poster(shape=shape, **({"prompt": "a fox"} | rest))  # type: ignore[arg-type]


@pytest.mark.parametrize("form", ["png", "jpeg", "webp", "gif"])
@pytest.mark.parametrize(("width", "height"), [(16, 16), (64, 300), (1000, 37), (160, 160), (640, 400), (2000, 1300)])
def test_a_real_picture_of_the_size_asked(form: str, width: int, height: int) -> None:
    with Image.open(io.BytesIO(draw(poster(width, height, form)))) as picture:
        picture.load()
        assert (picture.format, picture.size) == (form.upper(), (width, height))


@pytest.mark.parametrize("form", ["png", "webp", "svg"])
def test_the_same_poster_gives_the_same_bytes(form: str) -> None:
    assert draw(poster(form=form)) == draw(poster(form=form))


def test_prompt_and_index_change_the_picture() -> None:
    assert len({draw(poster()), draw(poster(prompt="a cat")), draw(poster(index=1)), draw(poster(notes=("n",)))}) == 4


@pytest.mark.parametrize("form", ["png", "webp"])
def test_transparent_means_transparent_pixels(form: str) -> None:
    for prompt in ("a", "b", "c", "d", "e", "f", "g", "h"):  # every scene comes up
        with Image.open(io.BytesIO(draw(poster(form=form, clear=True, prompt=prompt)))) as picture:
            assert picture.mode == "RGBA"
            assert picture.getchannel("A").getextrema() == (0, 255)


def test_opaque_has_no_alpha() -> None:
    with Image.open(io.BytesIO(draw(poster()))) as picture:
        assert picture.mode == "RGB"


def test_svg_is_well_formed_whatever_the_prompt() -> None:
    text = draw(poster(300, 200, "svg", prompt='<script>alert("&")</script>\x00\x1b \ufffe', notes=("<b>",)))
    root = ET.fromstring(text.decode())  # noqa: S314 - our own text
    assert (root.get("width"), root.get("height")) == ("300", "200")
    assert b"SANDBOX" in text
    assert b"<script" not in text


@pytest.mark.parametrize("prompt", ["", " \n ", "日本語", "\ud800", "x" * 32_000, "a " * 16_000, "\0\x07"])
def test_any_prompt_can_be_drawn(prompt: str) -> None:
    for form in ("png", "svg"):
        assert draw(poster(form=form, prompt=prompt))


def test_a_usual_picture_is_quick_and_small() -> None:
    draw(poster())
    begun = time.process_time()
    data = draw(poster(1024, 1024))
    assert time.process_time() - begun < 0.4  # about 0.05 s on an idle machine
    assert len(data) < 300_000
