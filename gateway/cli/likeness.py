"""What the pixels of pictures say: whether they can be read at all, how much of them is see-through, how two differ.

The command line may decode pixels; the server never does. Must never raise for what a picture holds, and decodes
nothing that claims more pixels than any model makes.
"""

import io
import math
import warnings

from msgspec import Struct
from PIL import Image, ImageChops, ImageDraw, ImageStat, UnidentifiedImageError

from gateway.cli.commission import Given

MOST_PIXELS = 64_000_000
_OPAQUE = 255


class Pixels(Struct, frozen=True, kw_only=True):
    """A decoded picture. ``clear``: the share of pixels that are see-through at all, from 0 to 1."""

    mode: str
    width: int
    height: int
    clear: float
    shown: Image.Image


def read_pixels(data: bytes) -> Pixels | None:
    """Decode a picture; nothing when it is none that can be decoded (an SVG, half a picture, too large)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            picture = Image.open(io.BytesIO(data))
            if picture.width * picture.height > MOST_PIXELS:
                return None
            shown = picture.convert("RGBA")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError, Warning):
        return None
    alpha = shown.getchannel("A").histogram()
    clear = sum(alpha[:_OPAQUE]) / max(1, shown.width * shown.height)
    return Pixels(mode=picture.mode, width=shown.width, height=shown.height, clear=clear, shown=shown)


def difference(one: Pixels, other: Pixels) -> float | None:
    """Give the mean difference of two pictures of one size, from 0 (the same) to 1; nothing for two sizes."""
    if (one.width, one.height) != (other.width, other.height):
        return None
    stat = ImageStat.Stat(ImageChops.difference(one.shown, other.shown))
    return sum(stat.mean) / len(stat.mean) / _OPAQUE


def sample_picture(width: int, height: int) -> Given:
    """Draw a picture to be changed: a disc over a shaded ground."""
    ground = Image.linear_gradient("L").resize((width, height)).convert("RGB")
    ImageDraw.Draw(ground).ellipse(_middle(width, height), fill=(200, 60, 40))
    return Given(name="smoke.png", data=_png(ground))


def sample_mask(width: int, height: int) -> Given:
    """Draw a mask as large as a picture: its middle may be redrawn."""
    mask = Image.new("RGBA", (width, height), (255, 255, 255, 255))
    ImageDraw.Draw(mask).ellipse(_middle(width, height), fill=(0, 0, 0, 0))
    return Given(name="mask.png", data=_png(mask))


def _middle(width: int, height: int) -> tuple[float, float, float, float]:
    radius = math.floor(min(width, height) / 4)
    return (width / 2 - radius, height / 2 - radius, width / 2 + radius, height / 2 + radius)


def _png(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()
