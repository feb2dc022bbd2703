"""``waybill explain``: which targets a request would try, in order, and why each other target is out.

Offline: the same planner as the server's, over the same file; nothing is sent upstream. How the channels stand at this
moment only a running server knows: with ``--live`` it is asked, and its word stands beside each target; without, the
plan is what it would be if all were well. Exit 0 when a target is eligible, 1 when the request would be refused or the
server cannot be asked, 2 when the file or the arguments are wrong.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from msgspec.structs import replace
from rich.console import Console
from rich.text import Text

from gateway.cli import terminal
from gateway.cli.bodyfile import read_facts
from gateway.cli.options import AllowSandbox, Config, DataDir, Json, Url
from gateway.cli.proofs import proofs
from gateway.cli.setting import setting
from gateway.cli.standing import by_target, standing
from gateway.cli.terminal import BAD, BOLD, DIM, GOOD, WARN, is_wide, stacked, words
from gateway.cli.wording import about, bounds, cost, limits, reason
from gateway.core.forecast import quoted, worst_case
from gateway.core.money import Cost
from gateway.core.plan import Plan, Target
from gateway.core.plan_report import plan_json
from gateway.core.policy import plan
from gateway.core.table import Policy, RouteTable, Settings
from gateway.core.types import Directives, Excluded, Facts, Refusal, Surface
from gateway.core.view import CALM

_ORDERS: Mapping[Policy, str] = {
    Policy.PRIORITY: "as written",
    Policy.WEIGHTED: "by lot, shown by weight",
    Policy.FASTEST: "by how long they lately took, shown as written",
    Policy.LEAST_BUSY: "by how busy they are, shown as written",
    Policy.CHEAPEST: "by what the request may cost there at most",
}


def explain(
    *,
    model: Annotated[str | None, typer.Option("--model", "-m", help="The model the request asks for.")] = None,
    endpoint: Annotated[
        Surface, typer.Option("--endpoint", "-e", help="The surface it is sent to.")
    ] = Surface.GENERATIONS,
    body: Annotated[
        Path | None, typer.Option("--body", "-b", metavar="FILE", help="JSON body of the request; '-' reads stdin.")
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Ask the running gateway how each target stands: health and hand brake.")
    ] = False,
    url: Url = None,
    config: Config = None,
    data_dir: DataDir = None,
    sandbox: AllowSandbox = False,
    as_json: Json = False,
) -> None:
    """Print the plan of a request without sending anything."""
    wanted = setting(config=config, data_dir=data_dir, sandbox=sandbox)
    loaded = wanted.routes()
    facts = _facts(model, endpoint, body, loaded.settings)
    table = loaded.table
    view = replace(CALM, verified=proofs(loaded))
    planned = facts if isinstance(facts, Refusal) else plan(facts, Directives(), table, view)
    health = by_target(standing(url, wanted)) if live or url else None
    if as_json:
        said = None if health is None else {name: str(text) for name, text in health.items()}
        terminal.print_json(plan_json(planned, said))
    else:
        screen = terminal.console(wanted.env)
        if isinstance(planned, Plan):
            _show_plan(planned, endpoint, screen, health)
        else:
            _show_refusal(planned, screen)
        _show_excluded(planned.excluded, table, screen)
    raise typer.Exit(0 if isinstance(planned, Plan) else 1)


def _facts(model: str | None, surface: Surface, body: Path | None, settings: Settings) -> Facts | Refusal:
    """Take the request from the body file, the model from the flag when there is one."""
    if body is None:
        return Facts(surface=surface, asked_model=model)
    try:
        facts = read_facts(body, surface, settings)
    except OSError as error:
        terminal.stop(f"cannot read {body}: {error.strerror}")
    if isinstance(facts, Refusal) or model is None:
        return facts
    return replace(facts, asked_model=model)


def _show_plan(planned: Plan, surface: Surface, screen: Console, health: Mapping[str, Text] | None) -> None:
    tries = min(planned.max_attempts, len(planned.targets))
    head = words(planned.asked_model, BOLD)
    head.append_text(words(f" on {surface}: at most {tries} of {len(planned.targets)} ", ""))
    head.append_text(words(f"target{'s' if len(planned.targets) > 1 else ''}, within {planned.deadline_s:g} s", ""))
    screen.print(head)
    for line in _choice(planned):
        screen.print(words(line, DIM))
    screen.print()
    wide = is_wide(screen)
    columns = (">", "target", "owner", "kind", "model sent", ">patience", ">may cost")
    shown = terminal.table(*(columns if wide else (*columns[:2], *columns[4:])))
    for place, target in enumerate(planned.targets, start=1):
        number, name = words(str(place), BOLD), words(target.name, GOOD)
        owner, kind = words(target.channel.owner), words(target.channel.kind)
        patience = words(f"{target.patience_s:g} s")
        worst = _worst(quoted(planned, target))
        well = health.get(target.name, words("not a target of the running server", BAD)) if health else Text()
        if wide:
            shown.add_row(number, stacked(name, _notes(target), well), owner, kind, _sent(target), patience, worst)
        else:
            below = words(about(target.channel), DIM)
            shown.add_row(number, stacked(name, below, _notes(target), well), _sent(target), patience, worst)
    screen.print(shown)
    if health is None:
        screen.print()
        screen.print(words("Health and hand brakes are the running server's to know: add --live to ask it.", DIM))


def _choice(planned: Plan) -> list[str]:
    """Say how the targets were narrowed and ordered."""
    lines = [] if planned.rule is None else [f"Rule {planned.rule + 1} of the route speaks of this request."]
    lines = [*lines, f"Order: {_ORDERS[planned.route.policy]}."]
    lines += [f"{line[:1].upper()}{line[1:]}." for line in bounds(planned.route)]
    return [*lines, f"All attempts together may cost: {cost(worst_case(planned))}."]


def _worst(quote: Cost) -> Text:
    return words(cost(quote), WARN if quote.amount_micro is None else "")


def _notes(target: Target) -> Text:
    lines = ["substitute: another model, asked last"] if target.substitute else []
    lines += [change.stamp for change in target.changes]
    lines += ["its contract forbids the request, and only advises"] if target.is_doubtful else []
    return words("; ".join([*lines, limits(target.channel)]), DIM)


def _sent(target: Target) -> Text:
    tool = words("" if target.tool_sent_model is None else f"image tool: {target.tool_sent_model}", DIM)
    return stacked(words(target.sent_model), tool)


def _show_refusal(refusal: Refusal, screen: Console) -> None:
    screen.print(words(f"Refused: {refusal.status} {refusal.code}", f"{BOLD} {BAD}"))
    screen.print(words(refusal.message))


def _show_excluded(excluded: tuple[Excluded, ...], table: RouteTable, screen: Console) -> None:
    if not excluded:
        return
    screen.print()
    shown = terminal.table("excluded", "why")
    for item in excluded:
        channel = table.channels.get(item.target.partition("/")[0])
        shown.add_row(words(item.target, DIM), words(reason(item.reason, channel)))
    screen.print(shown)
