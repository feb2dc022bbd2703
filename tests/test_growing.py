"""A form on its way out while it arrives: whatever goes out, and however it came, is how the changed form begins."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.bodies.growing import Growing
from gateway.bodies.spool import Spool, SpooledBody, spliced
from gateway.core.ahead import LEAST, begins, sketch
from gateway.core.types import Splice, Wire
from tests.core.tables import channel, row

WIRE = Wire(path="/images/edits", headers=(), splices=())
SIZE = 8 * LEAST
BODY = bytes(at * 7 % 251 for at in range(SIZE))


@pytest.mark.parametrize("in_memory", [True, False])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.integers(1, 3 * LEAST), min_size=1, max_size=12),
    lags=st.lists(st.integers(0, 2 * LEAST), min_size=1, max_size=12),
    places=st.lists(st.integers(0, SIZE), max_size=6, unique=True),
    is_merged=st.booleans(),
)
async def test_what_goes_out_is_how_the_changed_form_begins(
    tmp_path_factory: pytest.TempPathFactory,
    in_memory: bool,
    sizes: list[int],
    lags: list[int],
    places: list[int],
    is_merged: bool,
) -> None:
    spool = Spool(_directory(tmp_path_factory))
    body = SpooledBody(spool)
    body.expect(SIZE, SIZE if in_memory else 0)
    ends = sorted(places)
    splices = tuple(
        Splice(start=start, end=end, text=b"<%d>" % start) for start, end in zip(ends[::2], ends[1::2], strict=False)
    )
    growing = Growing(body, sketch(channel("A", [row("pic")]), WIRE, splices, SIZE))
    out = b""
    for size, lag in zip(sizes, lags * 12, strict=False):
        body.append(BODY[body.length : body.length + size])
        growing.reach = max(growing.reach, body.length - lag)
        while taken := growing.take():
            out += b"".join(taken)
    assert growing.given == len(out)
    body.append(BODY[body.length :])
    if is_merged and in_memory:
        assert body.in_memory == BODY  # one piece from now on
        growing.reach = SIZE
        while taken := growing.take():
            out += b"".join(taken)
    whole = spliced(body, splices)
    rest = b"".join([piece async for piece in whole.read(growing.given)])
    assert out + rest == b"".join([piece async for piece in whole.read()])
    assert len(out + rest) == growing.length
    assert begins(growing.sent, sketch(channel("A", [row("pic")]), WIRE, splices, SIZE))
    spool.close()


def _directory(factory: pytest.TempPathFactory) -> Path:
    return factory.mktemp("spool")


def test_little_is_not_worth_a_call(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    body = SpooledBody(spool)
    body.append(BODY)
    growing = Growing(body, sketch(channel("A", [row("pic")]), WIRE, (), SIZE))
    growing.reach = LEAST - 1
    assert growing.take() == []
    growing.reach = LEAST
    assert growing.take() == [BODY[:LEAST]]
    spool.close()


def test_no_change_is_made_by_halves(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    body = SpooledBody(spool)
    body.append(BODY)
    change = Splice(start=LEAST, end=LEAST + 100, text=b"new")
    growing = Growing(body, sketch(channel("A", [row("pic")]), WIRE, (change,), SIZE))
    growing.reach = LEAST + 99
    assert b"".join(growing.take()) == BODY[:LEAST]
    assert growing.sent.made == 0
    growing.reach = 3 * LEAST
    assert b"".join(growing.take()) == b"new" + BODY[LEAST + 100 : 3 * LEAST]
    assert (growing.sent.made, growing.given) == (1, 3 * LEAST - 97)
    spool.close()


@pytest.mark.parametrize("most", [0, SIZE])
def test_a_closed_body_gives_nothing_more(tmp_path: Path, most: int) -> None:
    spool = Spool(tmp_path)
    body = SpooledBody(spool)
    body.expect(SIZE, most)
    body.append(BODY)
    growing = Growing(body, sketch(channel("A", [row("pic")]), WIRE, (), SIZE))
    growing.reach = 2 * LEAST
    assert b"".join(growing.take()) == BODY[: 2 * LEAST]
    body.close()
    growing.reach = SIZE
    assert growing.take() == []
    spool.close()
