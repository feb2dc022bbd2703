"""``waybill usage``: what was spent, by group; from the ledger, beside a running server or not.

Sums of two currencies, two units or two states stand below each other. ``about`` marks what is estimated, and
``may not be owed`` the part of it that belongs to calls whose outcome is unknown. Exit 0 also when nothing was asked
yet, 2 when the ledger cannot be read or an option cannot.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.text import Text

from gateway.cli import terminal
from gateway.cli.options import Config, DataDir, Json
from gateway.cli.setting import setting
from gateway.cli.terminal import BOLD, DIM, WARN, stacked, words
from gateway.core.money import CostState, decimal
from gateway.core.spend import Dimension, Sum, Usage, UsageQuery
from gateway.ports.readings import TooManyGroups
from gateway.stores.refusals import LedgerRefused
from gateway.stores.usage import read_usage


def usage(
    *,
    config: Config = None,
    data_dir: DataDir = None,
    as_json: Json = False,
    by: Annotated[
        str,
        typer.Option(
            "--by", "-b", help="owner, channel, model, key, team or day; several with commas.", metavar="WORDS"
        ),
    ] = "owner",
    since: Annotated[str | None, typer.Option("--since", help="From this day on (UTC).", metavar="DAY")] = None,
    until: Annotated[str | None, typer.Option("--until", help="Up to this day, without it.", metavar="DAY")] = None,
) -> None:
    """Sum up what was asked for, delivered and spent."""
    wanted = setting(config=config, data_dir=data_dir)
    dimensions = _dimensions(by)
    query = UsageQuery(by=dimensions, since=_day(since, "--since"), until=_day(until, "--until"))
    try:
        rows = read_usage(wanted.routes().settings.database, query)
    except LedgerRefused as error:
        terminal.stop(str(error))
    except TooManyGroups as error:
        terminal.stop(f"there are {error}: ask for fewer words, or for a shorter time")
    if as_json:
        terminal.print_json({"data": [row.as_json(dimensions) for row in rows]})
        return
    screen = terminal.console(wanted.env)
    if not rows:
        screen.print(words("The ledger holds no requests of that time.", DIM))
        return
    extras = _extras(rows)
    shown = terminal.table(
        *dimensions,
        ">requests",
        ">pictures",
        ">failed",
        "cost",
        "of it wasted",
        ">unknown",
        *(name for name, _ in extras),
    )
    for row in rows:
        shown.add_row(*_cells(row), *(cell(row) for _, cell in extras))
    screen.print(shown)


def _dimensions(text: str) -> tuple[Dimension, ...]:
    found = [word.strip() for word in text.split(",")]
    known = [one.value for one in Dimension]
    if len(set(found)) != len(found) or not set(found) <= set(known):
        terminal.stop(f"--by takes each of {', '.join(known)} at most once, with commas between them")
    return tuple(Dimension(word) for word in found)


def _day(text: str | None, option: str) -> datetime | None:
    if text is None:
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return terminal.stop(f"{option} takes a day, written like 2026-11-20")


def _cells(row: Usage) -> list[Text]:
    group = [words(word, BOLD) if word is not None else words("-", DIM) for word in row.group]
    return [
        *group,
        words(str(row.requests)),
        words(str(row.images)),
        words(str(row.failed), WARN if row.failed else DIM),
        stacked(*(_sum(one) for one in row.cost)) if row.cost else words("-", DIM),
        _waste(row),
        words(str(row.missing), WARN if row.missing else DIM),
    ]


def _extras(rows: Sequence[Usage]) -> list[tuple[str, Callable[[Usage], Text]]]:
    """Give the columns that say something of any row: of verdicts, of credits, and of what flights saved and lost."""
    found: list[tuple[str, Callable[[Usage], Text]]] = []
    if any(row.accepted or row.rejected for row in rows):
        found += [
            (">accepted", lambda row: words(str(row.accepted))),
            (">rejected", lambda row: words(str(row.rejected), WARN if row.rejected else DIM)),
            ("each accepted", _each_accepted),
        ]
    if any(row.credits for row in rows):
        found.append((">credits", lambda row: words(str(row.credits))))
    if any(row.rescued for row in rows):
        found.append((">rescued", lambda row: _with_money(row.rescued, row.saved)))
    if any(row.lost for row in rows):
        found.append((">lost", lambda row: _with_money(row.lost, row.gone, WARN)))
    return found


def _with_money(count: int, money: Mapping[str, int], style: str = "") -> Text:
    if not count:
        return words("-", DIM)
    cost = [words(f"{decimal(micro)} {currency}", DIM) for currency, micro in money.items()]
    return stacked(words(str(count), style), *cost)


def _each_accepted(row: Usage) -> Text:
    micro = row.per_accepted_micro
    return words("-", DIM) if micro is None else words(f"{decimal(micro)} {row.currency}")


def _sum(one: Sum) -> Text:
    about = "about " if one.state is CostState.ESTIMATED else ""
    said = words(f"{about}{decimal(one.amount_micro)} {one.currency}").append_text(words(f"  {one.unit}", DIM))
    if one.exposure_micro:
        said.append_text(words(f", {decimal(one.exposure_micro)} may not be owed", DIM))
    return said


def _waste(row: Usage) -> Text:
    wasted: Sequence[str] = [f"{decimal(micro)} {currency}" for currency, micro in row.waste.items() if micro]
    return stacked(*(words(one, WARN) for one in wasted)) if wasted else words("-", DIM)
