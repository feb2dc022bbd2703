import pytest

from gateway.core.netguard import is_loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1", "localhost"])
def test_only_this_machine_reaches_these(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "10.0.0.1", "::ffff:10.0.0.1", "localhost.example.com", "example.com", "", "127.1"]
)
def test_others_reach_these_or_nobody_can_tell(host: str) -> None:
    assert not is_loopback(host)
