"""The sandbox's pictures: a seeded composition with a label that says sandbox, the prompt and the size.

The same ``Poster`` gives the same bytes with the same Pillow. Blocking and CPU-bound: call it in a worker thread.
Must never read a font, a file or the network: the label is set in the scalable font that Pillow carries.
"""

import hashlib
import io
import math
import re
import unicodedata
from collections.abc import Sequence
from random import Random
from xml.sax.saxutils import escape

from msgspec import Struct
from PIL import Image, ImageDraw, ImageFont

from gateway.core.sandbox import Shape

Rgb = tuple[int, int, int]
Draw = ImageDraw.ImageDraw
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

# Sky from, sky to, sun, four layers from far to near. Each row was looked at with each scene.
PALETTES: tuple[tuple[str, ...], ...] = (
    ("2b1b4d", "f2937b", "ffd9a0", "b0577a", "7d3f6e", "4a2a5c", "241a40"),
    ("9ad0e8", "fdf3d8", "ff8f5a", "7fb3b8", "4c8d96", "2a6273", "173b50"),
    ("0f2b46", "5fb0a5", "f6e7b4", "3b8a8c", "226474", "164559", "0c2638"),
    ("f7c8a0", "fff3e2", "e4572e", "e9a178", "c46f56", "87455a", "43304f"),
    ("23324f", "c9b6d9", "ffe3ea", "8f86b8", "65639a", "434675", "262a4c"),
    ("d9ecd0", "fbfae8", "f2b632", "a5c9a0", "6ca384", "3d7669", "1f4a4b"),
    ("40112a", "e2574c", "ffc15e", "a3304b", "7a2145", "52193c", "2c0f2a"),
    ("b8c9f0", "fdeef0", "ff7f8e", "96a3dd", "6c76c0", "494d95", "2b2c62"),
)
COARSEST = 12  # tiles across the first preview; each further one has twice as many
SMALL_EDGE = 160  # below this a label cannot be read: only the badge is drawn
LETTERS = frozenset(map(chr, range(32, 127))) | frozenset("\u2018\u2019\u201c\u201d\u2026")  # that Pillow's font has
PAPER: Rgb = (252, 250, 245)
INK: Rgb = (28, 30, 38)
FADED: Rgb = (112, 114, 122)


class Poster(Struct, frozen=True, kw_only=True):
    """One picture to draw: ``index`` of ``shape.n`` counts from 0; ``notes`` are lines about the given pictures."""

    shape: Shape
    prompt: str
    index: int = 0
    notes: tuple[str, ...] = ()

    @property
    def caption(self) -> str:
        """The line of figures: size, format, quality, and which picture of how many."""
        shape = self.shape
        parts = [shape.size.replace("x", " x "), shape.format.upper(), shape.quality]
        if shape.n > 1:
            parts.append(f"{self.index + 1} of {shape.n}")
        return "  ·  ".join(parts)

    @property
    def seed(self) -> bytes:
        """32 bytes from everything that is to change the composition; format and quality do not."""
        return hashlib.sha256(f"{self.index}\n{self.prompt}".encode("utf-8", "surrogatepass")).digest()


def draw(poster: Poster) -> bytes:
    """Draw and encode. Takes any ``Shape``; a 1024x1024 PNG costs about 60 ms of CPU."""
    if poster.shape.format == "svg":
        return _svg(poster).encode()
    return _encoded(_picture(poster), poster.shape)


def draw_with_previews(poster: Poster, count: int) -> tuple[bytes, tuple[bytes, ...]]:
    """Draw, and give ``count`` previews too, from coarse to fine; an SVG has none."""
    if poster.shape.format == "svg":
        return draw(poster), ()
    canvas = _picture(poster)
    coarse = (_coarse(canvas, COARSEST << step) for step in range(count))
    return _encoded(canvas, poster.shape), tuple(_encoded(preview, poster.shape) for preview in coarse)


def _coarse(canvas: Image.Image, tiles: int) -> Image.Image:
    """Show a picture as tiles, so many across."""
    small = (max(1, min(tiles, canvas.width)), max(1, round(tiles * canvas.height / canvas.width)))
    return canvas.resize(small, Image.Resampling.BOX).resize(canvas.size, Image.Resampling.NEAREST)


def _picture(poster: Poster) -> Image.Image:
    shape, dice = poster.shape, Random(poster.seed)  # noqa: S311 - a composition, not a secret
    colours = [_rgb(text) for text in dice.choice(PALETTES)]
    scale = 2 if shape.width * shape.height <= 2_400_000 else 1  # draw twice as large, then halve: smooth edges
    size = (shape.width * scale, shape.height * scale)
    canvas = Image.new("RGBA", size, (0, 0, 0, 0)) if shape.transparent else _sky(size, colours[0], colours[1])
    scene = dice.choice((_hills, _tiles, _orbits))
    scene(canvas, colours, dice)
    if min(shape.width, shape.height) < SMALL_EDGE:
        _badge(ImageDraw.Draw(canvas), (size[0] * 0.06, size[1] * 0.06), min(size) / 6, colours[-1])
    else:
        _label(canvas, poster, colours)
    return canvas.reduce(scale) if scale > 1 else canvas


def _encoded(canvas: Image.Image, shape: Shape) -> bytes:
    out = io.BytesIO()
    match shape.format:
        case "jpeg":
            canvas.convert("RGB").save(out, "JPEG", quality=max(1, min(95, shape.compression)))
        case "webp":
            canvas.save(out, "WEBP", quality=min(90, shape.compression), method=1)
        case "gif":
            canvas.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(out, "GIF")
        case _:
            canvas.save(out, "PNG", compress_level=4)
    return out.getvalue()


def _rgb(text: str) -> Rgb:
    return (int(text[0:2], 16), int(text[2:4], 16), int(text[4:6], 16))


def _mix(one: Rgb, two: Rgb, share: float) -> Rgb:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, two, strict=True))
    return (red, green, blue)


def _sky(size: tuple[int, int], top: Rgb, bottom: Rgb) -> Image.Image:
    column = Image.new("RGB", (1, size[1]))
    column.putdata([_mix(top, bottom, y / size[1]) for y in range(size[1])])
    return column.resize(size, Image.Resampling.NEAREST)


def _disc(pen: Draw, x: float, y: float, radius: float, fill: Rgb) -> None:
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)


def _hills(canvas: Image.Image, colours: Sequence[Rgb], dice: Random) -> None:
    pen, (width, height) = ImageDraw.Draw(canvas), canvas.size
    short = min(canvas.size)
    x, y, radius = width * dice.uniform(0.22, 0.78), height * dice.uniform(0.22, 0.36), short * dice.uniform(0.08, 0.13)
    for ring in (2.1, 1.5):
        _disc(pen, x, y, radius * ring, _mix(colours[1], colours[2], 0.75 - ring / 4))
    _disc(pen, x, y, radius, colours[2])
    step = max(2, width // 400)
    for layer, colour in enumerate(colours[3:]):
        level = height * (0.46 + 0.11 * layer)
        waves = [(dice.uniform(0.6, 1.4) * k, dice.uniform(0, math.tau), 0.07 * height / k) for k in (1, 2, 4)]
        ridge = [
            (px, level + sum(high * math.sin(pace * math.tau * px / width + at) for pace, at, high in waves))
            for px in range(0, width + step, step)
        ]
        pen.polygon([*ridge, (width, height), (0, height)], fill=colour)


def _tiles(canvas: Image.Image, colours: Sequence[Rgb], dice: Random) -> None:
    pen, (width, height) = ImageDraw.Draw(canvas), canvas.size
    edge = min(width, height) / dice.choice((4, 5, 6))
    for row in range(math.ceil(height / edge)):
        for column in range(math.ceil(width / edge)):
            back, front = dice.sample(range(len(colours)), 2)
            left, top = column * edge, row * edge
            if canvas.mode == "RGB":  # on a transparent picture the background of a tile is what is left out
                pen.rectangle((left, top, left + edge, top + edge), fill=colours[back])
            _tile(pen, (left, top, edge), colours[front], dice)


def _tile(pen: Draw, place: tuple[float, float, float], fill: Rgb, dice: Random) -> None:
    left, top, edge = place
    x, y = left + edge * dice.randrange(2), top + edge * dice.randrange(2)
    across, down = 2 * left + edge - x, 2 * top + edge - y
    match dice.randrange(4):
        case 0:
            start = {(True, True): 0, (False, True): 90, (False, False): 180, (True, False): 270}[x == left, y == top]
            pen.pieslice((x - edge, y - edge, x + edge, y + edge), start, start + 90, fill=fill)
        case 1:
            _disc(pen, left + edge / 2, top + edge / 2, edge * 0.32, fill)
        case 2:
            pen.polygon([(x, y), (across, y), (x, down)], fill=fill)
        case _:
            start = 0 if y == top else 180
            pen.pieslice((left, y - edge / 2, left + edge, y + edge / 2), start, start + 180, fill=fill)


def _orbits(canvas: Image.Image, colours: Sequence[Rgb], dice: Random) -> None:
    pen, (width, height) = ImageDraw.Draw(canvas), canvas.size
    short = min(canvas.size)
    x, y = width * dice.uniform(0.3, 0.7), height * dice.uniform(0.28, 0.45)
    rings = 7
    for ring in range(rings, 0, -1):
        colour = _mix(colours[3 + ring % 4], colours[1], 0.12 * (ring % 3))
        _disc(pen, x, y, short * 0.085 * ring, colour)
    _disc(pen, x, y, short * 0.06, colours[2])
    for ring in range(2, rings + 1):
        angle, reach = dice.uniform(0, math.tau), short * 0.085 * (ring - 0.5)
        dot = short * dice.uniform(0.012, 0.026)
        _disc(pen, x + reach * math.cos(angle), y + reach * math.sin(angle), dot, colours[2])


def _label(canvas: Image.Image, poster: Poster, colours: Sequence[Rgb]) -> None:
    """Stick the waybill on: a paper card at the foot with stamp, prompt, figures and a bar code of the seed."""
    width, height = canvas.size
    unit = min(width, height) / 100
    pen = ImageDraw.Draw(canvas)
    margin, pad = 4 * unit, 3.2 * unit
    body, small = ImageFont.load_default(3.1 * unit), ImageFont.load_default(2.1 * unit)
    inner = width - 2 * margin - 2 * pad
    lines = _wrapped(_spelled(poster.prompt), body, inner, 3)
    notes = _clipped(poster.notes, 6)
    tall = 2 * pad + 5.6 * unit + len(lines) * 4.2 * unit + (len(notes) + 1) * 3.1 * unit
    top = height - margin - tall
    pen.rounded_rectangle((margin, top, width - margin, height - margin), radius=1.6 * unit, fill=PAPER)
    left, at = margin + pad, top + pad
    _badge(pen, (left, at), 2.5 * unit, colours[-1])
    _bars(pen, (width - margin - pad - 24 * unit, at, 24 * unit, 3.6 * unit), poster.seed)
    at += 5.6 * unit
    for line in lines:
        pen.text((left, at), line, font=body, fill=INK)
        at += 4.2 * unit
    for note in notes:
        pen.text((left, at), _fitted(note, small, inner), font=small, fill=INK)
        at += 3.1 * unit
    pen.text((left, at + 0.4 * unit), _fitted(poster.caption, small, inner), font=small, fill=FADED)


def _badge(pen: Draw, place: tuple[float, float], size: float, fill: Rgb) -> None:
    font = ImageFont.load_default(size)
    word = "SANDBOX"
    wide = pen.textlength(word, font=font)
    x, y = place
    pen.rounded_rectangle((x, y, x + wide + size * 1.2, y + size * 1.5), radius=size * 0.35, fill=fill)
    pen.text((x + size * 0.6, y + size * 0.75), word, font=font, fill=PAPER, anchor="lm")


def _bars(pen: Draw, box: tuple[float, float, float, float], seed: bytes) -> None:
    left, top, wide, tall = box
    widths = [1 + byte % 3 for byte in seed[:31]]  # bar, gap, bar … and a bar at the end
    step = wide / sum(widths)
    for place, width in enumerate(widths):
        if place % 2 == 0:
            pen.rectangle((left, top, left + max(0, width * step - 1), top + tall), fill=INK)
        left += width * step


def _clipped(notes: Sequence[str], most: int) -> list[str]:
    if len(notes) <= most:
        return list(notes)
    return [*notes[: most - 1], f"and {len(notes) - most + 1} more"]


def _spelled(prompt: str) -> str:
    """Write the prompt in the letters the font has: accents dropped, each run of others an ellipsis."""
    plain = unicodedata.normalize("NFKD", prompt[:400]).replace("\u2013", "-").replace("\u2014", "-")
    known = "".join(char for char in plain if not unicodedata.combining(char))
    known = re.sub(r"\s+", " ", known).strip()
    shown = re.sub("(?:\0 ?)+", "… ", "".join(char if char in LETTERS else "\0" for char in known)).strip()
    if shown.strip("… "):
        return shown
    return f"(a prompt of {len(prompt)} characters)" if known else "(no prompt)"


def _wrapped(text: str, font: Font, width: float, most: int) -> list[str]:
    """Break into at most ``most`` lines; what does not fit ends in an ellipsis."""
    words = text.split()
    lines: list[str] = []
    line = ""
    for place, word in enumerate(words):
        longer = f"{line} {word}" if line else word
        if not line or font.getlength(longer) <= width:
            line = longer
        elif len(lines) == most - 1:
            return [*lines, _fitted(" ".join([line, *words[place:]]), font, width)]
        else:
            lines.append(_fitted(line, font, width))
            line = word
    return [*lines, _fitted(line, font, width)]


def _fitted(text: str, font: Font, width: float) -> str:
    if font.getlength(text) <= width:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if font.getlength(text[:middle] + "…") <= width else (low, middle - 1)
    return text[:low].rstrip() + "…"


def _svg(poster: Poster) -> str:
    """Draw the hills as text; the viewer's own sans-serif sets the label."""
    width, height = poster.shape.width, poster.shape.height
    dice = Random(poster.seed)  # noqa: S311 - a composition, not a secret
    colours = [f"#{text}" for text in dice.choice(PALETTES)]
    hills = []
    for layer, colour in enumerate(colours[3:]):
        level = height * (0.42 + 0.13 * layer)
        lift = [round(level + height * dice.uniform(-0.1, 0.1), 1) for _ in range(4)]
        hills.append(
            f'<path fill="{colour}" d="M0 {lift[0]}C{width / 3:.1f} {lift[1]} {width * 2 / 3:.1f} {lift[2]} '
            f'{width} {lift[3]}V{height}H0Z"/>'
        )
    unit = min(width, height) / 100
    prompt = "".join(char for char in poster.prompt[:400] if char.isprintable())
    prompt = prompt if len(prompt) <= 60 else f"{prompt[:59]}…"
    texts = [("SANDBOX", 3.2), (prompt or "(no prompt)", 2.8), *((note, 2) for note in _clipped(poster.notes, 6))]
    texts.append((poster.caption, 2))
    top = height - unit * (8 + 4 * len(texts))
    rows = "".join(
        f'<text x="{7 * unit:.1f}" y="{top + unit * (6 + 4 * place):.1f}" font-size="{size * unit:.1f}">'
        f"{escape(text)}</text>"
        for place, (text, size) in enumerate(texts)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
        f'<defs><linearGradient id="sky" x2="0" y2="1"><stop stop-color="{colours[0]}"/>'
        f'<stop offset="1" stop-color="{colours[1]}"/></linearGradient></defs>'
        f'<rect width="{width}" height="{height}" fill="url(#sky)"/>'
        f'<circle cx="{width * dice.uniform(0.2, 0.8):.1f}" cy="{height * 0.27:.1f}" r="{13 * unit:.1f}" '
        f'fill="{colours[2]}"/>{"".join(hills)}'
        f'<rect x="{4 * unit:.1f}" y="{top:.1f}" width="{width - 8 * unit:.1f}" '
        f'height="{height - top - 4 * unit:.1f}" rx="{1.6 * unit:.1f}" fill="#fcfaf5"/>'
        f'<g font-family="sans-serif" fill="#1c1e26">{rows}</g></svg>'
    )
