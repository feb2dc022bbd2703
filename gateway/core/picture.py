"""One given picture, taken in as its bytes pass: counted, hashed and its header read, in one pass."""

import hashlib

from gateway.core.images import Header, Sniffer, header_of
from gateway.core.types import ImageFacts


class PictureMeter:
    """Takes the bytes of one picture and keeps none of them but what the header reading needs."""

    __slots__ = ("_digest", "_sniffer", "length")

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._sniffer = Sniffer()
        self.length = 0

    def feed(self, data: bytes | memoryview) -> None:
        """Take the next bytes."""
        self.length += len(data)
        self._digest.update(data)
        self._sniffer.feed(data)

    def facts(self) -> ImageFacts:
        """Say what was seen; to be asked once, at the end."""
        return _facts(self._digest.hexdigest(), self.length, self._sniffer.facts())


def measured(data: bytes) -> ImageFacts:
    """Say of a picture that is here whole what a meter says of one that passes."""
    return _facts(hashlib.sha256(data).hexdigest(), len(data), header_of(data))


def _facts(sha256: str, length: int, seen: Header) -> ImageFacts:
    return ImageFacts(
        sha256=sha256,
        bytes=length,
        format=seen.format,
        width=seen.width,
        height=seen.height,
        alpha=seen.alpha,
    )
