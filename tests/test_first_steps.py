"""docs/start.md, walked from top to bottom against real servers: its file, its commands, what it says they print."""

import json
import re
import shlex
import time
from pathlib import Path
from subprocess import run

from tests.cli.program import REPOSITORY, Program
from tests.cli.test_serve import serving

PAGE = (REPOSITORY / "docs" / "start.md").read_text("utf-8")
WHOLE, MORE = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
STAMPS = [line for line in PAGE.splitlines() if re.match(r"x-route-(?:channel|attempts): |x-retry-reason: ", line)]
MISTAKE = re.search(r"`(routes\.yaml:\d+:\d+: [^`]*)`", PAGE)


def command(name: str) -> list[str]:
    """Give the arguments of the page's command that begins like ``name``."""
    found = re.search(rf"^waybill ({re.escape(name)}.*)$", PAGE, re.MULTILINE)
    assert found is not None, name
    return shlex.split(found[1])


def added() -> str:
    """Give the page's file with what its last example adds to it."""
    channel, _, route = MORE.partition("routes:\n")
    targets = route.splitlines()[-1]
    text = WHOLE.replace("routes:\n", channel.removeprefix("channels:\n") + "routes:\n")
    return re.sub(r"^    targets: .*$", targets, text, flags=re.MULTILINE)


def test_the_file_is_good_and_its_mistakes_are_said_as_the_page_says(tmp_path: Path) -> None:
    program = Program(directory=tmp_path)
    file = tmp_path / "routes.yaml"
    file.write_text(WHOLE, "utf-8")
    checked = program.run(*command("check"))
    assert checked.code == 0
    assert "OPENAI_API_KEY is not set" in checked.out
    file.write_text(WHOLE.replace("[openai,", "[opnai,"), "utf-8")
    assert MISTAKE is not None
    assert program.run("check").err.splitlines()[0] == MISTAKE[1]
    file.write_text(added(), "utf-8")
    assert "laozhang" in program.run("check").out


def test_the_walk_from_a_fallback_to_a_key_with_a_budget(tmp_path: Path) -> None:
    other, own = tmp_path / "other", tmp_path / "own"
    other.mkdir()
    own.mkdir()
    (other / "routes.yaml").write_text((REPOSITORY / "routes.yaml").read_text("utf-8"), "utf-8")
    (own / "routes.yaml").write_text(WHOLE, "utf-8")
    with serving(Program(directory=other)) as (_, stand_in):
        accounts = {"OPENAI_URL": "http://127.0.0.1:9/v1", "OPENAI_API_KEY": "any"}
        accounts |= {"OPENAI_EU_URL": f"{stand_in}/v1", "OPENAI_EU_API_KEY": "any"}
        program = Program(directory=own, env=accounts)
        assert "openai-eu/gpt-image-2" in program.run(*command("explain")).out
        with serving(program) as (_, url):
            falls_back(own, url)
            spends_of_a_key(program, url)
            takes_a_changed_file(program, url)


def falls_back(directory: Path, url: str) -> None:
    curl = re.search(r"^curl -s .*(?:\\\n.*)*-D -$", PAGE, re.MULTILINE)
    assert curl is not None
    text = curl[0].replace("http://127.0.0.1:8484", url)
    head = run(["bash", "-c", text], cwd=directory, capture_output=True, text=True, check=True, timeout=60).stdout
    assert len(STAMPS) == 3
    assert [line for line in STAMPS if line not in head.splitlines()] == []


def spends_of_a_key(program: Program, url: str) -> None:
    made = program.run(*command("keys create"), "--json")
    key = json.loads(made.out)["key"]
    assert program.run("image", "a fox", "--out", "x.png", "--url", url, WAYBILL_API_KEY="wb-none").code == 1
    drawn = program.run(*command("image"), "--url", url, WAYBILL_API_KEY=key)
    assert drawn.code == 0, drawn.err
    assert (program.directory / "lighthouse.png").read_bytes().startswith(b"\x89PNG")
    (listed,) = json.loads(program.run(*command("keys list"), "--json").out)["data"]
    assert listed["budget"]["spent_micro"] > 0


def takes_a_changed_file(program: Program, url: str) -> None:
    (program.directory / "routes.yaml").write_text(added(), "utf-8")
    for _ in range(50):
        if "laozhang" in program.run("channels", "list", "--url", url).out:
            break
        time.sleep(0.2)
    else:
        raise AssertionError("the changed file was not taken")
    drain = re.search(r"`waybill (channels drain [^`]*)`", PAGE)
    assert drain is not None
    assert program.run(*shlex.split(drain[1]), "--url", url).code == 0
    assert '"drained"' in program.run("channels", "list", "--json", "--url", url).out
