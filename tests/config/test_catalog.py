# ruff: noqa: E501  # a case a line: the file reads as a table
import pytest

from gateway.config import catalog
from gateway.core.table import FailureCodes, Patience, Phrase
from gateway.core.types import FailureClass

SAMPLE = b"""\
as_of: 2026-11-20
sources: [a page]
codes: {insufficient_quota: quota_exhausted}
code_prefixes: {"ch": server_error, "channel:": model_missing}
types: {tokens: rate_limited}
statuses: {429: rate_limited, 503: overloaded}
phrases:
  - {text: Must be VERIFIED, class: account_not_ready}
"""


def test_a_failures_file_becomes_codes() -> None:
    assert catalog.read_failures(SAMPLE, "sample.yaml") == FailureCodes(
        codes={"insufficient_quota": FailureClass.QUOTA_EXHAUSTED},
        code_prefixes=(("channel:", FailureClass.MODEL_MISSING), ("ch", FailureClass.SERVER_ERROR)),
        types={"tokens": FailureClass.RATE_LIMITED},
        statuses={429: FailureClass.RATE_LIMITED, 503: FailureClass.OVERLOADED},
        phrases=(Phrase(text="must be verified", kind=FailureClass.ACCOUNT_NOT_READY),),
    )


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (b"rate_limited}", b"rate_limitd}", "sample.yaml:5:17: types.tokens: 'rate_limitd' is not known here; did you mean 'rate_limited'?"),
        (b"class:", b"klass:", "sample.yaml:8:30: phrases[0].klass: is not a key here; did you mean 'class'?"),
        (b"429:", b"4x9:", "sample.yaml:6:12: statuses.4x9"),
        (b"2026-11-20", b"today", "sample.yaml:1:8: as_of"),
        (b"[a page]", b"[]", "sample.yaml:2:10: sources: must have at least one entry"),
        (b"as_of: 2026-11-20\n", b"- x\n", "sample.yaml:"),
    ],
)  # fmt: skip
def test_a_broken_data_file_raises_with_its_place(old: bytes, new: bytes, expected: str) -> None:
    with pytest.raises(catalog.CatalogBroken) as broken:
        catalog.read_failures(SAMPLE.replace(old, new, 1), "sample.yaml")
    assert str(broken.value.mistakes[0]).startswith(expected)


def test_the_shipped_codes_are_read() -> None:
    codes = catalog.failure_codes()
    assert codes.codes["insufficient_quota"] is FailureClass.QUOTA_EXHAUSTED
    assert codes.statuses[503] is FailureClass.OVERLOADED
    assert all(phrase.text == phrase.text.lower() for phrase in codes.phrases)


def test_the_shipped_patience_is_what_the_documentation_says() -> None:
    assert catalog.patience() == Patience(
        by_quality={"low": 180.0, "medium": 360.0, "high": 600.0},
        default_s=600.0,
        heavy_s=600.0,
        heavy_pixels=2_000_000,
        heavy_inputs=4,
        responses_s=600.0,
    )
