import pytest

from gateway.core.size_rules import broken_rule, read_size
from gateway.core.terms import Sizes


@pytest.mark.parametrize(
    ("text", "size"),
    [("1024x1536", (1024, 1536)), ("auto", None), (None, None), ("1024X1024", None), ("0x9", None), ("1x1 ", None)],
)
def test_a_size_is_two_numbers(text: str | None, size: tuple[int, int] | None) -> None:
    assert read_size(text) == size


def test_fixed_sizes_are_listed_in_the_rule() -> None:
    assert broken_rule("9x9", Sizes(words=("auto", "1x1"))) == "Supported sizes are: auto, 1x1."
