"""Plays a transcript: a text of what the client says, what each upstream does, and what must come of it.

A transcript is lines; ``#`` starts a comment. Before the first ``>>`` come settings, one ``key: value`` a line::

    route: A, B                 the targets of the route ``pic`` (and of the text route ``chat``), in order
    max_attempts: 2             any key of a route
    on_failure: {timeout: next}
    A: {timeouts: {idle: 1s}}   any keys of a channel; of its rows, those that are named

Then, for each request::

    >> POST /v1/images/generations {"model": "pic", "prompt": "a lighthouse"}
    >> x-route-fallback: off
    << A error openai/insufficient_quota    a named error of tests/fakes/answers.py
    << B image                              an answer with a picture
    == status 200
    == x-route-channel: B
    == record.attempts.0.class: quota_exhausted
    == body.data.0.b64_json: *
    == absent x-retry-reason
    == asked A 1, B 1                       how often each upstream was asked: the truth about money
    == sent A GET /v1/responses/resp_1      what it was asked last
    == got A {"model": "pic-A"}             the body it got last, byte for byte

    == opens body.data.0.url png            what a client gets at an address: a picture of that format, or a status
    == fetched A 1                          how many pictures were fetched from whose server

What an upstream does: ``image``, ``response``, ``response text``, ``error CODE``, ``STATUS [JSON]``, ``closed``, or a
fault by its name in tests/fakes/script.py. ``link`` answers with an address on its own server, where a picture is
(``link 404``, ``link html``: where none is; ``link URL``: with another address). ``events WORD, WORD ...; OPTION`` is a
stream (tests/fakes/events.py). Of a streamed answer::

    == events image_generation.partial_image, image_generation.completed     the events that came, in order
    == events.-1.error.code: upstream_unknown_outcome                        a field of one of them
    == sound                                                                 each event is known to every client
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import yaml

from gateway.core.picture import PictureMeter
from tests.fakes import answers, events, script
from tests.fakes.gateway import NO_TLS, RunningGateway, running_gateway
from tests.fakes.script import Script
from tests.fakes.upstream import FakeUpstream

NAMES = ("A", "B", "C")
NAMED = (*answers.OPENAI_ERRORS, *answers.AZURE_ERRORS, *answers.NEW_API_ERRORS)
ERRORS = {error.code: error for error in NAMED} | {f"{error.upstream}/{error.code}": error for error in NAMED}


@dataclass(slots=True)
class Exchange:
    """One request of a transcript, with its lines in order."""

    method: str
    path: str
    body: str
    headers: dict[str, str] = field(default_factory=dict)
    plays: list[tuple[str, str]] = field(default_factory=list)
    expects: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Transcript:
    """A whole file."""

    settings: dict[str, Any]
    exchanges: list[Exchange]


def read(text: str) -> Transcript:
    """Read a transcript. Raises ``ValueError`` for a line that is none."""
    settings: list[str] = []
    exchanges: list[Exchange] = []
    for line in text.splitlines():
        kind, _, rest = line.partition(" ")
        if not line.strip() or kind.startswith("#"):
            continue
        if kind == ">>" and (started := re.match(r"(GET|POST|DELETE) (\S+) ?(.*)$", rest)):
            exchanges.append(Exchange(started[1], started[2], started[3]))
        elif kind == ">>":
            name, _, value = rest.partition(": ")
            exchanges[-1].headers[name] = value
        elif kind == "<<":
            channel, _, act = rest.partition(" ")
            exchanges[-1].plays.append((channel, act))
        elif kind == "==":
            exchanges[-1].expects.append(rest)
        elif not exchanges:
            settings.append(line)
        else:
            raise ValueError(f"not a line of a transcript: {line}")
    return Transcript(yaml.safe_load("\n".join(settings)) or {}, exchanges)


def act(text: str) -> Script:
    """Give the script that a ``<<`` line names."""
    word, _, rest = text.partition(" ")
    if word == "events":
        return events.told(rest)
    if word == "image":
        options = json.loads(rest) if rest else {}
        return script.reply(200, answers.image_answer_that_says(options.pop("said", {}), **options))
    if word == "response":
        return script.reply(200, answers.responses_answer(picture=rest != "text"))
    if word == "failed_response":
        return script.reply(200, answers.failed_response(*([rest] if rest else [])))
    if word == "failed_item":
        return script.reply(200, answers.failed_item(*([rest] if rest else [])))
    if word == "error":
        error = ERRORS[rest]
        return script.reply(error.status, error.body)
    if word.isdigit():
        body, _, headers = rest.partition(" headers ")
        extra = json.loads(headers) if headers else None
        return script.reply(int(word), json.loads(body) if body else {"error": {"message": "no"}}, headers=extra)
    made = getattr(script, word)(*(json.loads(f"[{rest}]")))
    assert isinstance(made, Script)
    return made


def link(rest: str, upstream: FakeUpstream) -> Script:
    """Give an answer with an address."""
    if not rest or rest.isdigit() or rest == "html":
        found = script.html() if rest == "html" else script.reply(int(rest)) if rest else script.picture(answers.png())
        rest = upstream.put("/pictures/1.png", found)
    return script.reply(200, answers.url_answer(rest))


def routes_file(settings: dict[str, Any], upstreams: dict[str, FakeUpstream]) -> str:
    """Write the routes file of a transcript: channels A, B, C; route ``pic`` for pictures, ``chat`` for turns."""
    route = {key: value for key, value in settings.items() if key not in (*NAMES, "server", "state")}
    targets = [name.strip() for name in route.pop("route", "A, B").split(",")]
    channels = {
        name: {
            "owner": f"owner-{name}",
            "kind": "direct",
            "api": "openai",
            "base_url": upstream.url,
            "api_key": upstream.key,
            "rows": {
                "pic": {"model": f"pic-{name}", "serves": ["images/generations", "images/edits"]},
                "chat": {"model": f"chat-{name}", "serves": ["responses"]},
                **settings.get(name, {}).get("rows", {}),
            },
            **{key: value for key, value in settings.get(name, {}).items() if key != "rows"},
        }
        for name, upstream in upstreams.items()
    }
    routes = {name: {"targets": targets, **route} for name in ("pic", "chat")}
    routes["chat"].pop("deliver", None)
    blocks = {key: settings.get(key, {}) for key in ("server", "state")}
    return yaml.safe_dump({"version": 1, **blocks, "channels": channels, "routes": routes})


async def play(transcript: Transcript, directory: Path) -> None:
    """Play a transcript to its end against a real gateway and real upstreams on sockets."""
    upstreams = {name: FakeUpstream(key=f"sk-{name}") for name in NAMES}
    for upstream in upstreams.values():
        await upstream.start()
    try:
        async with (
            running_gateway(routes_file(transcript.settings, upstreams), directory) as gateway,
            httpx2.AsyncClient(timeout=30, trust_env=False, verify=NO_TLS) as client,
        ):
            for exchange in transcript.exchanges:
                await play_one(exchange, gateway, client, upstreams)
        problems = {name: upstream.problems for name, upstream in upstreams.items() if upstream.problems}
        assert problems == {}
    finally:
        for upstream in upstreams.values():
            await upstream.close()


async def play_one(
    exchange: Exchange, gateway: RunningGateway, client: httpx2.AsyncClient, upstreams: dict[str, FakeUpstream]
) -> None:
    """Play one request and check every ``==`` line."""
    before = {name: upstream.count for name, upstream in upstreams.items()}
    fetched = {name: len(upstream.fetched) for name, upstream in upstreams.items()}
    for channel, text in exchange.plays:
        if text == "closed":
            await upstreams[channel].refuse()
        elif text.partition(" ")[0] == "link":
            upstreams[channel].play(link(text.partition(" ")[2], upstreams[channel]))
        else:
            upstreams[channel].play(act(text))
    headers = {"content-type": "application/json", "authorization": "Bearer sk-anything", **exchange.headers}
    answer = await client.request(
        exchange.method, gateway.url + exchange.path, content=exchange.body.encode(), headers=headers
    )
    record = await gateway.record(answer.headers["x-request-id"]) if "/v1/" in exchange.path else {}
    asked = {name: upstream.count - before[name] for name, upstream in upstreams.items()}
    fetched = {name: len(upstream.fetched) - fetched[name] for name, upstream in upstreams.items()}
    sent = [line for line in exchange.expects if line.startswith("sent ")]
    got = [line for line in exchange.expects if line.startswith("got ")]
    wrong = [line for line in sent if line != f"sent {last_sent(line.split()[1], upstreams)}"]
    wrong += [line for line in got if line != f"got {last_body(line.split()[1], upstreams)}"]
    opens = [line for line in exchange.expects if line.startswith("opens ")]
    wrong += [line for expected in opens for line in await opened(expected, answer, record, client)]
    counted = [line for line in exchange.expects if line.startswith("fetched ")]
    wrong += [
        line
        for line in counted
        if dict(re.findall(r"(\w+) (\d+)", line[8:])) != {name: str(count) for name, count in fetched.items() if count}
    ]
    others = (line for line in exchange.expects if line not in (*sent, *got, *opens, *counted))
    wrong += [line for expected in others for line in check(expected, answer, record, asked)]
    assert not wrong, "\n".join([*wrong, answer.text[:2000], json.dumps(record, indent=1)])


async def opened(
    expected: str, answer: httpx2.Response, record: dict[str, Any], client: httpx2.AsyncClient
) -> Iterator[str]:
    """Look at what is at an address of the answer; gives what is wrong."""
    _, name, wanted = expected.split()
    found = await client.get(str(look(name, answer, record)))
    if wanted.isdigit():
        return iter([] if found.status_code == int(wanted) else [f"{name} is answered {found.status_code}"])
    meter = PictureMeter()
    meter.feed(found.content)
    is_same = meter.facts().sha256 in [image["sha256"] for image in record["result"]["images"]]
    said = f"{found.status_code} {found.headers['content-type']}"
    return iter([] if is_same and said == f"200 image/{wanted}" else [f"{name} is answered {said}, same: {is_same}"])


def last_sent(name: str, upstreams: dict[str, FakeUpstream]) -> str:
    """Say what an upstream was asked last: its name, method, path and query."""
    last = upstreams[name].requests[-1]
    return f"{name} {last.method} {last.path}{'?' if last.query else ''}{last.query}"


def last_body(name: str, upstreams: dict[str, FakeUpstream]) -> str:
    """Give an upstream's name and the body that it got last."""
    return f"{name} {upstreams[name].requests[-1].body.decode()}"


def check(expected: str, answer: httpx2.Response, record: dict[str, Any], asked: dict[str, int]) -> Iterator[str]:
    """Compare one ``==`` line; yields what is wrong."""
    word, _, rest = expected.partition(" ")
    if word == "status":
        if answer.status_code != int(rest):
            yield f"status is {answer.status_code}, not {rest}"
        return
    if word == "events":
        found_names = ", ".join(str(one.get("type")) for one in events_of(answer))
        if found_names != rest:
            yield f"events are {found_names}, not {rest}"
        return
    if word == "sound":
        yield from faults_of(answer)
        return
    if word == "asked":
        wanted = dict(re.findall(r"(\w+) (\d+)", rest))
        if {name: str(asked[name]) for name in wanted} != wanted:
            yield f"asked {asked}, not {rest}"
        return
    if word == "absent":
        if look(rest, answer, record) is not None:
            yield f"{rest} is there: {look(rest, answer, record)}"
        return
    name, _, wanted_value = expected.partition(": ")
    found = look(name, answer, record)
    if found is None or (wanted_value != "*" and not re.fullmatch(pattern(wanted_value), str(found))):
        yield f"{name} is {found!r}, not {wanted_value!r}"


def events_of(answer: httpx2.Response) -> list[dict[str, Any]]:
    """Give the data of each event of a stream."""
    text = answer.text.replace("\r\n", "\n").replace("\r", "\n")
    blocks = [[line for line in block.split("\n") if not line.startswith(":")] for block in text.split("\n\n")]
    data = ["\n".join(line.removeprefix("data:").strip() for line in block if line[:4] == "data") for block in blocks]
    return [json.loads(one) for one in data if one]


def faults_of(answer: httpx2.Response) -> Iterator[str]:
    """Say what of a stream some client could trip over: numbers that are not in a row, names that are not types."""
    numbers = [one["sequence_number"] for one in events_of(answer) if "sequence_number" in one]
    if numbers != list(range(len(numbers))):
        yield f"the numbers are {numbers}"
    if answer.headers["content-type"] != "text/event-stream; charset=utf-8":
        yield f"the content type is {answer.headers['content-type']}"
    if not answer.content.endswith((b"\n\n", b"\r\n\r\n", b"\r\r")):
        yield "the last event is not ended"
    if b"[DONE]" in answer.content:
        yield "there is an end mark of another surface"


def pattern(text: str) -> str:
    """Give the regular expression of an expected value, in which ``*`` stands for anything."""
    return ".*".join(re.escape(piece) for piece in text.split("*"))


def look(name: str, answer: httpx2.Response, record: dict[str, Any]) -> object:
    """Find ``record.a.b``, ``body.a.b`` or a response header."""
    where, _, path = name.partition(".")
    if where not in {"record", "body", "events"}:
        return answer.headers.get(name)
    found: Any = record if where == "record" else events_of(answer) if where == "events" else answer.json()
    for step in path.split("."):
        if isinstance(found, list):
            found = found[int(step)] if -len(found) <= int(step) < len(found) else None
        else:
            found = found.get(step) if isinstance(found, dict) else None
    return found
