"""``waybill catalog``: the price list of a catalog router (``/api/pricing``) against the rows of a channel.

``diff`` compares, ``import`` writes rows into the routes file after showing them. The list is fetched from the
channel's own host, without a key, or read from a file; what was seen last lies in the data directory, so that a change
of the list itself can be told. The routes file is replaced whole, when the new text reads well and nothing but the new
rows has changed, and the old one is kept beside it. Exit 0 when all rows agree or were written,
1 when something differs, was refused or cannot be reached, 2 for an option or file that is wrong.
"""

import hashlib
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from msgspec.structs import replace

from gateway.cli import terminal
from gateway.cli.catalogtable import Line, show, show_rows
from gateway.cli.catalogtext import new_row
from gateway.cli.options import Config, DataDir, Json
from gateway.cli.outfiles import write
from gateway.cli.pricelists import Desk, Source, compare, maker_of, read_desk, remember
from gateway.cli.setting import setting
from gateway.config import Loaded, load
from gateway.config.insertion import NewRow, insert_rows
from gateway.core.listed import Standing
from gateway.core.types import JsonValue

BACKUP = ".bak"

Name = Annotated[str, typer.Argument(help="A channel of the routes file.", metavar="CHANNEL", show_default=False)]
ListFile = Annotated[
    Path | None, typer.Option("--file", help="Read the list from a file; '-' reads stdin.", metavar="FILE")
]
Address = Annotated[
    str | None, typer.Option("--from", help="Where the list is. \\[default: the channel's /api/pricing]", metavar="URL")
]
Group = Annotated[
    str | None,
    typer.Option(
        "--group", help="The account's price group. \\[default: the channel's, else 'default']", metavar="GROUP"
    ),
]
Models = Annotated[
    list[str] | None, typer.Option("--model", "-m", help="Only this model; may be repeated.", metavar="MODEL")
]

catalog = typer.Typer(no_args_is_help=True, help="Compare a catalog router's price list with the rows of a channel.")


@catalog.command()
def diff(
    channel: Name,
    *,
    file: ListFile = None,
    address: Address = None,
    group: Group = None,
    model: Models = None,
    config: Config = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Compare the rows of a channel with its router's price list, and the list with the last one."""
    source = Source(file=file, address=address, group=group)
    with terminal.interruptible("nothing was written"):
        desk = read_desk(setting(config=config, data_dir=data_dir), channel, source)
        compared = compare(desk, model or [])
        remember(desk)
    if as_json:
        terminal.print_json(compared.as_json())
    else:
        show(terminal.console(desk.found.env), compared)
    raise typer.Exit(1 if compared.differs else 0)


@catalog.command("import")
def import_rows(
    channel: Name,
    *,
    file: ListFile = None,
    address: Address = None,
    group: Group = None,
    model: Models = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Write without asking.")] = False,
    config: Config = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Write rows for models of the list that the channel has none for, after showing them."""
    source = Source(file=file, address=address, group=group)
    with terminal.interruptible("nothing was written"):
        desk = read_desk(setting(config=config, data_dir=data_dir), channel, source)
        _import(desk, model or [], is_agreed=yes, as_json=as_json)


def _import(desk: Desk, wanted: Sequence[str], *, is_agreed: bool, as_json: bool) -> None:
    compared = compare(desk, wanted)
    lines = [line for line in compared.lines if line.standing is Standing.NEW and (wanted or line.is_usable)]
    unknown = sorted(set(wanted) - {line.model for line in compared.lines})
    if unknown:
        terminal.stop(f"the list has no {', '.join(unknown)}", 1)
    rows = [_row(desk, line) for line in lines]
    if not as_json:
        show_rows(terminal.console(desk.found.env), compared, lines, rows)
    if rows:
        text = _agreed(desk, rows, is_agreed=is_agreed)
        _replace(desk, rows, text)
    remember(desk)
    if as_json:
        written: list[JsonValue] = [{"row": row.name, "text": f"{row.key}: {row.block}"} for row in rows]
        terminal.print_json({**compared.as_json(), "written": written, "file": str(desk.loaded.path)})


# --- writing


def _row(desk: Desk, line: Line) -> NewRow:
    return new_row(line, maker_of(desk, desk.now.models[line.model]), desk.source, datetime.now(UTC).date())


def _agreed(desk: Desk, rows: Sequence[NewRow], *, is_agreed: bool) -> bytes:
    """Give the file's new text once it was agreed to; ends the command when it was not, or it cannot be written."""
    path = desk.loaded.path
    if desk.found.process.config is None and not Path("routes.yaml").is_file():
        terminal.stop(f"{path} is the shipped file: copy it to ./routes.yaml first")
    if not is_agreed:
        if not sys.stdin.isatty():
            terminal.stop("nothing was written: run it in a terminal to be asked, or add --yes")
        if not typer.confirm(f"Write {_rows(len(rows))} into {path}?", err=True):
            terminal.stop("nothing was written", 1)
    text = insert_rows(path.read_text("utf-8"), desk.channel.name, rows)
    if text is None:
        terminal.stop(f"the rows of {desk.channel.name!r} are not written out in {path}: put the rows above in by hand")
    return text.encode()


def _replace(desk: Desk, rows: Sequence[NewRow], data: bytes) -> None:
    """Put the new text in the file's place when it reads well and changes nothing but the new rows."""
    path = desk.loaded.path.resolve()
    with tempfile.TemporaryDirectory(prefix="waybill-") as directory:
        trial = Path(directory) / path.name
        trial.write_bytes(data)
        loaded = load(
            trial,
            env=desk.found.env,
            data_dir=desk.found.process.data_dir,
            sandbox_allowed=desk.found.sandbox_allowed,
        )
    if isinstance(loaded, list):
        terminal.complain(loaded)
        terminal.stop("nothing was written: the file would have these mistakes")
    if not _is_same(desk.loaded, loaded, desk.channel.name, {row.name for row in rows}):
        terminal.stop("nothing was written: more than the new rows would have changed. Put them in by hand")
    try:
        before = path.read_bytes()
        if hashlib.sha256(before).hexdigest() != desk.loaded.checksum:
            terminal.stop("nothing was written: the file was changed meanwhile", 1)
        write(path.with_name(path.name + BACKUP), before, force=True, like=path)
        write(path, data, force=True, like=path)
    except OSError as error:
        terminal.stop(f"{path} cannot be written: {error.strerror}", 1)
    terminal.complain([f"{_rows(len(rows))} written into {desk.loaded.path}; the old file is {path.name}{BACKUP}"])


def _rows(count: int) -> str:
    return f"{count} row{'' if count == 1 else 's'}"


def _is_same(old: Loaded, new: Loaded, channel: str, added: set[str]) -> bool:
    """Whether all is as it was, but for rows that were added to one channel."""
    before, after = old.table.channels, new.table.channels
    others = all(after.get(name) == held for name, held in before.items() if name != channel)
    rows, now = before[channel].rows, after[channel].rows
    kept = all(now.get(name) == row for name, row in rows.items())
    return (
        others
        and kept
        and len(before) == len(after)
        and now.keys() - rows.keys() == added
        and replace(before[channel], rows={}) == replace(after[channel], rows={})
        and (old.table.routes, old.settings) == (new.table.routes, new.settings)
    )
