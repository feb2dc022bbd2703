import pytest

from gateway.core.traceparent import continued, in_span

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01"),
        (f" 00-{TRACE}-{SPAN}-00\t", f"00-{TRACE}-{SPAN}-00"),
        (f"00-{TRACE}-{SPAN}-03", f"00-{TRACE}-{SPAN}-03"),
        (f"01-{TRACE}-{SPAN}-ff-what-comes", f"00-{TRACE}-{SPAN}-01"),
        (f"cc-{TRACE}-{SPAN}-00", f"00-{TRACE}-{SPAN}-00"),
    ],
)
def test_a_valid_header_goes_on(text: str, expected: str) -> None:
    assert continued(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"01-{TRACE}-{SPAN}-01more",
        f"00-{TRACE}-{SPAN}-01, 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\r\nx: y",
        "é" * 55,
    ],
)
def test_what_is_no_trace_is_none(text: str) -> None:
    assert continued(text) is None


def test_an_attempt_is_a_span_of_its_own() -> None:
    assert in_span(f"00-{TRACE}-{SPAN}-01", "1" * 16) == f"00-{TRACE}-{'1' * 16}-01"
