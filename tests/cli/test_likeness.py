"""Pixels read by the command line: real pictures, halves of them, lies about their size, and what is no picture."""

import struct
import zlib

import pytest

from gateway.cli.likeness import difference, read_pixels, sample_mask, sample_picture
from tests.fakes.answers import png


def claiming(width: int, height: int) -> bytes:
    """A PNG whose header says more than there is."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    head = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + head + png(8, 8)[33:]


def test_how_much_is_see_through() -> None:
    plain, clear = read_pixels(png(16, 16)), read_pixels(png(16, 16, alpha=True, noise=True))
    assert plain is not None
    assert clear is not None
    assert (plain.mode, plain.clear) == ("RGB", 0)
    assert clear.mode == "RGBA"
    assert clear.clear > 0.9


def test_how_far_apart() -> None:
    one, same, other, small = (
        read_pixels(png(16, side, seed=seed)) for side, seed in ((16, 1), (16, 1), (16, 2), (8, 1))
    )
    assert one is not None
    assert same is not None
    assert other is not None
    assert small is not None
    assert difference(one, same) == 0
    apart = difference(one, other)
    assert apart is not None
    assert 0 < apart < 1
    assert difference(one, small) is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"not a picture",
        png(64, 64, noise=True)[:-200],
        claiming(50_000, 50_000),
        claiming(9_000, 9_000),
        claiming(64, 64),
        claiming(0, 7),
    ],
)
def test_what_cannot_be_read_is_nothing(data: bytes) -> None:
    assert read_pixels(data) is None


def test_what_is_drawn_to_be_changed() -> None:
    picture, mask = read_pixels(sample_picture(320, 200).data), read_pixels(sample_mask(320, 200).data)
    assert picture is not None
    assert mask is not None
    assert (picture.width, picture.height, mask.width, mask.height) == (320, 200, 320, 200)
    assert 0 < mask.clear < 1
