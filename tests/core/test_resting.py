"""What a request is told when every target rests."""

import pytest

from gateway.core.resting import CHANNEL_LIMIT, CHANNEL_OFF, Resting, refusal
from gateway.core.types import Excluded, Fault


def rest(target: str, reason: str, back_in_s: float) -> Resting:
    return Resting(target=target, reason=reason, back_in_s=back_in_s)


@pytest.mark.parametrize(
    ("reason", "status", "code", "fault"),
    [
        ("rate_limited", 429, "rate_limit_exceeded", Fault.ACCOUNT),
        (CHANNEL_LIMIT, 429, "rate_limit_exceeded", Fault.ACCOUNT),
        ("quota_exhausted", 503, "no_healthy_target", Fault.ACCOUNT),
        ("key_rejected", 503, "no_healthy_target", Fault.ACCOUNT),
        ("account_not_ready", 503, "no_healthy_target", Fault.ACCOUNT),
        ("ejected", 503, "no_healthy_target", Fault.UPSTREAM),
        ("model_missing", 503, "no_healthy_target", Fault.ROUTING),
        (CHANNEL_OFF, 503, "no_healthy_target", Fault.ROUTING),
    ],
)
def test_the_one_that_comes_back_first_decides(reason: str, status: int, code: str, fault: Fault) -> None:
    resting = [rest("a/m", "quota_exhausted", 600.0), rest("b/m", reason, 12.5)]
    excluded = [Excluded(target="a/m", reason="quota_exhausted")]
    refused = refusal(resting, excluded)
    assert (refused.status, refused.code, refused.fault, refused.retry_after_s) == (status, code, fault, 12.5)
    assert f"(a/m: quota_exhausted; b/m: {reason})" in refused.message
    assert refused.excluded == tuple(excluded)


def test_nobody_is_told_to_come_back_at_once() -> None:
    assert refusal([rest("a/m", "rate_limited", 0.01)], ()).retry_after_s == 1.0
