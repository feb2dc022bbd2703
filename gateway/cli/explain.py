"""``waybill explain``: which targets a request would try, in order, and why each other target is out.

Offline: the same planner as the server's, over the same file; nothing is sent upstream, and the plan is what it would
be if all were well. With ``--live`` the running server plans, with its keys, health and hand brakes as they are at this
moment, and what it answers is shown. Exit 0 when a target is eligible, 1 when the request would be refused or the
server cannot be asked, 2 when the file or the arguments are wrong.
"""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import orjson
import typer
from msgspec import Struct
from msgspec.structs import replace

from gateway.cli import terminal
from gateway.cli.bodyfile import read_body, read_facts
from gateway.cli.likeness import sample_picture
from gateway.cli.options import AllowSandbox, Config, DataDir, Json, Url
from gateway.cli.plantable import Beside, show_plan
from gateway.cli.proofs import proofs
from gateway.cli.setting import Setting, base_url, setting
from gateway.cli.standing import answer_of, ask_operator, brake_words, by_target, objects, operator_key
from gateway.core.plan_report import plan_json
from gateway.core.policy import plan
from gateway.core.types import Directives, Facts, JsonObject, JsonValue, Refusal, Surface
from gateway.core.view import CALM

SIDE = 1024


class _Question(Struct, frozen=True, kw_only=True):
    """What is to be explained; ``data`` is the body as it goes to a planner."""

    model: str | None
    surface: Surface
    data: bytes | None


def explain(
    *,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="The model that the request asks for.", metavar="MODEL")
    ] = None,
    endpoint: Annotated[
        Surface, typer.Option("--endpoint", "-e", help="Where the request is sent to.", metavar="SURFACE")
    ] = Surface.GENERATIONS,
    body: Annotated[
        Path | None, typer.Option("--body", "-b", metavar="FILE", help="JSON body of the request; '-' reads stdin.")
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Have the running gateway plan, as things stand at this moment.")
    ] = False,
    url: Url = None,
    config: Config = None,
    data_dir: DataDir = None,
    sandbox: AllowSandbox = False,
    as_json: Json = False,
) -> None:
    """Print the plan of a request without sending it."""
    wanted = setting(config=config, data_dir=data_dir, sandbox=sandbox)
    asked = _Question(model=model, surface=endpoint, data=None if body is None else _given(body, endpoint))
    if live or url:
        if sandbox:
            terminal.stop("--sandbox is for a plan made here; with --live the running gateway plans")
        planned, beside = _planned_there(asked, base_url(url, wanted), wanted, checks_file=config is not None)
    else:
        planned, beside = _planned_here(asked, wanted)
    if as_json:
        terminal.print_json(planned)
    else:
        show_plan(terminal.console(wanted.env), planned, endpoint, beside)
    raise typer.Exit(1 if "error" in planned else 0)


def _planned_here(asked: _Question, wanted: Setting) -> tuple[JsonObject, Beside]:
    loaded = wanted.routes()
    facts: Facts | Refusal = Facts(surface=asked.surface, asked_model=asked.model)
    if asked.data is not None:
        facts = read_facts(asked.data, asked.surface, loaded.settings)
        if isinstance(facts, Facts) and asked.model is not None:
            facts = replace(facts, asked_model=asked.model)
    view = replace(CALM, verified=proofs(loaded))
    planned = facts if isinstance(facts, Refusal) else plan(facts, Directives(), loaded.table, view)
    channels = loaded.table.channels.values()
    return plan_json(planned, None), Beside(unready={one.name: one.unready for one in channels if one.unready})


def _planned_there(asked: _Question, base: str, wanted: Setting, *, checks_file: bool) -> tuple[JsonObject, Beside]:
    """Have the running gateway plan; a body that is no JSON object, which it cannot be asked about, is refused here."""
    body = _object(asked.data)
    if asked.data is not None and body is None:
        return _planned_here(asked, wanted)
    key = operator_key(wanted)
    question: dict[str, JsonValue] = {"endpoint": asked.surface.value}
    question |= {"model": asked.model} if asked.model is not None else {}
    question |= {"body": body} if body is not None else {}
    planned = answer_of(ask_operator(f"{base}/api/routes/explain", key, question))
    report = answer_of(ask_operator(f"{base}/api/channels", key))
    if checks_file:
        _compare(base, wanted)
    channels = objects(report.get("data"))
    return planned, Beside(
        unready={str(one["channel"]): str(one["unready"]) for one in channels if one.get("unready")},
        health=by_target(report),
        brakes={str(one["channel"]): brake_words(one) for one in channels},
    )


def _compare(base: str, wanted: Setting) -> None:
    """Say when the running gateway's routes file is another one than that which was named."""
    loaded = wanted.routes()
    running = answer_of(ask_operator(f"{base}/api/routes", operator_key(wanted))).get("version")
    if running != loaded.table.version:
        terminal.complain([f"waybill: the gateway runs another routes file, or version of it, than {loaded.path}"])


# --- the body


def _given(file: Path, surface: Surface) -> bytes:
    """Read the body. What every request of the surface has may be left out: then it is put in, which is said."""
    try:
        data = read_body(file)
    except OSError as error:
        terminal.stop(f"cannot read {file}: {error.strerror}")
    body = _object(data)
    missing = {} if body is None else {name: value for name, value in _needed(surface).items() if name not in body}
    if body is None or not missing:
        return data
    terminal.complain([f"waybill: the body has no {' and no '.join(missing)}: the plan is made as if it had"])
    return orjson.dumps({**body, **missing})


def _needed(surface: Surface) -> Mapping[str, JsonValue]:
    match surface:
        case Surface.RESPONSES:
            return {"input": "a picture"}
        case Surface.EDITS:
            drawn = sample_picture(SIDE, SIDE)
            url = f"data:{drawn.content_type};base64,{base64.b64encode(drawn.data).decode()}"
            return {"prompt": "a picture", "images": [{"image_url": url}]}
        case _:
            return {"prompt": "a picture"}


def _object(data: bytes | None) -> JsonObject | None:
    try:
        found: JsonValue = None if data is None else orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None
