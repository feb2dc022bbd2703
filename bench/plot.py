"""Draws small line plots as SVG: axes that are linear or logarithmic, points, a fitted line. No dependency."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

WIDTH: Final = 440
HEIGHT: Final = 280
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 34, 46
STEPS: Final = 60  # pieces of a fitted line


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """One plot: what goes along the bottom and up the side, the points, and the line through them."""

    title: str
    across: str
    upward: str
    points: Sequence[tuple[float, float]]
    line: Callable[[float], float]
    is_log: bool = False  # the bottom; the side is linear and begins at zero


def sheet(plots: Sequence[Plot], columns: int = 2) -> str:
    """Give one SVG with all plots on it."""
    rows = math.ceil(len(plots) / columns)
    parts = [
        f'<g transform="translate({at % columns * WIDTH} {at // columns * HEIGHT})">{_drawn(plot)}</g>'
        for at, plot in enumerate(plots)
    ]
    width, height = columns * WIDTH, rows * HEIGHT
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="sans-serif" font-size="11"><rect width="{width}" height="{height}" fill="#fff"/>'
        f"{''.join(parts)}</svg>\n"
    )


def _drawn(plot: Plot) -> str:
    xs = [math.log10(x) if plot.is_log else x for x, _ in plot.points]
    low, high = (min(xs), max(xs)) if plot.is_log else (0.0, max(xs))
    top = _rounded(max(y for _, y in plot.points) * 1.1)

    def across(x: float) -> float:
        place = math.log10(x) if plot.is_log else x
        return LEFT + (place - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def up(y: float) -> float:
        return HEIGHT - BOTTOM - y / top * (HEIGHT - TOP - BOTTOM)

    floor = HEIGHT - BOTTOM
    marks = [f'<text x="{LEFT}" y="20" font-size="13" font-weight="bold">{escape(plot.title)}</text>']
    for part in range(5):
        value = top * part / 4
        y = up(value)
        marks.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        marks.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_said(value)}</text>')
    for x, _ in _ticks(plot):
        at = across(x)
        marks.append(f'<path d="M{at:.1f} {floor}v4" stroke="#555"/>')
        marks.append(f'<text x="{at:.1f}" y="{floor + 16}" text-anchor="middle">{_said(x)}</text>')
    marks.append(f'<path d="M{LEFT} {TOP}V{floor}H{WIDTH - RIGHT}" fill="none" stroke="#555"/>')
    marks.append(f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 10}" text-anchor="middle">{escape(plot.across)}</text>')
    side = (TOP + floor) / 2
    turned = f'transform="rotate(-90 14 {side})"'
    marks.append(f'<text x="14" y="{side}" text-anchor="middle" {turned}>{escape(plot.upward)}</text>')
    first, last = plot.points[0][0], plot.points[-1][0]
    bends = [_between(first, last, step / STEPS, is_log=plot.is_log) for step in range(STEPS + 1)]
    path = " ".join(f"{across(x):.1f},{up(max(0.0, plot.line(x))):.1f}" for x in bends)
    marks.append(f'<polyline points="{path}" fill="none" stroke="#c2410c" stroke-width="1.5"/>')
    marks += [f'<circle cx="{across(x):.1f}" cy="{up(y):.1f}" r="3.5" fill="#1d4ed8"/>' for x, y in plot.points]
    return "".join(marks)


def _ticks(plot: Plot) -> Sequence[tuple[float, float]]:
    """Give the points that are named along the bottom: those that do not crowd."""
    if plot.is_log:
        return plot.points
    span = plot.points[-1][0]
    named: list[tuple[float, float]] = []
    for point in plot.points:
        if not named or point[0] - named[-1][0] > span / 12:
            named.append(point)
    return named


def _between(first: float, last: float, share: float, *, is_log: bool) -> float:
    return float(first * (last / first) ** share) if is_log else first + (last - first) * share


def _rounded(value: float) -> float:
    """Give the next number above that is 1, 2, 4 or 8 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * digit for digit in (1, 2, 4, 8, 10) if power * digit >= value)


def _said(value: float) -> str:
    if value >= 1_000_000:
        return f"{value / 1_000_000:g}M"
    return f"{value / 1_000:g}k" if value >= 10_000 else f"{value:,.4g}"
