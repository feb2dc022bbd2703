"""Whatever stands in the file and the environment: a table or mistakes, and never an exception."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway.config import Loaded, load
from gateway.config.mistake import MAX_MISTAKES
from tests.config.files import GOOD, with_top

SHIPPED = (Path(__file__).parents[2] / "routes.yaml").read_text("utf-8")
BASE = "\n".join(line for line in SHIPPED.split("\n") if not line.lstrip().startswith("#"))
CUTTINGS = sorted({word for word in BASE.replace("\n", " ").split(" ") if word})
WORDS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["[", "]", "{", "}", ":", ": ", "- ", "\n", "  ", "&a", "*a", "<<: ", "!!", "${", "}", "$${", "~", "|"]
    ),
    st.sampled_from(CUTTINGS),
    st.integers().map(str),
)
CHANGES = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 30), WORDS), max_size=6)
ENV = st.dictionaries(
    st.sampled_from(["OPENAI_API_KEY", "OPENAI_API_KEY_FILE", "WAYBILL_PUBLIC_URL"]), st.text(max_size=8)
)
CALM = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def judge(path: Path, data: bytes, env: dict[str, str]) -> None:
    file = path / "routes.yaml"
    file.write_bytes(data)
    result = load(file, env=env, data_dir=path, sandbox_allowed=True)
    if isinstance(result, Loaded):
        for route in result.table.routes.values():
            assert all(target.row in result.table.channels[target.channel].rows for target in route.targets)
        return
    assert result
    for one in result:
        assert str(one).isprintable()
        assert one.line >= 1
        assert one.column >= 1


@CALM
@given(changes=CHANGES, env=ENV)
def test_a_changed_file_never_raises(
    tmp_path: Path, changes: list[tuple[float, int, str]], env: dict[str, str]
) -> None:
    text = BASE
    for place, length, word in changes:
        at = int(place * len(text))
        text = text[:at] + word + text[at + length :]
    judge(tmp_path, text.encode("utf-8", "surrogatepass"), env)


@CALM
@given(data=st.binary(max_size=200))
@example(data=b"\xfe\xff\x00a")
@example(data=b"? a\n? b\n")
@example(data=b"%TAG ! !\n---\n!a b: c")
def test_any_bytes_never_raise(tmp_path: Path, data: bytes) -> None:
    judge(tmp_path, data, {})


NODES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=6), st.sampled_from(CUTTINGS)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["channels", "routes", "rows", "targets", "channel", "api_key", "x"]), inner),
    ),
    max_leaves=12,
)


@CALM
@given(top=st.sampled_from(["version", "server", "storage", "privacy", "channels", "routes", "keys"]), value=NODES)
def test_any_value_under_any_key_never_raises(tmp_path: Path, top: str, value: object) -> None:
    judge(tmp_path, f"{GOOD}\n{top}: {json.dumps(value)}".encode(), {})
    kept = "\n".join(block for block in GOOD.split("\n") if not block.startswith(top))
    judge(tmp_path, f"{kept}\n{top}: {json.dumps(value)}".encode(), {})


MANY = {
    "unknown keys": with_top("\n".join(f"k{n}: 1" for n in range(20_000))),
    "dangling targets": GOOD.replace("[direct, sandbox]", f"[{', '.join(f'dire{n}' for n in range(20_000))}]"),
    "bad channels": GOOD.replace(
        "routes:\n", "".join(f"  c{n}: {{kind: direct}}\n" for n in range(8_000)) + "routes:\n"
    ),
    "wrong words": GOOD + f"    default_for: [{', '.join(f'image{n}' for n in range(20_000))}]\n",
    "unset variables": with_top("\n".join(f"k{n}: ${{V{n}}}" for n in range(20_000))),
    "long words": with_top(f"{'k' * 200_000}: 1\n"),
}


@pytest.mark.parametrize("what", MANY)
def test_a_file_with_thousands_of_mistakes_is_answered_in_time(tmp_path: Path, what: str) -> None:
    file = tmp_path / "routes.yaml"
    file.write_text(MANY[what])
    begun = time.perf_counter()
    result = load(file, env={}, data_dir=tmp_path, sandbox_allowed=True)
    assert isinstance(result, list)
    assert 1 <= len(result) <= MAX_MISTAKES + 1
    assert max(len(str(one)) for one in result) < 1000
    assert time.perf_counter() - begun < 20
