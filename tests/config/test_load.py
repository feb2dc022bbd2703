from pathlib import Path

import pytest
from sqlalchemy import make_url

from gateway.config import Loaded, find_routes, load
from gateway.config.build import NO_CREDENTIALS, SANDBOX_ASLEEP
from gateway.core.table import (
    Api,
    AssetSettings,
    BodyLimits,
    ChannelKind,
    PromptPrivacy,
    Route,
    RouteTarget,
    Secret,
    ServerSettings,
    Settings,
    Timeouts,
)
from gateway.core.types import Action, FailureClass, Surface
from tests.config.files import GOOD, good, with_channel, with_route, with_top

IMAGES = frozenset({Surface.GENERATIONS, Surface.EDITS})


def test_a_small_file_gets_the_defaults_of_the_table(tmp_path: Path) -> None:
    loaded = good(tmp_path, GOOD)
    assert loaded.settings == Settings(
        database=f"sqlite:///{tmp_path}/waybill.db", assets=AssetSettings(store=f"{tmp_path}/assets")
    )
    assert loaded.path == tmp_path / "routes.yaml"
    route = loaded.table.routes["gpt-image-2"]
    assert route == Route(name="gpt-image-2", targets=route.targets)
    channel = loaded.table.channels["direct"]
    assert (channel.timeouts, channel.max_in_flight) == (Timeouts(), 64)
    assert (channel.api, channel.kind) == (Api.OPENAI, ChannelKind.DIRECT)
    assert (channel.base_url, channel.host) == ("https://api.example.com/v1", "api.example.com")
    assert channel.api_key == Secret("sk-direct")
    assert channel.unready is None
    assert channel.rows["gpt-image-2"].model == "gpt-image-2-2026-04-21"
    assert channel.rows["gpt-image-2"].serves == IMAGES


def test_the_sandbox_needs_neither_address_nor_key(tmp_path: Path) -> None:
    channel = good(tmp_path, GOOD).table.channels["sandbox"]
    assert (channel.api, channel.base_url, channel.host) == (Api.SANDBOX, "", "")
    assert (channel.api_key, channel.unready) == (None, None)
    assert channel.rows["gpt-image-2"].model == "gpt-image-2"


def test_every_key_of_a_channel_reaches_the_table(tmp_path: Path) -> None:
    extra = (
        "billing: The Bill\n    output_rights: ours\n    group: null\n    region: eu\n    max_in_flight: 7\n"
        "    timeouts: {connect: 500ms, patience: 2m, idle: 90s}"
    )
    channel = good(tmp_path, with_channel(extra)).table.channels["direct"]
    assert (channel.billing, channel.output_rights, channel.region) == ("The Bill", "ours", "eu")
    assert channel.max_in_flight == 7
    assert channel.timeouts == Timeouts(connect_s=0.5, patience_s=120.0, idle_s=90.0)


def test_patience_auto_is_the_absence_of_a_figure(tmp_path: Path) -> None:
    channel = good(tmp_path, with_channel("timeouts: {patience: auto}")).table.channels["direct"]
    assert channel.timeouts.patience_s is None


def test_every_key_of_a_route_reaches_the_table(tmp_path: Path) -> None:
    text = with_route(
        "policy: priority\n    deadline: 90s\n    max_attempts: 2\n"
        "    on_failure: {timeout: next, rate_limited: stop}\n    default_for: [images/edits]"
    )
    table = good(tmp_path, text).table
    route = table.routes["gpt-image-2"]
    assert (route.deadline_s, route.max_attempts) == (90.0, 2)
    assert route.on_failure == {FailureClass.TIMEOUT: Action.NEXT, FailureClass.RATE_LIMITED: Action.STOP}
    assert table.default_route(Surface.EDITS) is route
    assert table.default_route(Surface.GENERATIONS) is None


def test_every_key_of_the_settings_reaches_them(tmp_path: Path) -> None:
    text = with_top(
        "server: {public_url: null, max_in_flight: 5,\n"
        "         body: {json: 1KB, edits_json: 1MiB, multipart: 2GB}}\n"
        "storage: {database: 'sqlite:////var/lib/x.db'}\nprivacy: {prompts: text}\nkeys: []"
    )
    assert good(tmp_path, text).settings == Settings(
        database="sqlite:////var/lib/x.db",
        server=ServerSettings(
            max_in_flight=5,
            body=BodyLimits(json=1000, edits_json=1_048_576, multipart=2_000_000_000),
        ),
        prompts=PromptPrivacy.TEXT,
        assets=AssetSettings(store=f"{tmp_path}/assets"),
    )


@pytest.mark.parametrize(
    ("written", "name"),
    [("waybill.db", "waybill.db"), ("deeper/way bill.db", "deeper/way bill.db"), ("50%25%20.db", "50% .db")],
)
def test_a_relative_database_lies_under_the_data_directory(tmp_path: Path, written: str, name: str) -> None:
    database = good(tmp_path, with_top(f"storage: {{database: 'sqlite:///{written}'}}")).settings.database
    assert make_url(database).database == f"{tmp_path}/{name}"


def test_a_relative_data_directory_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good(tmp_path, GOOD)
    monkeypatch.chdir(tmp_path)
    loaded = load(Path("routes.yaml"), env={}, data_dir=Path("data"), sandbox_allowed=True)
    assert isinstance(loaded, Loaded)
    assert loaded.settings.database == f"sqlite:///{tmp_path}/data/waybill.db"


def test_blocks_and_values_that_hold_nothing_count_as_absent(tmp_path: Path) -> None:
    text = with_top("server:\nstorage:\nprivacy: null\nkeys:")
    assert good(tmp_path, text).settings == good(tmp_path, GOOD).settings
    assert good(tmp_path, with_channel("region: null\n    group: ~")).table.channels["direct"].region is None


def test_words_that_other_yaml_readers_turn_into_something_else_stay_names(tmp_path: Path) -> None:
    text = GOOD.replace("  direct:", "  on:").replace("[direct, sandbox]", "[on, 2024-01-01]")
    text = text.replace("  sandbox:", "  2024-01-01:").replace("gpt-image-2:", "no:")
    table = good(tmp_path, text).table
    assert (list(table.channels), list(table.routes)) == (["on", "2024-01-01"], ["no"])


def targets(loaded: Loaded) -> tuple[RouteTarget, ...]:
    return loaded.table.routes["gpt-image-2"].targets


def test_a_target_names_a_channel_or_one_of_its_rows(tmp_path: Path) -> None:
    rows = GOOD.replace("      gpt-image-2: {serves", "      drawn: {serves")
    text = rows.replace("[direct, sandbox]", "[direct, {channel: sandbox, row: drawn}]")
    assert [target.name for target in targets(good(tmp_path, text))] == ["direct/gpt-image-2", "sandbox/drawn"]


@pytest.mark.parametrize(
    ("env", "sandbox_allowed", "usable"),
    [
        ({"DIRECT_KEY": "k"}, True, (None, SANDBOX_ASLEEP)),
        ({"DIRECT_KEY": "k"}, False, (None, SANDBOX_ASLEEP)),
        ({}, True, (NO_CREDENTIALS, None)),
        ({}, False, (NO_CREDENTIALS, SANDBOX_ASLEEP)),
        ({"DIRECT_KEY": ""}, True, (NO_CREDENTIALS, None)),
    ],
)
def test_the_sandbox_wakes_only_where_nobody_else_has_credentials(
    tmp_path: Path, env: dict[str, str], sandbox_allowed: bool, usable: tuple[str | None, ...]
) -> None:
    loaded = good(tmp_path, GOOD, env, sandbox_allowed=sandbox_allowed)
    assert tuple(target.unusable for target in targets(loaded)) == usable


def test_the_version_is_the_checksum_of_the_bytes(tmp_path: Path) -> None:
    first, second = good(tmp_path, GOOD).table.version, good(tmp_path, GOOD + "# a word\n").table.version
    assert first != second
    assert good(tmp_path, GOOD).table.version == first
    assert len(first) == 12


def test_a_file_that_cannot_be_read_is_a_mistake(tmp_path: Path) -> None:
    missing = load(tmp_path / "no.yaml", env={}, data_dir=tmp_path, sandbox_allowed=True)
    assert isinstance(missing, list)
    assert [str(one) for one in missing] == [
        f"{tmp_path}/no.yaml:1:1: (file): cannot be read: No such file or directory"
    ]
    assert isinstance(load(tmp_path, env={}, data_dir=tmp_path, sandbox_allowed=True), list)
    assert isinstance(load(Path("a\0b"), env={}, data_dir=tmp_path, sandbox_allowed=True), list)


def test_a_data_directory_of_any_name_holds_the_database(tmp_path: Path) -> None:
    file = tmp_path / "routes.yaml"
    file.write_text(GOOD)
    loaded = load(file, env={}, data_dir=tmp_path / "what? 100%#", sandbox_allowed=True)
    assert isinstance(loaded, Loaded)
    assert make_url(loaded.settings.database).database == f"{tmp_path}/what? 100%#/waybill.db"


def test_the_local_file_comes_before_the_packaged_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    packaged = find_routes(None)
    assert packaged.is_file()
    assert packaged.parent.name == "catalog"
    (tmp_path / "routes.yaml").write_text(GOOD)
    assert find_routes(None) == Path("routes.yaml")
    assert find_routes(Path("other.yaml")) == Path("other.yaml")


def test_aliases_and_merges_are_read(tmp_path: Path) -> None:
    text = with_channel("timeouts: &quick {connect: 1s}").replace(
        "    owner: sandbox\n", "    owner: sandbox\n    timeouts: {idle: 9s, <<: *quick}\n"
    )
    assert good(tmp_path, text).table.channels["sandbox"].timeouts == Timeouts(connect_s=1.0, idle_s=9.0)


@pytest.mark.parametrize(
    "url",
    ["postgresql://u:p@db.example:5432/waybill?sslmode=require", "postgresql:///waybill?host=/run/postgresql"],
)
def test_a_ledger_on_a_server_is_taken_as_it_is_written(tmp_path: Path, url: str) -> None:
    settings = good(tmp_path, with_top(f"storage: {{database: '{url}', shared: 'redis://:p@cache:6379/1'}}")).settings
    assert (settings.database, settings.shared) == (url, "redis://:p@cache:6379/1")
    assert "u:p" not in repr(settings)
    assert ":p@" not in repr(settings)
