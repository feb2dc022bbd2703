from pathlib import Path

import pytest

from gateway.core.table import Channel, Secret
from tests.config.files import GOOD, good, lines, with_channel, with_route, with_top

FORMS = "use ${NAME}, ${NAME:-default} or ${NAME:?message}"


def direct(path: Path, text: str, env: dict[str, str]) -> Channel:
    return good(path, text, env).table.channels["direct"]


def billing(path: Path, written: str, env: dict[str, str]) -> str | None:
    return direct(path, with_channel(f"billing: {written}"), {"DIRECT_KEY": "k", **env}).billing


@pytest.mark.parametrize(
    ("written", "env", "expected"),
    [
        ("${B}", {"B": "bill"}, "bill"),
        ("'${B}'", {"B": "bill"}, "bill"),
        ("the ${B} of ${C:-us}", {"B": "bill"}, "the bill of us"),
        ("${B:-}", {}, None),
        ("'${B:-}'", {}, None),
        ("${B:-spare}", {}, "spare"),
        ("${B:-spare}", {"B": ""}, "spare"),
        ("${B:-spare}", {"B": "bill"}, "bill"),
        ("'${B:-a:-b}'", {}, "a:-b"),
        ("${B:?said}", {"B": "bill"}, "bill"),
        ("$${B}", {"B": "bill"}, "${B}"),
        ("5$ and $B", {"B": "bill"}, "5$ and $B"),
        ("${B}", {"B": "${C}", "C": "no"}, "${C}"),
        ("${B}", {"B": "true"}, "true"),
        ("${B}", {"B": "null"}, "null"),
        ("${B}", {"B": "12"}, "12"),
        ("${B}", {"B": "[a, b]"}, "[a, b]"),
    ],
)
def test_variables_are_put_into_values(tmp_path: Path, written: str, env: dict[str, str], expected: str | None) -> None:
    assert billing(tmp_path, written, env) == expected


def test_numbers_durations_and_lists_may_come_from_variables(tmp_path: Path) -> None:
    text = with_route("max_attempts: ${N}\n    deadline: ${D}\n    default_for: ['${S}']")
    env = {"N": "7", "D": "2m", "S": "images/edits", "DIRECT_KEY": "k"}
    route = good(tmp_path, text, env).table.routes["gpt-image-2"]
    assert (route.max_attempts, route.deadline_s) == (7, 120.0)
    assert [surface.value for surface in route.default_for] == ["images/edits"]


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ("${B}", "B is not set; ${NAME:-default} gives a value for that case"),
        ("${B:?ask finance}", "B is not set: ask finance"),
        ("${B:?}", "B is not set: it is required"),
        ("'${B'", f"'${{B' is not a variable: {FORMS}"),
        ("'${}'", f"'${{}}' is not a variable: {FORMS}"),
        ("${B-x}", f"'${{B-x}}' is not a variable: {FORMS}"),
        ("${1B}", f"'${{1B}}' is not a variable: {FORMS}"),
        ("'${A:-${B}}'", f"'${{A:-${{B}}' is not a variable: {FORMS}"),
    ],
)
def test_what_cannot_be_put_in_is_one_mistake(tmp_path: Path, written: str, sentence: str) -> None:
    assert lines(tmp_path, with_channel(f"billing: {written}")) == [
        f"routes.yaml:5:14: channels.direct.billing: {sentence}"
    ]


def test_an_unset_required_value_is_not_reported_a_second_time(tmp_path: Path) -> None:
    (line,) = lines(tmp_path, GOOD.replace("https://api.example.com/v1", "${URL}"))
    assert line.startswith("routes.yaml:6:15: channels.direct.base_url: URL is not set")


def test_a_variable_cannot_stand_in_a_key(tmp_path: Path) -> None:
    (line,) = lines(tmp_path, with_top("${KEY}: 1"))
    assert line == "routes.yaml:18:1: ${KEY}: a variable cannot stand in a key"


def test_a_variable_that_is_not_utf8_is_a_mistake(tmp_path: Path) -> None:
    (line,) = lines(tmp_path, with_channel("billing: ${B}"), {"B": "\udcff"})
    assert line.endswith("channels.direct.billing: a variable in it is not UTF-8")


@pytest.mark.parametrize("env", [{}, {"DIRECT_KEY": ""}, {"DIRECT_KEY": "  \n"}])
def test_an_unset_key_makes_the_channel_unready(tmp_path: Path, env: dict[str, str]) -> None:
    channel = direct(tmp_path, GOOD, env)
    assert (channel.api_key, channel.unready) == (None, "DIRECT_KEY is not set")


@pytest.mark.parametrize("written", ["${K:-}", '""', "'${K:-}'"])
def test_an_empty_key_makes_the_channel_unready(tmp_path: Path, written: str) -> None:
    channel = direct(tmp_path, GOOD.replace("${DIRECT_KEY}", written), {})
    assert (channel.api_key, channel.unready) == (None, "api_key is empty")


def test_a_key_with_a_message_must_be_set(tmp_path: Path) -> None:
    (line,) = lines(tmp_path, GOOD.replace("${DIRECT_KEY}", "${KEY:?get one from finance}"))
    assert line == "routes.yaml:7:14: channels.direct.api_key: KEY is not set: get one from finance"


def test_a_key_may_be_read_from_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("sk-from-file\n")
    assert direct(tmp_path, GOOD, {"DIRECT_KEY_FILE": str(secret)}).api_key == Secret("sk-from-file")
    both = {"DIRECT_KEY_FILE": str(secret), "DIRECT_KEY": " sk-direct\n"}
    assert direct(tmp_path, GOOD, both).api_key == Secret("sk-direct")
    secret.write_text("\n")
    assert direct(tmp_path, GOOD, {"DIRECT_KEY_FILE": str(secret)}).unready == "DIRECT_KEY is not set"


def test_a_key_file_that_cannot_be_read_is_a_mistake(tmp_path: Path) -> None:
    binary, huge = tmp_path / "binary", tmp_path / "huge"
    binary.write_bytes(b"\xff\xfe")
    huge.write_bytes(b"x" * 70_000)
    place = "routes.yaml:7:14: channels.direct.api_key:"
    unreadable = f"{place} the file that DIRECT_KEY_FILE names cannot be read"
    assert lines(tmp_path, GOOD, {"DIRECT_KEY_FILE": str(tmp_path / "none")}) == [unreadable]
    assert lines(tmp_path, GOOD, {"DIRECT_KEY_FILE": str(binary)}) == [unreadable]
    assert lines(tmp_path, GOOD, {"DIRECT_KEY_FILE": "a\0b"}) == [unreadable]
    assert lines(tmp_path, GOOD, {"DIRECT_KEY_FILE": str(huge)}) == [
        f"{place} the file that DIRECT_KEY_FILE names is too large for a secret"
    ]


def test_only_secrets_are_read_from_files(tmp_path: Path) -> None:
    (line,) = lines(tmp_path, with_channel("billing: ${B}"), {"B_FILE": "/etc/hostname", "DIRECT_KEY": "k"})
    assert "B is not set" in line


@pytest.mark.parametrize("key", ["sk-hush\r\nx-evil: 1", "sk hush", "sk-hüsh", "sk-hush\x7f"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_repeated(tmp_path: Path, key: str) -> None:
    assert lines(tmp_path, GOOD, {"DIRECT_KEY": key}) == [
        "routes.yaml:7:14: channels.direct.api_key: holds a character that no header can carry"
    ]


def test_no_mistake_repeats_what_a_variable_holds(tmp_path: Path) -> None:
    hush = "hush-secret"
    text = """\
version: ${H}
server: {public_url: '${H}', max_in_flight: '${H}', body: {json: '${H}'}}
storage: {database: 'postgresql://${H}'}
privacy: {prompts: '${H}'}
channels:
  direct: {owner: "a\\n${H}", kind: '${H}', base_url: 'http://${H}@x', api_key: 'a b ${H}', rows: '${H}'}
  other: {owner: o, kind: sandbox, rows: {m: {serves: ['${H}']}}}
routes:
  m: {deadline: '5 ${H}', policy: '${H}', on_failure: {timeout: '${H}'}, default_for: ['${H}'],
      targets: ['${H}', {channel: other, row: '${H}'}]}
"""
    found = lines(tmp_path, text, {"H": hush})
    assert len(found) >= 17
    assert not [line for line in found if hush in line or "secret" in line]
