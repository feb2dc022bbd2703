"""Settings of the C library's allocator for a process that passes large bodies through, where that library is glibc.

As glibc comes, every piece of a large body is mapped anew from the system and given back, and each new page is a fault
and is cleared: a sixth of what a large answer costs. Here pieces come from one heap that is kept. Measured with answers
of 3 and 20 MB and forms of 16 MB; a threshold beyond 32 MiB is refused by glibc, a larger pad only costs memory.
"""

import ctypes
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

GLIBC: Final = "libc.so.6"
MIB: Final = 1024 * 1024
SETTINGS: Final[Mapping[int, int]] = MappingProxyType(  # the numbers are those of malloc.h
    {
        -8: 1,  # M_ARENA_MAX: threads share one heap; the interpreter runs one of them at a time anyway
        -3: 32 * MIB,  # M_MMAP_THRESHOLD: a smaller piece comes from the heap
        -1: 96
        * MIB,  # M_TRIM_THRESHOLD: so much may lie free at its end before it shrinks; the spool keeps less in memory
        -2: 4 * MIB,  # M_TOP_PAD: by so much it grows at once
    }
)


def settle() -> bool:
    """Set the allocator up; whether it is one that can be. Call it once, before much is allocated."""
    try:
        adjust = ctypes.CDLL(GLIBC).mallopt
    except (OSError, AttributeError):
        return False
    return all(adjust(name, value) == 1 for name, value in SETTINGS.items())
