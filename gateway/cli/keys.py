"""``waybill keys``: virtual keys are made, listed, ended and credited, beside a running server or without one.

Everything goes through the database, where a running server sees it within a second. Exit 0 when it was done, 1 when
there is no such key, 2 when an option or the database cannot be read.
"""

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, NoReturn

import typer
from rich.text import Text

from gateway.cli import keyoptions as options
from gateway.cli import terminal
from gateway.cli.blocks import print_rows
from gateway.cli.options import Config, DataDir, Json
from gateway.cli.setting import Setting, setting
from gateway.cli.terminal import BOLD, DIM, WARN, stacked, words
from gateway.clock import SystemClock
from gateway.config import Loaded
from gateway.config.mistake import suggestion
from gateway.core.keys import GRANT, KEY, KEY_BYTES, KeyRow, currencies, key_text, read_credits, read_order
from gateway.core.money import decimal
from gateway.core.types import JsonObject
from gateway.dice import Dice
from gateway.mint import Mint
from gateway.ports import LedgerUnavailable
from gateway.stores.keys_sql import SqlKeyDesk, open_key_desk
from gateway.stores.ledger_sql import upgrade_ledger
from gateway.stores.refusals import LedgerRefused

KeyId = Annotated[str, typer.Argument(help="The id of a key, key_…", metavar="ID", show_default=False)]

keys = typer.Typer(no_args_is_help=True, help="Create, list, revoke and top up the virtual keys that clients use.")


@keys.command()
def create(
    *,
    name: options.Name,
    credits_: options.Credits = None,
    budget: options.Budget = None,
    rpm: options.Rpm = None,
    ipm: options.Ipm = None,
    concurrency: options.Concurrency = None,
    models: options.Models = None,
    team: options.Team = None,
    tags: options.Tags = None,
    scopes: options.Scopes = None,
    no_keep: options.NoKeep = False,
    expires: options.Expires = None,
    yes: options.Yes = False,
    config: Config = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Create a key and print it. This is the only time it can be seen, so copy it now."""
    loaded = setting(config=config, data_dir=data_dir).routes()
    order: JsonObject = {
        "name": name,
        "credits": credits_,
        "budget": budget,
        "rpm": rpm,
        "ipm": ipm,
        "concurrency": concurrency,
        "models": models,
        "team": team,
        "tags": tags,
        "scopes": scopes,
        "expires": expires,
        "keep": not no_keep,
    }
    _create(loaded, order, may_lack_routes=yes, as_json=as_json)


@keys.command("list")
def list_keys(*, config: Config = None, data_dir: DataDir = None, as_json: Json = False) -> None:
    """List the keys, newest first."""
    found = setting(config=config, data_dir=data_dir)
    try:
        rows = _desk(found.routes()).listed(datetime.now(UTC))
    except LedgerUnavailable as lost:
        _lost(lost)
    if as_json:
        terminal.print_json({"data": [row.as_json() for row in rows]})
        return
    _print(rows, found)


@keys.command()
def revoke(key_id: KeyId, *, config: Config = None, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Revoke a key for good; a running server refuses it within a second."""
    desk = _desk(setting(config=config, data_dir=data_dir).routes())
    try:
        is_known = desk.revoke(key_id, datetime.now(UTC))
    except LedgerUnavailable as lost:
        _lost(lost)
    if not is_known:
        terminal.stop("there is no key of this id", 1)
    if as_json:
        terminal.print_json({"id": key_id, "revoked": True}, pretty=False)
    else:
        typer.echo(f"{key_id} is revoked")


@keys.command()
def credit(
    key_id: KeyId,
    amount: Annotated[str, typer.Argument(help="Credits to add.", metavar="N", show_default=False)],
    *,
    config: Config = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Add credits to the balance of a key."""
    desk = _desk(setting(config=config, data_dir=data_dir).routes())
    try:
        added = read_credits(amount)
        row = desk.credit(key_id, _mint().new(GRANT), added, datetime.now(UTC))
    except ValueError as wrong:
        terminal.stop(str(wrong))
    except LedgerUnavailable as lost:
        _lost(lost)
    if row is None:
        terminal.stop("there is no key of this id, or it was revoked", 1)
    if as_json:
        terminal.print_json(row.as_json())
    else:
        typer.echo(f"{key_id} has {row.terms.credits} credits")


def _create(loaded: Loaded, order: JsonObject, *, may_lack_routes: bool, as_json: bool) -> None:
    try:
        terms = read_order(order, currencies(loaded.table))
    except ValueError as wrong:
        terminal.stop(_of_option(str(wrong), order))
    unknown = [model for model in terms.models or () if model not in loaded.table.routes]
    if unknown and not may_lack_routes:
        terminal.complain(
            f"waybill: --models: there is no route {model!r} in {loaded.path}{suggestion(model, loaded.table.routes)}"
            for model in unknown
        )
        terminal.stop("no key was made; add --yes to make it for routes that are still to come")
    key_id, text = _mint().new(KEY), key_text(secrets.token_bytes(KEY_BYTES))
    try:
        _desk(loaded).create(key_id, text, terms, datetime.now(UTC))
    except LedgerUnavailable as lost:
        _lost(lost)
    if unknown:
        terminal.complain([f"waybill: the routes file has no route {model!r} yet" for model in unknown])
    if as_json:
        terminal.print_json({"id": key_id, "key": text}, pretty=False)
        return
    typer.echo(f"id   {key_id}\nkey  {text}")
    terminal.complain(["Copy the key now: only its hash is kept, so it cannot be shown again."])


def _of_option(sentence: str, order: JsonObject) -> str:
    """Name an option as it is written, where a sentence begins with the name of its field."""
    return f"--{sentence}" if sentence.partition(" ")[0] in order else sentence


def _desk(loaded: Loaded) -> SqlKeyDesk:
    try:
        upgrade_ledger(loaded.settings.database)
        return open_key_desk(loaded.settings.database)
    except LedgerRefused as error:
        terminal.stop(str(error))


def _lost(lost: LedgerUnavailable) -> NoReturn:
    terminal.stop(f"{lost}; nothing has changed")


def _mint() -> Mint:
    return Mint(SystemClock(), Dice())


def _print(rows: Sequence[KeyRow], found: Setting) -> None:
    screen = terminal.console(found.env)
    if not rows:
        screen.print(words("There are no keys: on this machine's own address the gateway is open.", DIM))
        return
    now = datetime.now(UTC)
    names = ("key", "~name", ">credits", "budget", "limits", "~models", "state")
    print_rows(screen, names, [_cells(row, now) for row in rows])


def _cells(row: KeyRow, now: datetime) -> list[Text]:
    terms, limits = row.terms, row.terms.limits
    budget = terms.budget
    spent = "" if budget is None else f"{decimal(row.spent_micro)} {budget.currency} spent"
    bounds = ((limits.requests_per_minute, "rpm"), (limits.images_per_minute, "ipm"), (limits.at_once, "at once"))
    return [
        stacked(words(row.key_id), words(f"{row.hint}…", DIM)),
        stacked(words(terms.name, BOLD), words(terms.team or "", DIM)),
        words("-" if terms.credits is None else str(terms.credits)),
        words("-") if budget is None else stacked(words(budget.text), words(spent, DIM)),
        stacked(*(words(f"{bound} {what}") for bound, what in bounds if bound is not None)),
        words("all" if terms.models is None else ", ".join(terms.models)),
        _state(row, now),
    ]


def _state(row: KeyRow, now: datetime) -> Text:
    scopes = words(", ".join(sorted(scope.value for scope in row.terms.scopes)), DIM)
    if row.revoked is not None:
        return words("revoked", WARN)
    if row.expires is not None and row.expires <= now:
        return words("expired", WARN)
    until = words("" if row.expires is None else f"until {row.expires.date()}", DIM)
    return stacked(words("good"), scopes, until)
