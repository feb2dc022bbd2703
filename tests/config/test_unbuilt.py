from pathlib import Path

import pytest

from gateway.config.unbuilt import UNBUILT
from tests.config.files import lines, with_channel, with_route, with_top

REFUSED = {
    "channels.*.api": with_channel("api: azure"),
    "routes.*.on_failure.cut": with_route("on_failure: {cut: stop}"),
    "routes.*.on_failure.client_gone": with_route("on_failure: {client_gone: stop}"),
    "keys": with_top("keys: [{name: app}]"),
}


def test_every_line_of_the_table_is_tried_here() -> None:
    assert set(REFUSED) == {line.path for line in UNBUILT}


@pytest.mark.parametrize("path", REFUSED)
def test_a_key_that_is_not_built_is_refused_with_one_sentence_that_names_it(tmp_path: Path, path: str) -> None:
    (line,) = lines(tmp_path, REFUSED[path])
    key = path.rpartition(".")[2]
    assert f"'{key}'" in line
    assert "this version does not support" in line or "`waybill keys create`" in line


@pytest.mark.parametrize("api", ["azure", "gemini", "chat_images", "openrouter", "xai"])
def test_apis_that_are_not_built_are_refused(tmp_path: Path, api: str) -> None:
    (line,) = lines(tmp_path, with_channel(f"api: {api}"))
    assert line.endswith("channels.direct.api: this version does not support this 'api': use openai or sandbox")


def test_the_words_that_are_built_pass(tmp_path: Path) -> None:
    assert lines(tmp_path, with_channel("api: openai")) == []
    assert lines(tmp_path, with_route("policy: priority")) == []
    assert lines(tmp_path, with_top("keys: []")) == []


def test_what_a_variable_holds_is_looked_at_too(tmp_path: Path) -> None:
    (line,) = lines(tmp_path, with_channel("api: ${API}"), {"API": "azure", "DIRECT_KEY": "k"})
    assert "does not support this 'api'" in line


def test_an_unset_variable_inside_a_refused_key_is_not_a_second_mistake(tmp_path: Path) -> None:
    (line,) = lines(tmp_path, with_top("keys: [{name: '${NOWHERE}'}]"))
    assert "'keys' are made" in line
