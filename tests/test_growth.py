"""The line through measured points, what it is held to, and the drawing of it."""

import math
from xml.etree import ElementTree as ET

import pytest

from bench.growth import Series, as_json, drawn, fitted

SIZES = (0.001, 1.0, 3.0, 20.0, 40.0)


def series(*costs: float, is_linear: bool = True, at: tuple[float, ...] = SIZES) -> Series:
    points = tuple(zip(at, costs, strict=True))
    return Series(name="size of the answer", across="MB", is_linear=is_linear, points=points)


def test_the_line_is_found() -> None:
    assert fitted([(x, 1.5 + 2.5 * x) for x in SIZES]) == pytest.approx((1.5, 2.5))


def test_linear_is_linear_and_more_is_not() -> None:
    assert series(*(1.5 + 1.4 * x for x in SIZES)).holds
    assert not series(*(1.5 + 1.4 * x + 0.03 * x * x for x in SIZES)).holds


def test_flat_is_flat_and_cheaper_is_too() -> None:
    rows = (1e3, 1e4, 1e5, 1e6)
    assert series(1.4, 1.45, 1.38, 1.5, is_linear=False, at=rows).holds
    assert series(3.0, 2.0, 1.5, 1.4, is_linear=False, at=rows).holds
    grown = series(*(1.0 + 0.2 * math.log10(x) for x in rows), is_linear=False, at=rows)
    assert not grown.holds
    assert grown.line == pytest.approx((1.0, 0.2))


def test_it_is_drawn_and_written() -> None:
    found = [series(2, 3, 6, 30, 60), series(1, 1, 1, 1, 1, is_linear=False)]
    picture = ET.fromstring(drawn(found))  # noqa: S314 - our own
    assert len(list(picture.iter("{http://www.w3.org/2000/svg}circle"))) == 10
    assert len(list(picture.iter("{http://www.w3.org/2000/svg}polyline"))) == 2
    assert '"expected": "flat"' in as_json(found)
