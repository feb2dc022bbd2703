"""The picture within a data URL, decoded piece by piece for its facts and not kept.

Rules: a payload is a picture only when it is whole base64 (the standard alphabet, padded; white space passed over);
of anything else there are no facts. Must never keep a picture, and never raise for what a data URL holds.
"""

import binascii
import re

import pybase64

from gateway.core.picture import PictureMeter
from gateway.core.types import ImageFacts

_HEAD = re.compile(r"data:[^,]{0,256};base64,", re.IGNORECASE)
_SPACE = b" \t\r\n"


class PayloadMeter:
    """Takes the base64 of one picture, in slices of any length, and measures what it stands for."""

    __slots__ = ("_broken", "_padded", "_picture", "_rest")

    def __init__(self) -> None:
        self._picture = PictureMeter()
        self._rest = b""  # of a quantum of four characters
        self._padded = False
        self._broken = False

    def feed(self, text: bytes) -> None:
        """Take the next characters."""
        if self._broken:
            return
        text = self._rest + text.translate(None, _SPACE)
        whole = len(text) // 4 * 4
        self._rest = text[whole:]
        if whole:
            self._decode(text[:whole])

    def facts(self) -> ImageFacts | None:
        """Say what was seen; ``None`` when it was no whole base64."""
        if self._broken or self._rest or not self._picture.length:
            return None
        return self._picture.facts()

    def _decode(self, quanta: bytes) -> None:
        try:
            data = pybase64.b64decode(quanta, validate=True)
        except binascii.Error:
            self._broken = True
            return
        self._broken = self._padded
        self._padded = quanta.endswith(b"=")
        self._picture.feed(data)


def read_data_url(text: str) -> ImageFacts | None:
    """Give the facts of a whole data URL; ``None`` when it carries no picture in base64."""
    head = _HEAD.match(text)
    if head is None or not text.isascii():
        return None
    meter = PayloadMeter()
    meter.feed(text[head.end() :].encode("ascii"))
    return meter.facts()
