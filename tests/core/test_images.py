"""What pictures' headers say, read whole and in slices, of sound pictures and of hostile ones."""

import io
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gateway.core.image_headers import MAX_STEPS, SVG_PREFIX
from gateway.core.images import Header, Sniffer, header_of

PNG = b"\x89PNG\r\n\x1a\n"
UNKNOWN = Header(format="unknown")


def sniff(data: bytes, size: int | None = None) -> Header:
    sniffer = Sniffer()
    step = size or max(1, len(data))
    for start in range(0, len(data), step):
        sniffer.feed(data[start : start + step])
    assert header_of(data) == sniffer.facts()
    return sniffer.facts()


def drawn(mode: str, kind: str, **options: bool) -> bytes:
    out = io.BytesIO()
    Image.new(mode, (37, 21)).save(out, kind, **options)
    return out.getvalue()


def chunk(name: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + name + data + b"\0\0\0\0"


def png(width: int = 5, height: int = 7, colour: int = 2, rest: bytes = b"") -> bytes:
    return PNG + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)) + rest


def segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def frame(marker: int = 0xC0, width: int = 5, height: int = 7) -> bytes:
    return segment(marker, struct.pack(">BHHB", 8, height, width, 3))


def jpeg(*segments: bytes) -> bytes:
    return b"\xff\xd8" + b"".join(segments)


def gif(*blocks: bytes, flags: int = 0) -> bytes:
    palette = b"\0" * (3 << (flags % 8 + 1)) if flags & 0x80 else b""
    return b"GIF89a" + struct.pack("<HHBBB", 5, 7, flags, 0, 0) + palette + b"".join(blocks)


def control(flags: int) -> bytes:
    return bytes((0x21, 0xF9, 4, flags, 0, 0, 0, 0))


def webp(name: bytes, data: bytes) -> bytes:
    return b"RIFF\0\0\0\0WEBP" + name + struct.pack("<I", len(data)) + data


def of(kind: str, width: int | None = None, height: int | None = None, *, alpha: bool | None = None) -> Header:
    return Header(format=kind, width=width, height=height, alpha=alpha)


IMAGE = b"\x2c\0\0\0\0\5\0\7\0\0"
LOSSY = b"\0\0\0\x9d\x01\x2a"
SOUND = [
    *[
        (drawn(mode, "PNG"), of("png", 37, 21, alpha=mode in {"RGBA", "LA"}))
        for mode in ("RGB", "RGBA", "L", "LA", "P")
    ],
    (drawn("RGB", "JPEG"), of("jpeg", 37, 21, alpha=False)),
    (drawn("RGB", "JPEG", progressive=True), of("jpeg", 37, 21, alpha=False)),
    (drawn("P", "GIF"), of("gif", 37, 21, alpha=False)),
    (drawn("RGBA", "GIF"), of("gif", 37, 21, alpha=True)),
    (drawn("RGB", "WEBP"), of("webp", 37, 21, alpha=False)),
    (drawn("RGBA", "WEBP"), of("webp", 37, 21, alpha=True)),
    (drawn("RGB", "WEBP", lossless=True), of("webp", 37, 21, alpha=False)),
    (drawn("RGBA", "WEBP", lossless=True), of("webp", 37, 21, alpha=True)),
    (b"<svg width='37' height=\"21px\"></svg>", of("svg", 37, 21)),
]
CASES = [
    (b"", UNKNOWN),
    (b"\0" * 40, UNKNOWN),
    (b"BM" + b"\0" * 40, UNKNOWN),
    (b"RIFF\0\0\0\0WAVEfmt ", UNKNOWN),
    # PNG
    (PNG, of("png")),
    (PNG + b"\0\0\0\x0d", of("png")),
    (PNG + chunk(b"CgBI", b"\0" * 40), of("png")),
    (png(), of("png", 5, 7)),
    (png(colour=6), of("png", 5, 7, alpha=True)),
    (png(colour=4), of("png", 5, 7, alpha=True)),
    (png(rest=chunk(b"IDAT")), of("png", 5, 7, alpha=False)),
    (png(rest=chunk(b"acTL", b"12345678") + chunk(b"IDAT")), of("png", 5, 7, alpha=False)),
    (png(rest=chunk(b"iTXt", b"x" * 100_000) + chunk(b"tRNS", b"\0") + chunk(b"IDAT")), of("png", 5, 7, alpha=True)),
    (png(colour=3, rest=chunk(b"PLTE") + chunk(b"tRNS", b"\xff\0") + chunk(b"IDAT")), of("png", 5, 7, alpha=True)),
    (png(colour=3, rest=chunk(b"PLTE") + chunk(b"tRNS", b"\xff\xff") + chunk(b"IDAT")), of("png", 5, 7, alpha=False)),
    (png(colour=3, rest=chunk(b"tRNS") + chunk(b"IDAT")), of("png", 5, 7, alpha=False)),
    (png(rest=chunk(b"IDAT") + chunk(b"tRNS")), of("png", 5, 7, alpha=False)),
    (png(rest=chunk(b"IEND")), of("png", 5, 7, alpha=False)),
    (png(rest=b"\xff\xff\xff\xffiTXt" + b"x" * 99), of("png", 5, 7)),
    (png(rest=chunk(b"tEXt") * MAX_STEPS + chunk(b"IDAT")), of("png", 5, 7)),
    (png(width=0, colour=6), of("png", alpha=True)),
    (png(height=0, rest=chunk(b"IDAT")), of("png", alpha=False)),
    (png(width=2**31, colour=6), of("png", alpha=True)),
    (png(width=2**31 - 1, colour=6), of("png", 2**31 - 1, 7, alpha=True)),
    # JPEG
    (b"\xff\xd8\xff", of("jpeg", alpha=False)),
    (jpeg(segment(0xE0, b"JFIF\0\1\1")), of("jpeg", alpha=False)),
    *[
        (jpeg(frame(marker)), of("jpeg", 5, 7, alpha=False))
        for marker in range(0xC0, 0xD0)
        if marker % 4 or marker == 0xC0
    ],
    *[(jpeg(segment(marker, b"\0" * 9), frame()), of("jpeg", 5, 7, alpha=False)) for marker in (0xC4, 0xC8, 0xCC)],
    (jpeg(*[segment(0xE2, b"p" * 65_533)] * 12, frame()), of("jpeg", 5, 7, alpha=False)),
    (jpeg(b"\xff\xff\xff", b"\xff\x01", b"\xff\xd0", frame()), of("jpeg", 5, 7, alpha=False)),
    (jpeg(b"\xff\xe1\0\0", frame()), of("jpeg", 5, 7, alpha=False)),
    (jpeg(segment(0xE1, b""), b"not a marker"), of("jpeg", alpha=False)),
    (jpeg(segment(0xDA, b"\0" * 9), frame()), of("jpeg", alpha=False)),
    (jpeg(frame(height=0)), of("jpeg", alpha=False)),
    (jpeg(*[segment(0xFE, b"")] * MAX_STEPS, frame()), of("jpeg", alpha=False)),
    # GIF
    (b"GIF87a\5\0\7\0", of("gif")),
    (b"GIF87a\5\0\7\0\0\0", of("gif")),
    (gif(), of("gif", 5, 7)),
    (gif(IMAGE), of("gif", 5, 7, alpha=False)),
    (gif(IMAGE, flags=0x87), of("gif", 5, 7, alpha=False)),
    (gif(control(1), IMAGE, flags=0x80), of("gif", 5, 7, alpha=True)),
    (gif(control(0), IMAGE), of("gif", 5, 7, alpha=False)),
    (gif(b"\x21\xff\x0bNETSCAPE2.0\x03\x01\0\0\0", control(1), IMAGE), of("gif", 5, 7, alpha=True)),
    (gif(b"\x3b\0\0\0"), of("gif", 5, 7)),
    (gif(b"\x21\xfe\0" * MAX_STEPS, IMAGE), of("gif", 5, 7)),
    # WebP
    (webp(b"VP8 ", b""), of("webp", alpha=False)),
    (webp(b"VP8 ", LOSSY + b"\5\xc0\7\x40"), of("webp", 5, 7, alpha=False)),
    (webp(b"VP8 ", b"\1\0\0\x9d\x01\x2a\5\0\7\0"), of("webp")),
    (webp(b"VP8 ", b"\0" * 10), of("webp")),
    (webp(b"VP8L", b"\x2f\x04\x80\x01\x10"), of("webp", 5, 7, alpha=True)),
    (webp(b"VP8L", b"\0\x04\x80\x01\x10"), of("webp")),
    (webp(b"VP8X", b"\x10\0\0\0\4\0\0\6\0\0"), of("webp", 5, 7, alpha=True)),
    (webp(b"VP8X", b"\0\0\0\0\4\0\0\6\0\0"), of("webp", 5, 7, alpha=False)),
    (webp(b"JUNK", b"\0" * 10), of("webp")),
    # SVG
    (b"<svg/>", of("svg")),
    (b"<svg>", of("svg")),
    (b"<html><svg/></html>", UNKNOWN),
    (b"<svgs/>", UNKNOWN),
    (b"<svg width='1'", UNKNOWN),
    (b"  plain text", UNKNOWN),
    (b"   ", UNKNOWN),
    (b'\xef\xbb\xbf \n<svg viewBox="0,0 7.6,8"/>', of("svg", 8, 8)),
    (b'<?xml version="1.0"?><!-- <svg width="1" height="1"> --><svg:svg viewBox="0 0 5 7">', of("svg", 5, 7)),
    (b'<!DOCTYPE svg PUBLIC "x" [ <!ENTITY a "b"> ]>\n<svg width="5" height="7">', of("svg", 5, 7)),
    (b'<svg width="100%" height="7" viewBox="0 0 50 70">', of("svg", 50, 70)),
    (b'<svg width="100%" height="7">', of("svg")),
    (b'<svg width="0" height="0" viewBox="0 0 0.2 9">', of("svg")),
    (b'<svg width="-5" height="9">', of("svg")),
    (b'<svg width="9999999999" height="9">', of("svg")),
    (b'<svg viewBox="0 0 5">', of("svg")),
    (b'<svg data-x=\' width="1" height="2"\' a-width="3" height="4" width="5">', of("svg", 5, 4)),
    (b"<svg>" + b"x" * (2 * SVG_PREFIX), of("svg")),
    (b"<!--" + b"x" * (2 * SVG_PREFIX) + b"--><svg/>", UNKNOWN),
    (b"<svg " + b"a" * (SVG_PREFIX - 6) + b">", of("svg")),
]


@pytest.mark.parametrize(("data", "expected"), [*SOUND, *CASES])
def test_the_header_is_told(data: bytes, expected: Header) -> None:
    assert sniff(data) == expected


@pytest.mark.parametrize("size", [1, 7, 4096])
@pytest.mark.parametrize(("data", "expected"), [case for case in [*SOUND, *CASES] if len(case[0]) < 2 * SVG_PREFIX])
def test_slices_do_not_matter(data: bytes, expected: Header, size: int) -> None:
    assert sniff(data, size) == expected


@pytest.mark.parametrize(("data", "expected"), SOUND)
def test_a_cut_picture_says_no_other_size(data: bytes, expected: Header) -> None:
    for end in range(min(len(data), 200)):
        seen = sniff(data[:end])
        assert seen.format in {"unknown", expected.format}
        assert (seen.width, seen.height) in {(None, None), (expected.width, expected.height)}


def test_asking_early_or_twice_settles_the_answer() -> None:
    sniffer = Sniffer()
    sniffer.feed(png())
    assert sniffer.facts() == of("png", 5, 7)
    sniffer.feed(chunk(b"tRNS"))
    assert sniffer.facts() == of("png", 5, 7)


def test_long_segments_are_passed_over_and_nothing_is_kept_after_the_header() -> None:
    sniffer = Sniffer()
    sniffer.feed(jpeg(segment(0xE1, b"e" * 60_000))[:30_000])
    assert len(sniffer._kept) == 0
    sniffer.feed(b"e" * 30_000 + frame() + b"x" * 100_000)
    assert len(sniffer._kept) < 200_000
    sniffer.feed(b"x" * 100_000)
    assert len(sniffer._kept) < 200_000


@settings(deadline=None)
@given(st.binary(max_size=300), st.sampled_from([b"", PNG, png(), jpeg(), gif(), webp(b"VP8X", b""), b"<svg "]))
def test_anything_may_come(data: bytes, start: bytes) -> None:
    whole = sniff(start + data)
    assert whole == sniff(start + data, 1) == sniff(start + data, 13)
    assert (whole.width is None) == (whole.height is None)
    assert all(side is None or 1 <= side < 2**31 for side in (whole.width, whole.height))
