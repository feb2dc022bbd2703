"""A plan as people read it: from the JSON that ``explain --json`` prints and ``POST /api/routes/explain`` answers.

So that one reading serves both, a plan made here and a running gateway's. What the JSON lacks, ``Beside`` holds.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction

from msgspec import Struct, field
from rich.console import Console
from rich.text import Text

from gateway.cli import terminal
from gateway.cli.delivery import items, member
from gateway.cli.terminal import BAD, BOLD, DIM, GOOD, WARN, is_wide, stacked, words
from gateway.cli.wording import amount, rates, why
from gateway.core.table import Policy
from gateway.core.types import JsonObject, JsonValue, Surface

_ORDERS: Mapping[str, str] = {
    Policy.PRIORITY: "as written",
    Policy.WEIGHTED: "by lot, shown by weight",
    Policy.FASTEST: "by how long they lately took, shown as written",
    Policy.LEAST_BUSY: "by how busy they are, shown as written",
    Policy.CHEAPEST: "by what the request may cost there at most",
}


class Beside(Struct, frozen=True, kw_only=True):
    """What is known beside a plan: why channels are not ready; and live, how targets stand and channels are braked."""

    unready: Mapping[str, str]
    health: Mapping[str, Text] | None = None
    brakes: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_live(self) -> bool:
        """Whether a running gateway was asked."""
        return self.health is not None


def show_plan(screen: Console, plan: JsonObject, surface: Surface, beside: Beside) -> None:
    """Print a plan, or a refusal, and which targets are excluded."""
    error = plan.get("error")
    if isinstance(error, Mapping):
        screen.print(words(f"Refused: {error.get('status')} {error.get('code')}", f"{BOLD} {BAD}"))
        screen.print(words(str(error.get("message"))))
    else:
        _show_targets(screen, plan, surface, beside)
    _show_excluded(screen, items(plan.get("excluded")), beside)


def _show_targets(screen: Console, plan: JsonObject, surface: Surface, beside: Beside) -> None:
    targets = items(plan.get("targets"))
    count, most = len(targets), plan.get("max_attempts")
    tries = min(most, count) if isinstance(most, int) else count
    head = words(str(plan.get("asked_model")), BOLD)
    head.append_text(words(f" on {surface}: at most {tries} of {count} target{'' if count == 1 else 's'}"))
    head.append_text(words(f", within {_number(plan.get('deadline_s'))} s"))
    screen.print(head)
    for line in _choice(plan):
        screen.print(words(line, DIM))
    screen.print()
    wide = is_wide(screen)
    columns = (">", "target", "owner", "kind", "model sent", ">patience", ">may cost")
    shown = terminal.table(*(columns if wide else (*columns[:2], *columns[4:])))
    for place, target in enumerate(targets, start=1):
        name = f"{target.get('channel')}/{target.get('row')}"
        owner, kind = str(target.get("owner")), str(target.get("kind"))
        who = () if wide else (words(owner if owner == kind else f"{owner}, {kind}", DIM),)
        well = Text() if beside.health is None else beside.health.get(name, Text())
        shown.add_row(
            words(str(place), BOLD),
            stacked(words(name, GOOD), *who, _notes(target), well),
            *((words(owner), words(kind)) if wide else ()),
            _sent(target),
            words(f"{_number(target.get('patience_s'))} s"),
            _worst(target.get("worst_case")),
        )
    screen.print(shown)
    if not beside.is_live:
        screen.print()
        screen.print(words("Only the running server knows health and hand brakes: add --live to ask it.", DIM))


def _choice(plan: JsonObject) -> list[str]:
    """Say how the targets were narrowed and ordered, and what bounds or lowers what is asked for."""
    rule = plan.get("rule")
    lines = [f"Rule {rule + 1} of the route applies to this request."] if isinstance(rule, int) else []
    policy = str(plan.get("policy"))
    lines.append(f"Order: {_ORDERS.get(policy, policy)}.")
    if plan.get("max_cost"):
        number, _, currency = str(plan["max_cost"]).partition(" ")
        lines.append(f"At most {amount(Fraction(number) * 1_000_000)} {currency}.")
    for step in items(plan.get("downgrade")):
        sets = member(step, "set")
        said = ", ".join(f"{name} {text}" for name, text in (sets.items() if isinstance(sets, Mapping) else ()))
        lines.append(f"After {step.get('on')}: {said}{'' if step.get('same') else ', next target'}.")
    return [*lines, f"All attempts together may cost: {_worst(plan.get('worst_case')).plain}."]


def _worst(quote: JsonValue) -> Text:
    told: JsonObject = quote if isinstance(quote, Mapping) else {}
    micro = told.get("amount_micro")
    return (
        words(f"{amount(Fraction(micro))} {told.get('currency')}") if isinstance(micro, int) else words("unknown", WARN)
    )


def _notes(target: JsonObject) -> Text:
    lines = ["substitute: another model, asked last"] if target.get("substitute") else []
    changes = target.get("changes")
    lines += [str(stamp) for stamp in changes] if isinstance(changes, list) else []
    lines += ["its contract forbids the request, and only advises"] if target.get("contract_doubt") else []
    bounds = [target.get(name) for name in ("rpm", "ipm", "max_in_flight")]
    return words("; ".join([*lines, rates(*(one if isinstance(one, int) else None for one in bounds))]), DIM)


def _sent(target: JsonObject) -> Text:
    tool = target.get("tool_sent_model")
    return stacked(words(str(target.get("sent_model"))), words(f"image tool: {tool}" if tool else "", DIM))


def _show_excluded(screen: Console, excluded: Sequence[JsonObject], beside: Beside) -> None:
    if not excluded:
        return
    screen.print()
    shown = terminal.table("excluded", "why")
    for item in excluded:
        name, word = str(item.get("target")), str(item.get("reason"))
        channel = name.partition("/")[0]
        brake = beside.brakes.get(channel, "") if word.startswith("channel_") else ""
        shown.add_row(words(name, DIM), stacked(words(why(word, beside.unready.get(channel))), words(brake, DIM)))
    screen.print(shown)


def _number(value: JsonValue) -> str:
    return f"{value:g}" if isinstance(value, int | float) else "?"
