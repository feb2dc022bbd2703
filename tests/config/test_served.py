"""The note of where a data directory's server is reached."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.config.served import FILE, forget_served, note_served, served_at


def test_the_address_is_found_while_its_server_runs(tmp_path: Path) -> None:
    assert served_at(tmp_path) is None
    note_served(tmp_path, "http://127.0.0.1:9000")
    assert served_at(tmp_path) == "http://127.0.0.1:9000"
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    forget_served(tmp_path)
    assert served_at(tmp_path) is None
    forget_served(tmp_path)


def test_what_a_killed_server_left_is_not_believed(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (tmp_path / FILE).write_text(json.dumps({"pid": gone.pid, "url": "http://127.0.0.1:9000"}))
    assert served_at(tmp_path) is None


def test_another_servers_note_stays(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(json.dumps({"pid": os.getppid(), "url": "http://127.0.0.1:9000"}))
    forget_served(tmp_path)
    assert served_at(tmp_path) == "http://127.0.0.1:9000"


@pytest.mark.parametrize("text", ["", "[]", '{"pid": "1", "url": "x"}', '{"pid": -1, "url": "x"}', '{"pid": 1e99}'])
def test_a_note_that_is_none_is_passed_over(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    assert served_at(tmp_path) is None


def test_a_directory_that_takes_no_note_is_no_trouble(tmp_path: Path) -> None:
    note_served(tmp_path / "nowhere", "http://127.0.0.1:9000")
    assert served_at(tmp_path / "nowhere") is None
