import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
import yaml

from gateway.config import Loaded, json_schema, load
from gateway.config.build import NO_CREDENTIALS, SANDBOX_ASLEEP
from gateway.core.types import JsonValue, Surface

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "routes.yaml"


def loaded(env: dict[str, str], path: Path = SHIPPED) -> Loaded:
    result = load(path, env=env, data_dir=Path("data"), sandbox_allowed=True)
    assert isinstance(result, Loaded), [str(one) for one in result]
    return result


def test_the_packaged_file_is_the_shipped_one() -> None:
    assert (ROOT / "gateway" / "catalog" / "routes.yaml").read_bytes() == SHIPPED.read_bytes()


def test_the_schema_file_is_current() -> None:
    assert (ROOT / "routes.schema.json").read_text("utf-8") == json.dumps(json_schema(), indent=2) + "\n"
    assert SHIPPED.read_text("utf-8").startswith("# yaml-language-server: $schema=routes.schema.json\n")


def test_with_no_key_the_sandbox_serves_every_route() -> None:
    table = loaded({}).table
    assert table.channels["openai"].unready == "OPENAI_API_KEY is not set"
    for route in table.routes.values():
        assert [(target.channel, target.unusable) for target in route.targets] == [
            ("openai", NO_CREDENTIALS),
            ("sandbox", None),
        ]


def test_with_a_key_the_sandbox_sleeps() -> None:
    for route in loaded({"OPENAI_API_KEY": "sk-1"}).table.routes.values():
        assert [target.unusable for target in route.targets] == [None, SANDBOX_ASLEEP]


def test_the_sandbox_serves_all_surfaces_and_a_text_model_stands_beside_the_image_models() -> None:
    table = loaded({}).table
    rows = table.channels["sandbox"].rows.values()
    assert frozenset(Surface) == frozenset().union(*(row.serves for row in rows))
    assert list(table.routes) == ["gpt-image-2", "gpt-image-2.6-sunburst", "gpt-image-1.5", "gpt-5.5"]
    for row in rows:
        assert (Surface.RESPONSES in row.serves) is (row.name == "gpt-5.5")


def test_requests_without_a_model_have_a_route_on_the_images_surfaces() -> None:
    table = loaded({}).table
    for surface in (Surface.GENERATIONS, Surface.EDITS):
        route = table.default_route(surface)
        assert route is not None
        assert route.name == "gpt-image-2"
    assert table.default_route(Surface.RESPONSES) is None


def test_the_commented_examples_work_when_the_marks_are_taken_away(tmp_path: Path) -> None:
    text = SHIPPED.read_text("utf-8")
    for name in ("openai-eu", "laozhang", "flatkey"):
        text = uncommented(text, name)
    text = re.sub(r"(?m)^      # - ", "      - ", text).replace("    # on_failure", "    on_failure")
    file = tmp_path / "routes.yaml"
    file.write_text(text, encoding="utf-8")
    table = loaded({"OPENAI_EU_API_KEY": "k", "LAOZHANG_API_KEY": "k"}, file).table
    assert list(table.channels) == ["openai", "openai-eu", "laozhang", "flatkey", "sandbox"]
    assert [target.unusable for target in table.routes["gpt-image-2"].targets] == [
        NO_CREDENTIALS,
        None,
        None,
        SANDBOX_ASLEEP,
    ]
    assert table.channels["flatkey"].owner == "flatkey.ai"


def uncommented(text: str, channel: str) -> str:
    lines = text.split("\n")
    begin = lines.index(f"  # {channel}:")
    end = next(at for at in range(begin, len(lines)) if not lines[at].startswith("  # ") or not lines[at].strip(" #"))
    return "\n".join([*lines[:begin], *("  " + line[4:] for line in lines[begin:end]), *lines[end:]])


def described(name: str, schema: JsonValue) -> Iterator[str]:
    """Give every key of the schema's blocks that has no description."""
    if not isinstance(schema, Mapping):
        return
    properties = schema.get("properties")
    for key, value in properties.items() if isinstance(properties, Mapping) else ():
        if not isinstance(value, Mapping) or not value.get("description"):
            yield f"{name}.{key}"
    for key, value in schema.items():
        for below in value if isinstance(value, Sequence) and not isinstance(value, str) else (value,):
            yield from described(f"{name}.{key}", below)


def test_every_key_of_the_schema_is_described() -> None:
    schema = json_schema()
    assert list(described("", schema)) == []
    assert schema["additionalProperties"] is False
    assert schema["$schema"].startswith("http://json-schema.org/draft-07/")


@pytest.mark.parametrize("key", ["server", "storage", "privacy", "channels", "routes", "version"])
def test_the_schema_knows_the_keys_of_the_shipped_file(key: str) -> None:
    assert key in yaml.safe_load(SHIPPED.read_text("utf-8"))
    assert key in json_schema()["properties"]
