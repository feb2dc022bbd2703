"""``waybill usage``: what was spent, by group; from the ledger, beside a running server or not.

Sums of two currencies, two units or two states stand below each other. ``about`` marks what is estimated,
``may not be owed`` the part of it that belongs to calls whose outcome is unknown, and ``unknown (5)`` that five
requests have a cost that nobody knows. Exit 0 also when nothing was asked yet, 2 when the ledger cannot be read or an
option cannot.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.text import Text

from gateway.cli import terminal
from gateway.cli.blocks import print_rows
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
            "--by", "-b", help="owner, channel, model, key, team or day; several separated by commas.", metavar="GROUPS"
        ),
    ] = "owner",
    since: Annotated[
        str | None, typer.Option("--since", help="From this day on, such as 2026-11-20 (UTC).", metavar="DAY")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", help="Before this day (not included).", metavar="DAY")] = None,
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
        terminal.stop(f"there are {error}: group by less, or ask for a shorter time")
    if as_json:
        terminal.print_json({"data": [row.as_json(dimensions) for row in rows]})
        return
    screen = terminal.console(wanted.env)
    if not rows:
        screen.print(words("The ledger holds no requests of that time.", DIM))
        return
    extras = _extras(rows)
    names = [*dimensions, ">requests", ">pictures", ">failed", "cost", "spent on\nfailures"]
    cells = [[*_cells(row, dimensions), *(cell(row) for _, cell in extras)] for row in rows]
    print_rows(screen, [*names, *(name for name, _ in extras)], cells, heads=len(dimensions))


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


def _cells(row: Usage, dimensions: Sequence[Dimension]) -> list[Text]:
    named = zip(dimensions, row.group, strict=True)
    group = [words(f"no {one}", DIM) if word is None else words(word, BOLD) for one, word in named]
    return [
        *group,
        words(str(row.requests)),
        words(str(row.images)),
        words(str(row.failed), WARN if row.failed else DIM),
        _cost(row),
        _waste(row),
    ]


def _cost(row: Usage) -> Text:
    """Give the sums that are known, and of how many requests the cost is not: what is missing is never nothing."""
    unknown = words(f"unknown ({row.missing})" if row.missing else "", WARN)
    return stacked(*(_sum(one) for one in row.cost), unknown) if row.cost or row.missing else words("-", DIM)


def _extras(rows: Sequence[Usage]) -> list[tuple[str, Callable[[Usage], Text]]]:
    """Give the columns that say something of any row: of verdicts, of credits, and of what flights saved and lost."""
    found: list[tuple[str, Callable[[Usage], Text]]] = []
    if any(row.accepted or row.rejected for row in rows):
        found += [
            (">accepted", lambda row: words(str(row.accepted))),
            (">rejected", lambda row: words(str(row.rejected), WARN if row.rejected else DIM)),
            ("cost per\naccepted", _each_accepted),
        ]
    if any(row.credits for row in rows):
        found.append((">credits", lambda row: words(str(row.credits))))
    if any(row.rescued for row in rows):
        found.append((">rescued\npictures", lambda row: _with_money(row.rescued, row.saved)))
    if any(row.lost for row in rows):
        found.append((">unanswered,\nmaybe paid", lambda row: _with_money(row.lost, row.gone, WARN)))
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
    doubt = words(f"  {decimal(one.exposure_micro)} may not be owed" if one.exposure_micro else "", DIM)
    return stacked(said, doubt)


def _waste(row: Usage) -> Text:
    wasted: Sequence[str] = [f"{decimal(micro)} {currency}" for currency, micro in row.waste.items() if micro]
    return stacked(*(words(one, WARN) for one in wasted)) if wasted else words("-", DIM)
