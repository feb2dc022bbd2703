import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from gateway.allocator import settle
known = settle()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    bytes(8_000_000)
print(known, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is Linux's")
def test_large_pieces_come_from_a_heap_that_is_kept() -> None:
    said = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout.split()
    assert said[0] == "True"
    assert int(said[1]) < 10 * 8_000_000 // 4096  # without it every piece is mapped and faulted in anew
