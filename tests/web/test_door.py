"""Who may act as the operator."""

import asyncio

import pytest

from gateway.core.table import Secret
from gateway.web.door import Door
from gateway.web.errors import OperatorError

KEY = "op-key-of-some-length"
LOCKED = Door(key=Secret(KEY), is_local=True)
OPEN = Door(key=None, is_local=True)
ABROAD = Door(key=None, is_local=False)


def scope(peer: str | None = "127.0.0.1", **headers: str) -> dict[str, object]:
    named = {"host": "127.0.0.1:8484", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return {
        "type": "http",
        "client": None if peer is None else (peer, 40_000),
        "headers": [(name.encode(), value.encode()) for name, value in named.items()],
    }


def refusal(door: Door, given: dict[str, object]) -> int | None:
    try:
        asyncio.run(door.check_operator(given))
    except OperatorError as refused:
        return refused.error.status
    return None


@pytest.mark.parametrize("shown", [f"Bearer {KEY}", f"bearer  {KEY}", f" Bearer {KEY} "])
def test_the_key_opens_from_anywhere(shown: str) -> None:
    assert refusal(LOCKED, scope("10.1.2.3", authorization=shown, host="gw.example")) is None


@pytest.mark.parametrize(
    "shown",
    [
        "",
        KEY,
        "Bearer",
        "Bearer ",
        f"Basic {KEY}",
        f"Bearer {KEY[:-1]}",
        f"Bearer {KEY}x",
        f"Bearer {KEY} {KEY}",
        f"Bearer {KEY.upper()}",
        "Bearer ***",
        "Bearer \xff",
    ],
)
def test_nothing_else_does_and_every_refusal_is_the_same(shown: str) -> None:
    with pytest.raises(OperatorError) as refused:
        asyncio.run(LOCKED.check_operator(scope(authorization=shown)))
    with pytest.raises(OperatorError) as unnamed:
        asyncio.run(LOCKED.check_operator(scope()))
    assert refused.value.error == unnamed.value.error
    assert refused.value.error.status == 401
    assert refused.value.headers == ((b"www-authenticate", b"Bearer"),)


@pytest.mark.parametrize("host", ["127.0.0.1:8484", "localhost", "LOCALHOST:1", "[::1]:8484", "127.9.9.9"])
def test_without_a_key_this_machine_is_the_operator(host: str) -> None:
    assert refusal(OPEN, scope(host=host)) is None
    assert refusal(OPEN, scope("::1", host=host)) is None


@pytest.mark.parametrize(
    "given",
    [
        scope("10.1.2.3"),
        scope(None),
        scope(host="rebound.example"),
        scope(host="localhost.example"),
        scope(host=""),
        scope(x_forwarded_for="10.1.2.3"),
        scope(forwarded="for=10.1.2.3"),
        scope(x_real_ip="10.1.2.3"),
        scope(via="1.1 proxy"),
        scope(sec_fetch_site="cross-site"),
        scope(sec_fetch_site="same-site"),
        scope(origin="https://evil.example"),
        scope(origin="null"),
        scope(origin="http://127.0.0.1:9999"),
    ],
)
def test_nobody_else_is(given: dict[str, object]) -> None:
    assert refusal(OPEN, given) == 403


def test_a_browser_on_the_gateways_own_page_is_this_machine() -> None:
    assert refusal(OPEN, scope(origin="http://127.0.0.1:8484", sec_fetch_site="same-origin")) is None
    assert refusal(OPEN, scope(sec_fetch_site="none")) is None


def test_a_gateway_that_others_reach_and_that_has_no_key_is_closed() -> None:
    assert refusal(ABROAD, scope()) == 403


def test_figures_are_for_this_machine_and_for_the_operator() -> None:
    asyncio.run(LOCKED.check_reader(scope()))
    asyncio.run(ABROAD.check_reader(scope()))
    asyncio.run(LOCKED.check_reader(scope("10.1.2.3", authorization=f"Bearer {KEY}")))
    with pytest.raises(OperatorError):
        asyncio.run(LOCKED.check_reader(scope("10.1.2.3")))
    with pytest.raises(OperatorError):
        asyncio.run(OPEN.check_reader(scope(host="rebound.example")))
