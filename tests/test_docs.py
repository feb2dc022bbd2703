"""The documentation, held against the code: what exists is described, what is described exists, every example works."""

import ast
import json
import re
import shutil
import subprocess
import sys
import types
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import click
import pytest
import typer.main
import yaml
from msgspec import Struct
from pydantic import BaseModel

import gateway
from gateway import forerunner, gates
from gateway.bodies import spool
from gateway.bodies.answer import MOST_TEXT
from gateway.cli import command_line
from gateway.config import Loaded, build, load
from gateway.config.contracts import contracts as shipped_contracts
from gateway.config.model import RoutesFile
from gateway.config.prices import prices
from gateway.config.unbuilt import UNBUILT
from gateway.core import agreement, ceiling, contracts, jsonbody, jsontext, limits, policy, resting
from gateway.core import fields as request_fields
from gateway.core.ahead import LEAST
from gateway.core.assets import Asset, AssetId, Parent, Verdict
from gateway.core.errand import Reference
from gateway.core.failures import CONSEQUENCES
from gateway.core.health import Trouble
from gateway.core.money import Cost, CostState, Line
from gateway.core.prices import Item
from gateway.core.record import AttemptRecord, Idempotency, Mapping3, Owner, Record, ResultRecord
from gateway.core.result_check import DIFFERENCES
from gateway.core.translation import Change
from gateway.core.types import (
    AttemptId,
    Cause,
    ErrorBody,
    Excluded,
    Facts,
    Failure,
    FailureClass,
    Fault,
    ImageFacts,
    InputFacts,
    InputRole,
    Moderation,
    Outcome,
    RequestId,
    Surface,
    ToolFacts,
)
from gateway.intake import scanner
from gateway.stores import events, ledger_sql
from gateway.upstream.client import MOST_ANSWER_BYTES
from gateway.web import edge
from gateway.web.receipt import DEFAULT_RECEIPT

PACKAGE = Path(gateway.__file__).parent
ROOT = PACKAGE.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if "versions" not in path.parts)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADER = re.compile(r"(?:x-[a-z-]*[a-z]|server-timing|retry-after|openai-[a-z-]+|allow)")
SHELLS = {"sh", "bash"}

FAKE_KEYS = {f"{name}_API_KEY": "sk-planted" for name in ("OPENAI", "OPENAI_EU", "LAOZHANG", "FLATKEY")}


def page(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def blocks(path: Path, *languages: str) -> list[str]:
    return [text for language, text in FENCE.findall(path.read_text("utf-8")) if language in languages]


def words(text: str) -> set[str]:
    """Give what stands between backticks, outside code blocks."""
    return set(re.findall(r"`([^`\n]+)`", FENCE.sub("", text)))


def first_cells(text: str) -> set[str]:
    """Give the backticked words in the first cell of every table row."""
    rows = re.findall(r"^\|((?:`[^`\n]*`|[^|`\n])*)\|", text, re.MULTILINE)
    return {word for cell in rows for word in re.findall(r"`([^`]+)`", cell)}


def trees() -> Iterator[tuple[str, ast.Module]]:
    for path in SOURCES:
        yield path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_text("utf-8"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


# --- routes.yaml


def models_in(kind: Any) -> Iterator[tuple[str, type[BaseModel]]]:
    """Give the blocks inside an annotation, each with the path below the key that holds it."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield "", kind
        return
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        yield from models_in(inner[0])
    elif origin in (list, dict):
        for below, model in models_in(inner[-1]):
            yield f".*{below}", model
    elif isinstance(kind, types.UnionType):
        for member in inner:
            yield from models_in(member)


def keys_of(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, info in model.model_fields.items():
        path = f"{prefix}{info.alias or name}"
        yield path
        for below, inner in models_in(info.annotation):
            yield from keys_of(inner, f"{path}{below}.")


def test_every_key_of_the_routes_file_is_described_and_no_other() -> None:
    text = page("docs/routes.md")
    described = first_cells(text.partition("## Keys")[2].partition("## What each part does")[0])
    assert described == set(keys_of(RoutesFile))


def test_everything_known_but_not_built_is_described() -> None:
    described = first_cells(page("docs/routes.md").partition("refused by this version")[2])
    assert described == {line.path for line in UNBUILT}
    refused = {word for line in UNBUILT for word in line.only}
    assert refused <= words(page("docs/routes.md"))


def test_the_described_defaults_are_the_defaults() -> None:
    schema = RoutesFile.model_json_schema(by_alias=True)
    rows = re.findall(r"^\| `([\w.*]+)` \| [^|]* \| `([^`]+)` \|", page("docs/routes.md"), re.MULTILINE)
    assert len(rows) > 15
    for path, default in rows:
        said = default_in(schema, path)
        assert said == (int(default) if default.isdigit() else yaml.safe_load(default)), path


def default_in(schema: dict[str, Any], path: str) -> Any:
    node = schema
    for step in path.split("."):
        node = resolved(schema, node)
        node = node["additionalProperties"] if step == "*" and "additionalProperties" in node else node
        node = node.get("items", node) if step == "*" else node["properties"][step]
    return node.get("default")


def resolved(schema: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    reference = node.get("$ref")
    node = node if reference is None else schema["$defs"][reference.rpartition("/")[2]]
    blocks = [resolved(schema, choice) for choice in node.get("anyOf", ())]
    return next((block for block in blocks if "properties" in block), node)


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_yaml_examples_load(path: Path, tmp_path: Path) -> None:
    """Examples of a page build on each other, and on the shipped file; one with a version stands alone."""
    growing: Mapping[str, Any] = read_yaml(page("routes.yaml"))
    for text in blocks(path, "yaml"):
        document = read_yaml(text)
        growing = merged(growing, document)
        alone = text if "version" in document else yaml.safe_dump(growing)
        file = tmp_path / "routes.yaml"
        file.write_text(alone, "utf-8")
        loaded = load(file, env=FAKE_KEYS, data_dir=tmp_path, sandbox_allowed=True)
        assert isinstance(loaded, Loaded), "\n".join(map(str, loaded))


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_a_part_of_a_routes_file_says_that_it_is_added_to_one(path: Path) -> None:
    """Alone it fails ``waybill check``; what to add it to stands in the same section, above it."""
    text = path.read_text("utf-8")
    for found in re.finditer(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        if "version" not in read_yaml(found[1]):
            section = re.split(r"^#+ ", text[: found.start()], flags=re.MULTILINE)[-1]
            assert re.search(r"\b(?:add|added|in a file|in your file)\b", section, re.IGNORECASE), found[1]


def read_yaml(text: str) -> Any:
    """Read an example; ``on`` is a key of the file, which the library takes for a truth."""
    return yaml.safe_load(re.sub(r"([{ ])on:", r'\1"on":', text))


def merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> Mapping[str, Any]:
    result = dict(old)
    for key, value in new.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if both else value
    return result


# --- errors


CONTRACT_CODES = {
    contracts.INVALID_SIZE,
    contracts.INVALID_VALUE,
    contracts.UNSUPPORTED,
    contracts.INVALID_IMAGE,
    contracts.INVALID_MASK,
}


def error_codes() -> set[str]:
    """Give every error code that our own code makes: ``code="…"``, ``ours(status, "…")``, and tables of both."""
    found: set[str] = set()
    for file, tree in trees():
        if file in {"codecs/sandbox.py", "core/sandbox.py"}:  # they speak as an upstream
            continue
        for node in ast.walk(tree):
            found |= {text for text in codes_in(node) if isinstance(text, str)}
    return found


def codes_in(node: ast.AST) -> Iterator[object]:
    if isinstance(node, ast.Call):
        yield from (getattr(word.value, "value", None) for word in node.keywords if word.arg == "code")
        if isinstance(node.func, ast.Name) and node.func.id in {"ours", "_ours"} and len(node.args) > 1:
            yield getattr(node.args[1], "value", None)
    elif isinstance(node, ast.Tuple) and len(node.elts) == 3:
        status, code, _ = (getattr(item, "value", None) for item in node.elts)
        if isinstance(status, int) and 400 <= status <= 599:
            yield code


def test_every_warning_is_described() -> None:
    described = first_cells(page("docs/contracts.md"))
    assert set(DIFFERENCES) | {"substituted", "contract_doubt", "model_retiring"} <= described


def test_every_shipped_contract_is_named() -> None:
    inner = {"open", "gpt-image", "gpt-image-2.5", "gemini-image"}  # what others extend
    assert set(shipped_contracts(prices().tables).by_name) - inner <= words(page("docs/contracts.md"))


def test_every_error_code_is_described_and_no_other() -> None:
    found = error_codes() | CONTRACT_CODES
    assert len(found) > 20
    text = page("docs/errors.md")
    table = text.partition("## Codes of our own")[2].partition("\n## ")[0]
    described = set(re.findall(r"^\| [0-9]{3} \| `([a-z_]+)` \|", table, re.MULTILINE)) - {"null"}
    assert described == (found | {"upstream_error"}) - {"client_gone"}  # the first has a name, the second no reader
    assert "`client_gone`" in text


def test_every_failure_class_is_described_with_its_consequence() -> None:
    table = page("docs/errors.md").partition("## Failure classes")[2].partition("\n## ")[0]
    rows = {
        match[1]: (match[2], match[3], match[4])
        for match in re.finditer(r"^\| `(\w+)` \| .* \| `(\w+)` \| (.*) \| `(\w+)` \|$", table, re.MULTILINE)
    }
    assert set(rows) == {kind.value for kind in FailureClass}
    for kind, consequence in CONSEQUENCES.items():
        outcome, action, fault = rows[kind.value]
        assert (outcome, fault) == (consequence.outcome, consequence.fault)
        if kind is not FailureClass.EMPTY_RESULT:
            assert action == f"`{consequence.action}`"


@pytest.mark.parametrize("word", [*Outcome, *Fault, *Cause, *FailureClass])
def test_every_word_of_a_failure_is_described(word: str) -> None:
    assert word in words(page("docs/errors.md"))


# --- headers


def response_headers() -> set[str]:
    found: set[str] = set()
    for file, tree in trees():
        if not file.startswith("web/"):
            continue
        for node in ast.walk(tree):
            value = node.value if isinstance(node, ast.Constant) else None
            text = value.decode("latin-1") if isinstance(value, bytes) else value
            if isinstance(text, str) and HEADER.fullmatch(text):
                found.add(text)
    return found


def test_every_response_header_is_described() -> None:
    found = response_headers()
    assert {"x-request-id", "x-route-owner", "x-model-mapping", "retry-after", "server-timing", "allow"} <= found
    assert found <= first_cells(page("docs/headers.md").partition("## Response")[2])


def test_the_readme_tells_the_stamps_of_this_version() -> None:
    named = first_cells(page("README.md").partition("## What the headers tell")[2].partition("\n## ")[0])
    assert named == response_headers() - {
        "allow",
        "x-content-type-options",
        "openai-processing-ms",
        "openai-version",
        "x-accel-buffering",
    }


# --- the record


PICTURE = ImageFacts(sha256="00", bytes=1, format="png", width=1, height=1, alpha=True)
GIVEN = InputFacts(role=InputRole.IMAGE, source="upload", image=PICTURE, asset_id="ast_1")
ASSET = Asset(
    asset_id=AssetId("ast_0"),
    request_id=RequestId("req_0"),
    scope="key_0",
    time=datetime(2026, 1, 1, tzinfo=UTC),
    expires=datetime(2026, 1, 31, tzinfo=UTC),
    image=PICTURE,
    path="assets/00",
    model="m",
    url="https://h/assets/t",
    is_stored=False,
    verdict=Verdict.ACCEPTED,
    parents=(Parent(asset_id=AssetId("ast_1"), role=InputRole.IMAGE),),
)
FAILURE = Failure(
    kind=FailureClass.OVERLOADED,
    detail="503",
    outcome=Outcome.REFUSED,
    fault=Fault.UPSTREAM,
    action=CONSEQUENCES[FailureClass.OVERLOADED].action,
    status=503,
    retry_after_s=1.0,
    error=ErrorBody(
        message="m", type="t", param="p", code="c", moderation=Moderation(stage="input", categories=("x",))
    ),
)
FACTS = Facts(
    surface=Surface.RESPONSES,
    asked_model="m",
    stream=True,
    size="1x1",
    quality="low",
    background="auto",
    output_format="png",
    output_compression=1,
    moderation="auto",
    input_fidelity="high",
    complexity="low",
    frame_count=2,
    frame_duration_ms=100,
    svg=True,
    response_format="url",
    style="vivid",
    unknown_parameters=("seed",),
    partial_images=1,
    prompt_hash="hmac:00",
    prompt_chars=1,
    prompt_text="p",
    end_user_hash="hmac:00",
    inputs=(GIVEN,),
    mask=GIVEN,
    markup=GIVEN,
    tool=ToolFacts(asked_model="t", forced=True),
    references=(Reference(id="resp_1", param="previous_response_id"),),
    detached=True,
)
COST = Cost(
    state=CostState.ESTIMATED,
    unit="per_image",
    amount_micro=1,
    currency="USD",
    exposure_micro=1,
    price_id="p",
    lines=(Line(item=Item.IMAGE, quantity=1, amount_micro=1, currency="USD", price_id="p", attempt=1),),
)
ATTEMPT = AttemptRecord(
    n=1,
    attempt_id=AttemptId("att_0"),
    channel="c",
    owner="o",
    row="r",
    surface="responses",
    sent_model="m",
    started_ms=1,
    duration_ms=1,
    outcome=Outcome.REFUSED,
    region="eu",
    first_byte_ms=1,
    status=503,
    failure=FAILURE,
    action="next",
    upstream_request_id="req",
    usage={"input_tokens": 1},
    cost=COST,
    changes=(Change(param="quality", text="low", is_downgrade=True),),
    ahead_bytes=1,
    ahead_ms=1,
)
FULL = Record(
    time=datetime(2026, 1, 1, tzinfo=UTC),
    request_id=RequestId("req_0"),
    endpoint="responses",
    stream=True,
    idempotency=Idempotency(key_hash="00", replayed=True),
    flight_id="fl_1",
    result=ResultRecord(
        status=200,
        delivery="url",
        response_id="resp",
        images=(PICTURE,),
        assets=(ASSET,),
        partial_images_received=1,
        partial_images_sent=1,
        code="c",
        told_status=503,
        told_code="in_progress",
        warnings=("substituted",),
    ),
    latency_ms=2,
    upstream_ms=1,
    config_version="0",
    facts=FACTS,
    model="m",
    path="/v1/nothing",
    tags=(("a", "b"),),
    key_id="key_0",
    team="t",
    credits=1,
    owner=Owner(route_owner="o", channel="c", row="r", base_url_host="h", billing="b", output_rights="o"),
    mapping=Mapping3(asked="a", sent="s", served="v", tool_asked="t", tool_sent="u"),
    usage={"input_tokens": 1},
    fault=Fault.UPSTREAM,
    attempts=(ATTEMPT, ATTEMPT),
    excluded=(Excluded(target="c/r", reason="no_credentials"),),
)


def unset(value: object, path: str) -> Iterator[str]:
    if value is None or value == ():
        yield path
    elif isinstance(value, Struct):
        for one in value.__struct_fields__:
            yield from unset(getattr(value, one), f"{path}.{one}")
    elif isinstance(value, tuple):
        for item in value:
            yield from unset(item, path)


def fields_in(value: Any, prefix: str = "") -> Iterator[str]:
    for name, held in value.items():
        path = f"{prefix}{name}"
        yield path
        items = held if isinstance(held, list) else [held]
        for item in items:
            if isinstance(item, Mapping):
                yield from fields_in(item, f"{path}[]." if isinstance(held, list) else f"{path}.")


# These hold the words of others, or the same fields as what stands beside them.
OPEN = re.compile(r"(?:tags|usage|attempts\[\]\.(?:usage|sent_options)|request_shape\.mask|request_shape\.markup)\..+")


def test_every_field_of_the_record_is_described_and_no_other() -> None:
    assert list(unset(FULL, "record")) == []
    text = page("docs/record.md")
    given = {field for field in fields_in(json.loads(json.dumps(FULL.as_json()))) if not OPEN.fullmatch(field)}
    parents = {field.rpartition(".")[0].removesuffix("[]") for field in given}
    described = first_cells(text.partition("## Fields")[2].partition("## Reasons")[0])
    assert given - described <= parents
    assert described - given == set()


def test_the_example_record_has_only_described_fields() -> None:
    example = json.loads(blocks(ROOT / "docs/record.md", "json")[0])
    given = {field for field in fields_in(example) if not OPEN.fullmatch(field)}
    described = first_cells(page("docs/record.md"))
    parents = {field.rpartition(".")[0].removesuffix("[]") for field in described}
    assert given <= described | parents


def test_every_reason_of_exclusion_is_described() -> None:
    reasons = {
        policy.NOT_PINNED,
        policy.SURFACE_NOT_SERVED,
        policy.TOOL_MODEL_UNAVAILABLE,
        build.NO_CREDENTIALS,
        build.SANDBOX_ASLEEP,
        policy.BOUND_ELSEWHERE,
        policy.RULED_OUT,
        policy.NOT_VERIFIED,
        ceiling.MAX_COST,
        ceiling.NO_PRICE,
        agreement.NO_PRICE,
        agreement.PRICE_MISSING,
        agreement.OTHER_CURRENCY,
        resting.CHANNEL_LIMIT,
        resting.CHANNEL_DRAINED,
        resting.CHANNEL_OFF,
        *Trouble,
    }
    assert reasons <= words(page("docs/record.md"))


# --- operations


def log_events() -> set[str]:
    found: set[str] = set()
    for _, tree in trees():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Dict):
                continue
            named = [
                value.value
                for key, value in zip(node.keys, node.values, strict=True)
                if isinstance(key, ast.Constant) and key.value == "event" and isinstance(value, ast.Constant)
            ]
            found |= {name for name in named if isinstance(name, str)}
    return found


def test_every_log_event_is_described_and_no_other() -> None:
    found = log_events()
    assert {"server.ready", "request.finished"} <= found
    assert first_cells(page("docs/operations.md").partition("## Log events")[2]) - {"event"} == found


@pytest.mark.parametrize(
    ("what", "figure"),
    [
        ("JSON body without its inline pictures", f"{jsonbody.MAX_SKELETON >> 20} MiB; {jsontext.MAX_DEPTH} levels"),
        ("JSON body without its inline pictures", f"{jsontext.MAX_VALUES:,} commas and colons"),
        (
            "JSON body without its inline pictures",
            f"{jsontext.MAX_DIGITS:,} digits of an integer, {jsontext.MAX_TOOLS:,} tools",
        ),
        ("pictures per request (`n`)", f"1 to {request_fields.MAX_PICTURES}"),
        ("attempts at once on a channel", f"waits {limits.WAIT_S:g} s, in a line of {gates.LINE_PER_PLACE} per place"),
        ("an upstream's answer", f"{MOST_ANSWER_BYTES >> 30} GiB; outside its pictures {MOST_TEXT >> 20} MiB"),
        ("headers of a request", f"{edge.MAX_HEADERS}, and {edge.MAX_HEADER_BYTES // 1024} KiB"),
        ("the head as bytes", f"{DEFAULT_RECEIPT.head_bytes // 1024} KiB"),
        ("time for the head", f"{DEFAULT_RECEIPT.head_s:g} s"),
        (
            "a body that stalls",
            f"{DEFAULT_RECEIPT.idle_bytes // 1024} KiB in {DEFAULT_RECEIPT.idle_s:g} s",
        ),
        ("a form that goes ahead", f"{forerunner.LONGEST_S:g} s, and {forerunner.SILENT_S:g} s in which"),
        ("a form that goes ahead", f"less than {LEAST // 1024} KiB"),
        ("an answer that is not read", f"{DEFAULT_RECEIPT.stall_s:g} s"),
        ("idle connection", f"{DEFAULT_RECEIPT.keep_alive_s} s"),
        ("parts of a form", f"{scanner.MAX_PARTS}; headers 8 KiB each and {scanner.MAX_HEADS // 1024} KiB in all"),
        ("spool in memory", f"{spool.MEMORY_ITEM >> 20} MiB per body, {spool.MEMORY_TOTAL >> 20} MiB over all"),
        ("spool on disk", f"{spool.DISK_CAP // 10**9} GB"),
        ("waiting for the ledger", f"{ledger_sql.COMMIT_TIMEOUT_S:g} s"),
        ("a record waiting to be logged", f"{events.QUEUE_LIMIT:,} lines"),
    ],
)
def test_the_stated_limits_are_the_limits(what: str, figure: str) -> None:
    row = re.search(rf"^\| {re.escape(what)} \|.*$", page("docs/operations.md"), re.MULTILINE)
    assert row is not None
    assert figure in row[0]


# --- the command line


def commands() -> Mapping[str, click.Command]:
    group = typer.main.get_command(command_line())
    assert hasattr(group, "commands")
    return dict(group.commands)


@pytest.mark.parametrize("name", sorted(commands()))
def test_every_command_is_described_with_its_options(name: str) -> None:
    section = re.search(rf"^## waybill {name}$(.*?)(?=^## |\Z)", page("docs/cli.md"), re.MULTILINE | re.DOTALL)
    assert section is not None
    described = {word.split()[0] for word in first_cells(section[1]) if word.startswith("-")}
    command = commands()[name]
    params = [*command.params, *(one for below in getattr(command, "commands", {}).values() for one in below.params)]
    options = {text for one in params for text in [*one.opts, *one.secondary_opts] if text.startswith("-")}
    assert described == options - {"--help", "-h"}


def test_no_other_command_is_described() -> None:
    assert set(re.findall(r"^## waybill (\w+)$", page("docs/cli.md"), re.MULTILINE)) == set(commands())


def test_every_variable_is_described_and_no_other() -> None:
    sources = [*SOURCES, ROOT / "Dockerfile", ROOT / "routes.yaml"]
    used = {name for path in sources for name in re.findall(r"\bWAYBILL_[A-Z_]+[A-Z]\b", path.read_text("utf-8"))}
    described = {word for word in first_cells(page("docs/cli.md")) if word.startswith("WAYBILL_")}
    assert described == used


# --- all pages


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_code_blocks_parse(path: Path, tmp_path: Path) -> None:
    for text in blocks(path, "python"):
        compile(text, name_of(path), "exec")
    for text in blocks(path, "json"):
        json.loads(text)
    for text in blocks(path, *SHELLS):
        subprocess.run(["bash", "-n"], input=text, text=True, check=True)
    for text in blocks(path, "js"):
        node = shutil.which("node")
        if node is None:
            pytest.skip("node is not installed")
        script = tmp_path / "example.mjs"
        script.write_text(text, "utf-8")
        subprocess.run([node, "--check", str(script)], check=True)


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_every_relative_link_resolves(path: Path) -> None:
    for link in LINK.findall(FENCE.sub("", path.read_text("utf-8"))):
        if "://" in link:
            continue
        target, _, anchor = link.partition("#")
        file = (path.parent / target).resolve() if target else path
        assert file.exists(), link
        if anchor:
            assert anchor in anchors(file), link


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", path.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_is_in_the_index() -> None:
    listed = set(LINK.findall(page("docs/README.md")))
    assert {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"} <= listed


def test_decisions_are_numbered_without_gaps_and_fit_a_page() -> None:
    pages = sorted((ROOT / "docs/adr").glob("*.md"))
    assert [path.name[:3] for path in pages] == [f"{number:03}" for number in range(1, len(pages) + 1)]
    for path in pages:
        assert path.read_text("utf-8").startswith(f"# {path.name[:3]}. ")
        assert len(path.read_text("utf-8").splitlines()) <= 60


def test_the_changelog_says_what_is_not_released() -> None:
    assert "\n## [Unreleased]\n" in page("CHANGELOG.md")


def test_the_readme_names_commands_that_exist() -> None:
    named = set(re.findall(r"^waybill (\w+)", "\n".join(blocks(ROOT / "README.md", *SHELLS)), re.MULTILINE))
    assert named <= set(commands())
    targets = set(re.findall(r"^make (\w+)", "\n".join(blocks(ROOT / "README.md", *SHELLS)), re.MULTILINE))
    assert all(f"\n{target}:" in page("Makefile") for target in targets)


def test_the_program_says_what_it_is_on_every_python() -> None:
    floor = re.search(r'requires-python = ">=(\d+)\.(\d+)"', page("pyproject.toml"))
    assert floor is not None
    assert f"Python {floor[1]}.{floor[2]}" in page("README.md")
    assert sys.version_info >= (int(floor[1]), int(floor[2]))
