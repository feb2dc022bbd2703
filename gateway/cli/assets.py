"""``waybill assets``: kept pictures, beside a running server or without one: list them, show one, clear up, new keys.

``gc`` does at once what the server does bit by bit. Exit 0 when it was done, also when there was nothing to do; 1 for a
picture that is not there; 2 when the ledger, the store or an option cannot be read.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from gateway.cli import terminal
from gateway.cli.keeping import kept_pictures
from gateway.cli.options import Config, DataDir, Json
from gateway.cli.setting import base_url, setting
from gateway.cli.terminal import BOLD, DIM, WARN, is_wide, stacked, words
from gateway.cli.wording import counted
from gateway.core.assets import DELETION_POLICY, Asset, Verdict
from gateway.core.record import MISSING, image_json, present, timestamp
from gateway.core.types import JsonObject
from gateway.pictures.gallery import Gallery
from gateway.pictures.retention import Swept
from gateway.ports import AssetQuery

assets = typer.Typer(
    no_args_is_help=True, help="List kept pictures, delete old ones, and change the keys that sign their links."
)

Verdicts = Annotated[
    Verdict | None, typer.Option("--verdict", help="Only pictures with this verdict: accepted or rejected.")
]


def _gallery(config: Path | None, data_dir: Path | None) -> AbstractContextManager[Gallery]:
    wanted = setting(config=config, data_dir=data_dir)
    return kept_pictures(wanted.routes().settings, wanted.process.data_dir)


@assets.command("list")
def list_assets(
    *,
    config: Config = None,
    data_dir: DataDir = None,
    as_json: Json = False,
    request: Annotated[str | None, typer.Option("--request", help="Only pictures of this request.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="Only pictures of requests for this model.")] = None,
    verdict: Verdicts = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="How many at most.")] = 50,
) -> None:
    """List kept pictures, the newest first."""
    query = AssetQuery(request=request, model=model, verdict=verdict, limit=limit)
    with _gallery(config, data_dir) as gallery:
        found = gallery.books.pages(query)
    if as_json:
        terminal.print_json({"data": [asset_line(one) for one in found]})
        return
    screen = terminal.console(setting(config=config, data_dir=data_dir).env)
    screen.print(_table(found, wide=is_wide(screen)) if found else words("No kept pictures match.", DIM))


@assets.command()
def show(
    asset_id: Annotated[str, typer.Argument(metavar="ASSET_ID", show_default=False, help="The picture's id, ast_…")],
    *,
    config: Config = None,
    data_dir: DataDir = None,
    as_json: Json = False,  # noqa: ARG001 - it is JSON either way
) -> None:
    """Show one picture as JSON: where it lies, what it came from and what was made from it."""
    origin = base_url(None, setting(config=config, data_dir=data_dir))
    with _gallery(config, data_dir) as gallery:
        found = asyncio.run(_whole(gallery, asset_id, origin))
    if found is None:
        terminal.stop("there is no picture of this id", code=1)
    terminal.print_json(found)


async def _whole(gallery: Gallery, asset_id: str, origin: str) -> JsonObject | None:
    """Give a picture as ``GET /api/assets/{id}`` does, reached by the server's public address or by ``origin``."""
    found = await gallery.books.find(asset_id)
    if found is None:
        return None
    children = (await gallery.books.children([found.asset_id])).get(found.asset_id, ())
    more = {"media_type": found.media_type, "url": gallery.keeper.url(found, origin)}
    return {
        **asset_line(found),
        **present({**more, "asset": None if found.is_stored else MISSING, "deletion_policy": DELETION_POLICY}),
        "children": list(children),
    }


@assets.command()
def gc(
    *,
    config: Config = None,
    data_dir: DataDir = None,
    as_json: Json = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
) -> None:
    """Delete pictures that have expired or are too many, and files that no picture has any more."""
    with _gallery(config, data_dir) as gallery:
        swept = asyncio.run(gallery.retention(dry=dry_run).round())
    if as_json:
        terminal.print_json({**swept.as_json(), "dry_run": dry_run})
        return
    typer.echo(_swept_words(swept, dry=dry_run))


def _swept_words(swept: Swept, *, dry: bool) -> str:
    counts = (
        (swept.expired, "picture that expired"),
        (swept.evicted, "picture over storage.asset_max"),
        (swept.blobs + swept.orphans, "file"),
    )
    said = [counted(count, noun) for count, noun in counts if count]
    if not said:
        return "nothing to delete"
    return f"{'would delete' if dry else 'deleted'} {', '.join(said)}: {counted(swept.bytes, 'byte')}"


@assets.command("rotate-keys")
def rotate_keys(
    *,
    config: Config = None,
    data_dir: DataDir = None,
    as_json: Json = False,
    drop: Annotated[
        bool, typer.Option("--drop", help="Drop the older keys now: every link given out so far stops working.")
    ] = False,
) -> None:
    """Make a new key that signs links to pictures. It is in use within 150 seconds; older links go on working."""
    with _gallery(config, data_dir) as gallery:
        count = gallery.keys.rotate(drop=drop)
    if as_json:
        terminal.print_json({"keys": count, "dropped": drop}, pretty=False)
    else:
        typer.echo(f"{counted(count, 'key')} in force; running servers know them within 30 seconds")


def asset_line(asset: Asset) -> JsonObject:
    """Give a picture as JSON; links are made by the server, which knows how it is reached."""
    return {
        **present(
            {
                "asset_id": asset.asset_id,
                "request_id": asset.request_id,
                "key_id": asset.scope or None,
                "time": timestamp(asset.time),
                "model": asset.model,
                **image_json(asset.image),
                "path": asset.path,
                "expires_at": timestamp(asset.expires),
            }
        ),
        "verdict": asset.verdict,
        "parents": [{"asset_id": parent.asset_id, "role": parent.role} for parent in asset.parents],
    }


def _table(found: Sequence[Asset], *, wide: bool) -> Table:
    """Give a line for each picture; where there is no room for that, one cell holds what it is and how it stands."""
    names = ("asset", "model", "picture", ">bytes", "verdict", "kept until")
    shown = terminal.table(*(names if wide else ("asset", "picture", "kept until")))
    for one in found:
        name, model, picture, size, verdict, until = _cells(one)
        if wide:
            shown.add_row(name, model, picture, size, verdict, until)
        else:
            said = Text() if one.verdict is None else verdict
            shown.add_row(name, stacked(picture, Text() if one.model is None else model, said), until)
    return shown


def _cells(asset: Asset) -> tuple[Text, Text, Text, Text, Text, Text]:
    image = asset.image
    size = f"{image.width}x{image.height} " if image.width else ""
    return (
        words(asset.asset_id, BOLD),
        words(asset.model or "-"),
        words(f"{size}{image.format}"),
        words(str(image.bytes)),
        words(asset.verdict or "-", WARN if asset.verdict is Verdict.REJECTED else DIM),
        words(timestamp(asset.expires)[:16].replace("T", " "), DIM),
    )
