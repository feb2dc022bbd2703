from pathlib import Path

import pytest

from gateway.config import Mistake, ProcessSettings, current, settings_env
from gateway.core.table import Secret


def test_without_variables_the_defaults_stand() -> None:
    assert settings_env({}) == ProcessSettings()
    assert settings_env(dict.fromkeys(NAMES, "")) == ProcessSettings()


NAMES = (
    "WAYBILL_HOST",
    "WAYBILL_PORT",
    "WAYBILL_DATA_DIR",
    "WAYBILL_CONFIG",
    "WAYBILL_URL",
    "WAYBILL_API_KEY",
    "WAYBILL_API_KEY_FILE",
    "WAYBILL_SANDBOX",
    "WAYBILL_ADMIN_KEY",
    "WAYBILL_ADMIN_KEY_FILE",
    "WAYBILL_LEAD",
    "WAYBILL_GRACE",
)


def test_every_variable_is_read() -> None:
    given = ["::1", "0", "/data", "/etc/r.yaml", "http://gw:1/", "wb-1", "", "yes", "op-1", "", "5", "2m"]
    env = dict(zip(NAMES, given, strict=True))
    assert settings_env(env) == ProcessSettings(
        host="::1",
        port=0,
        data_dir=Path("/data"),
        config=Path("/etc/r.yaml"),
        url="http://gw:1",
        api_key=Secret("wb-1"),
        sandbox=True,
        admin_key=Secret("op-1"),
        lead_s=5.0,
        grace_s=120.0,
    )


def test_an_empty_file_is_no_lock_for_the_operators_door(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(" \n")
    found = settings_env({"WAYBILL_ADMIN_KEY_FILE": str(tmp_path / "key")})
    assert isinstance(found, list)
    assert [str(mistake) for mistake in found] == [
        "environment: WAYBILL_ADMIN_KEY_FILE: the file that it names is empty"
    ]
    named = settings_env({"WAYBILL_ADMIN_KEY_FILE": str(tmp_path / "none")})
    assert isinstance(named, list)
    assert len(named) == 1


@pytest.mark.parametrize(("text", "expected"), [("0", 0.0), ("1.5", 1.5), ("90s", 90.0), ("10m", 600.0)])
def test_how_long_the_end_may_take(text: str, expected: float) -> None:
    found = settings_env({"WAYBILL_GRACE": text})
    assert isinstance(found, ProcessSettings)
    assert found.grace_s == expected


@pytest.mark.parametrize("text", ["soon", "-1", "1 year", "1e9", "99999999999"])
def test_what_is_no_time_is_a_mistake(text: str) -> None:
    found = settings_env({"WAYBILL_GRACE": text})
    assert isinstance(found, list)
    assert found[0].path == "WAYBILL_GRACE"


def test_the_key_may_be_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("wb-2\n")
    env = {"WAYBILL_API_KEY_FILE": str(tmp_path / "key")}
    assert settings_env(env) == ProcessSettings(api_key=Secret("wb-2"))


def test_all_mistakes_are_told_together_and_nothing_is_repeated() -> None:
    env = {
        "WAYBILL_PORT": "hush",
        "WAYBILL_URL": "hush://x",
        "WAYBILL_API_KEY_FILE": "/nowhere/hush",
        "WAYBILL_SANDBOX": "hush",
    }
    found = settings_env(env)
    assert isinstance(found, list)
    assert [str(one) for one in found] == [
        "environment: WAYBILL_PORT: must be a port number, 0 to 65535",
        "environment: WAYBILL_URL: must be an http:// or https:// URL with a host",
        "environment: WAYBILL_API_KEY_FILE: the file that WAYBILL_API_KEY_FILE names cannot be read",
        "environment: WAYBILL_SANDBOX: must be 1 or 0",
    ]


@pytest.mark.parametrize("port", ["65536", "-1", "8484.0", "٣", "999999"])
def test_a_port_is_a_port(port: str) -> None:
    found = settings_env({"WAYBILL_PORT": port})
    assert isinstance(found, list)
    assert isinstance(found[0], Mistake)


def test_the_address_that_kubernetes_puts_into_the_port_is_passed_over() -> None:
    assert settings_env({"WAYBILL_PORT": "tcp://10.0.0.1:8484"}) == ProcessSettings()


def test_the_environment_is_read_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAYBILL_HOST", "0.0.0.0")
    assert current()["WAYBILL_HOST"] == "0.0.0.0"


def test_a_secret_cannot_be_printed() -> None:
    assert "wb-1" not in repr(settings_env({"WAYBILL_API_KEY": "wb-1"}))
