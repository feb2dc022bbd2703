# ruff: noqa: E501  # a case a line: the file reads as a table
from pathlib import Path

import pytest

from gateway.config.mistake import MAX_MISTAKES
from tests.config.files import GOOD, lines, with_channel, with_route, with_row, with_top

TEN = """\
version: 1
server: {body: {json: 32XB}}
storage: {database: mysql://u:geheim@h/d}
privacy: {prompt: text}
channels:
  direct:
    owner: openai
    kind: direct
    base_url: https://api.example.com/v1?x=1
    api_key: ${DIRECT_KEY}
    timeouts: {connect: 3}
    max_in_flight: many
    rows:
      gpt-image-2: {serves: [images/generation]}
routes:
  gpt-image-2:
    policy: dearest
    deadline: 9m
    targets: [direkt]
    deadline: 9m
"""


def test_a_file_with_ten_mistakes_gives_ten_lines_in_reading_order(tmp_path: Path) -> None:
    assert lines(tmp_path, TEN) == [
        "routes.yaml:2:23: server.body.json: a size has one of the units KB, MB, GB, KiB, MiB, GiB",
        "routes.yaml:3:21: storage.database: must be sqlite:///waybill.db or postgresql://USER:PASSWORD@HOST/NAME",
        "routes.yaml:4:11: privacy.prompt: is not a key here; did you mean 'prompts'?",
        "routes.yaml:9:15: channels.direct.base_url: must not carry a query",
        "routes.yaml:11:25: channels.direct.timeouts.connect: needs a unit: a duration is written like 580s",
        "routes.yaml:12:20: channels.direct.max_in_flight: must be a whole number",
        "routes.yaml:14:30: channels.direct.rows.gpt-image-2.serves[0]: 'images/generation' is not known here: use images/generations, images/edits or responses; did you mean 'images/generations'?",
        "routes.yaml:17:13: routes.gpt-image-2.policy: 'dearest' is not known here: use priority, weighted, fastest, least_busy or cheapest; did you mean 'cheapest'?",
        "routes.yaml:19:15: routes.gpt-image-2.targets[0]: there is no channel 'direkt'; did you mean 'direct'?",
        "routes.yaml:20:5: routes.gpt-image-2.deadline: 'deadline' is given twice; the first is on line 18",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GOOD.replace("version: 1\n", ""), "1:1: version: is missing: write 'version: 1'"),
        (GOOD.replace("version: 1", "version: 2"), "1:10: version: this version of Waybill reads version 1 of the file"),
        (GOOD.replace("version: 1", "version: true"), "1:10: version: must be a whole number"),
        (with_top("sevrer: {}"), "18:1: sevrer: is not a key here; did you mean 'server'?"),
        (with_top("zzz: {}"), "18:1: zzz: is not a key here"),
        (with_top("server: []"), "18:9: server: must be a block of keys"),
        (with_top("server: {max_in_flight: 0}"), "18:25: server.max_in_flight: must be between 1 and 1000000"),
        (with_top("server: {max_in_flight: true}"), "18:25: server.max_in_flight: must be a whole number"),
        (with_top("server: {max_in_flight: 1.5}"), "18:25: server.max_in_flight: must be a whole number"),
        (with_top("storage: {database: sqlite://}"), "18:21: storage.database: must be sqlite:///waybill.db or postgresql://USER:PASSWORD@HOST/NAME"),
        (with_top("storage: {database: 'sqlite:///:memory:'}"), "18:21: storage.database: must name a file, as sqlite:///waybill.db does, without a query"),
        (with_top("storage: {database: 'postgresql://u:geheim@h'}"), "18:21: storage.database: must name a database of the server, as postgresql://USER:PASSWORD@HOST/NAME does"),
        (with_top("storage: {database: 'postgresql:///name'}"), "18:21: storage.database: must name the server, as postgresql://USER:PASSWORD@HOST/NAME does"),
        (with_top("storage: {database: 'mysql://u:geheim@h/d'}"), "18:21: storage.database: must be sqlite:///waybill.db or postgresql://USER:PASSWORD@HOST/NAME"),
        (with_top("storage: {shared: 'http://u:geheim@h'}"), "18:19: storage.shared: must be memory: or redis://USER:PASSWORD@HOST:PORT/NUMBER (rediss:// with TLS, unix:///SOCKET)"),
        (with_top("storage: {shared: 'redis://h/name'}"), "18:19: storage.shared: must name a database of the server by its number, as redis://HOST:6379/0 does"),
        (with_top("storage: {database: 'sqlite:///x?mode=ro'}"), "18:21: storage.database: must name a file, as sqlite:///waybill.db does, without a query"),
        (with_top("storage: {database: 'sqlite:///%ff%00'}"), "18:21: storage.database: must name a file, as sqlite:///waybill.db does, without a query"),
        (with_top("privacy: {prompts: yes}"), "18:20: privacy.prompts: 'yes' is not known here: use hash or text"),
        (GOOD.replace("  sandbox:\n", "  sand box:\n").replace(", sandbox]", "]"), "10:3: channels.sand box: a channel's name is letters, digits, '.', '_' and '-', at most 64 of them"),
        (GOOD.replace("    owner: openai\n", ""), "3:3: channels.direct.owner: is missing: whose contract and bill is it?"),
        (GOOD.replace("    owner: openai\n", "    ownr: openai\n"), "4:5: channels.direct.ownr: is not a key here; did you mean 'owner'?"),
        (GOOD.replace("owner: openai", "owner: 7"), "4:12: channels.direct.owner: must be text; put quotes around a number, or around text with a colon"),
        (GOOD.replace("owner: openai", "owner: öpenai"), "4:12: channels.direct.owner: must be ASCII, since it travels in a response header"),
        (GOOD.replace("owner: openai", 'owner: "a\\nb"'), "4:12: channels.direct.owner: must be one line of at most 200 printable characters, without a space at its ends"),
        (GOOD.replace("kind: direct", "kind: direkt"), "5:11: channels.direct.kind: 'direkt' is not known here: use direct, gateway or sandbox; did you mean 'direct'?"),
        (GOOD.replace("    base_url: https://api.example.com/v1\n", ""), "3:3: channels.direct.base_url: is missing: where does the API lie?"),
        (GOOD.replace("    base_url:", "    base_ulr:"), "6:5: channels.direct.base_ulr: is not a key here; did you mean 'base_url'?"),
        (GOOD.replace("    api_key: ${DIRECT_KEY}\n", ""), "3:3: channels.direct.api_key: is missing: write ${NAME} and set NAME outside"),
        (with_channel("api: sandbox"), "5:5: channels.direct.api: kind: sandbox and api: sandbox belong together; only one of them is given"),
        (GOOD.replace("    owner: sandbox", "    api_key: x\n    owner: sandbox"), "11:5: channels.sandbox.api_key: has no place on a sandbox channel: it calls nobody"),
        (with_channel("api: opnai"), "5:10: channels.direct.api: 'opnai' is not known here: use openai or sandbox; did you mean 'openai'?"),
        (with_row("seves: [responses]"), "9:52: channels.direct.rows.gpt-image-2.seves: is not a key here; did you mean 'serves'?"),
        (GOOD.replace(", serves: [images/generations, images/edits]}\n  sand", ", contract: open}\n  sand"), "9:7: channels.direct.rows.gpt-image-2.serves: is missing: name the surfaces, such as [images/generations, images/edits]; only a contract other than open tells them"),
        (GOOD.replace("[direct, sandbox]", "[direct, sandbx]"), "17:23: routes.gpt-image-2.targets[1]: there is no channel 'sandbx'; did you mean 'sandbox'?"),
        (GOOD.replace("[direct, sandbox]", "[direct, {channel: sandbox, row: gpt-image-3}]"), "17:47: routes.gpt-image-2.targets[1]: channel 'sandbox' has no row 'gpt-image-3'; did you mean 'gpt-image-2'?"),
        (GOOD.replace("routes:\n  gpt-image-2:", "routes:\n  other:").replace("[direct, sandbox]", "[direct]"), "17:15: routes.other.targets[0]: channel 'direct' has no row 'other'"),
        (GOOD.replace("[direct, sandbox]", "[direct, {channel: direct}]"), "17:23: routes.gpt-image-2.targets[1]: 'direct/gpt-image-2' is a target already"),
        (GOOD.replace("[direct, sandbox]", "[direct, 7]"), "17:23: routes.gpt-image-2.targets[1]: must be a channel's name, or {channel: NAME, row: NAME}"),
        (GOOD.replace("[direct, sandbox]", "[]"), "17:14: routes.gpt-image-2.targets: must have at least one entry"),
        (GOOD.replace("[direct, sandbox]", "direct"), "17:14: routes.gpt-image-2.targets: must be a list"),
        (GOOD.replace("    targets: [direct, sandbox]\n", ""), "16:3: routes.gpt-image-2: must be a block of keys"),
        (with_route("policy: best"), "18:13: routes.gpt-image-2.policy: 'best' is not known here: use priority, weighted, fastest, least_busy or cheapest"),
        (with_route("deadline: 0s"), "18:15: routes.gpt-image-2.deadline: must be more than zero"),
        (with_route("deadline: 5sec"), "18:15: routes.gpt-image-2.deadline: a duration has one of the units ms, s, m, h, d"),
        (with_route("on_failure: {timeuot: next}"), "18:18: routes.gpt-image-2.on_failure.timeuot: 'timeuot' is not known here; did you mean 'timeout'?"),
        (with_route("on_failure: {timeout: nxt}"), "18:27: routes.gpt-image-2.on_failure.timeout: 'nxt' is not known here: use next, stop, same or downgrade; did you mean 'next'?"),
        (with_route("on_failure: {timeout: [next]}"), "18:27: routes.gpt-image-2.on_failure.timeout: must be next, stop or downgrade, or {action: same, times: N}"),
        (with_route("on_failure: {timeout: same}"), "18:27: routes.gpt-image-2.on_failure.timeout: same needs a number of times: write {action: same, times: 1}"),
        (with_route("on_failure: {timeout: {action: stop, times: 2}}"), "18:27: routes.gpt-image-2.on_failure.timeout: 'times' belongs to the action same"),
        (with_route("on_failure: {timeout: {action: same, times: 11}}"), "18:49: routes.gpt-image-2.on_failure.timeout.times: must be between 1 and 10"),
        (with_route("deliver: link"), "18:14: routes.gpt-image-2.deliver: 'link' is not known here: use as_asked, url, b64_json or both"),
        (with_route("keep: false\n    deliver: url"), "19:14: routes.gpt-image-2.deliver: url needs addresses, and this route keeps no picture (keep: false)"),
        (GOOD.replace("[images/generations, images/edits]", "[responses]") + "    deliver: both\n", "18:14: routes.gpt-image-2.deliver: has no effect: no target of this route serves an images surface"),
        (with_route("default_for: [responses]"), "18:19: routes.gpt-image-2.default_for[0]: no target of this route serves responses"),
        (with_route("default_for: [images/edits, images/edits]"), "18:18: routes.gpt-image-2.default_for: names the same thing twice"),
        (GOOD + "    default_for: [images/edits]\n  b:\n    targets: [{channel: direct, row: gpt-image-2}]\n    default_for: [images/edits]\n", "21:19: routes.b.default_for[0]: 'gpt-image-2' is the default route for images/edits already"),
    ],
)  # fmt: skip
def test_each_mistake_has_its_place_its_path_and_its_sentence(tmp_path: Path, text: str, expected: str) -> None:
    assert lines(tmp_path, text) == [f"routes.yaml:{expected}"]


def test_columns_count_characters_not_bytes(tmp_path: Path) -> None:
    text = with_top("server: {'größe🖼': 1, max_in_flight: 0}")
    assert [line.split(" ")[0] for line in lines(tmp_path, text)] == ["routes.yaml:18:10:", "routes.yaml:18:38:"]


def test_control_characters_of_a_name_do_not_break_the_line(tmp_path: Path) -> None:
    (line,) = lines(tmp_path, with_top('"a\\nb\\e[31m": 1'))
    assert line == "routes.yaml:18:1: a\\nb\\x1b[31m: is not a key here"


def test_a_file_full_of_mistakes_says_so_and_stops(tmp_path: Path) -> None:
    found = lines(tmp_path, with_top("\n".join(f"key{number}: 1" for number in range(5000))))
    assert len(found) == MAX_MISTAKES + 1
    assert found[-1].endswith("(file): and more mistakes besides these")


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("https://user:hush@api.example.com/v1", "must not carry credentials: a channel's key belongs in api_key"),
        ("https://api.example.com/v1?key=hush", "must not carry a query"),
        ("'https://api.example.com/v1#hush'", "must not carry a fragment"),
        ("api.example.com/v1", "must be an http:// or https:// URL with a host"),
        ("file:///etc/hush", "must be an http:// or https:// URL with a host"),
        ("http://", "must be an http:// or https:// URL with a host"),
        ("https://api.example.com:99999/hush", "is not a URL: its host or port cannot be read"),
        ("https://[::1/hush", "is not a URL: its host or port cannot be read"),
        ("https://api.example.com:0/hush", "is not a URL: it holds a character or port that no URL has"),
        ("'https://api.exa mple.com/hush'", "is not a URL: it holds a character or port that no URL has"),
        ("https://bücher.example/hush", "is not a URL: it holds a character or port that no URL has"),
        ('"https://api.example.com/\\nhush"', "is not a URL: it holds a character or port that no URL has"),
    ],
)
def test_an_address_is_refused_without_being_repeated(tmp_path: Path, url: str, sentence: str) -> None:
    (line,) = lines(tmp_path, GOOD.replace("https://api.example.com/v1", url))
    assert line == f"routes.yaml:6:15: channels.direct.base_url: {sentence}"
    assert "hush" not in line
