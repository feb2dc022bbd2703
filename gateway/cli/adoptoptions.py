"""The options of ``waybill adopt``: what is said of a picture that was made elsewhere."""

from pathlib import Path
from typing import Annotated

import typer

File = Annotated[Path, typer.Argument(help="A picture that was made elsewhere.", show_default=False)]
Owner = Annotated[
    str, typer.Option("--owner", help="Who made it, such as codex; the route owner of its record.", metavar="NAME")
]
Billing = Annotated[str, typer.Option("--billing", help="The bill it is on, such as 'Codex credits'.", metavar="TEXT")]
Prompt = Annotated[str | None, typer.Option("--prompt", help="What was asked for.", metavar="TEXT")]
Model = Annotated[str | None, typer.Option("--model", "-m", help="The model that made it.", metavar="MODEL")]
Cost = Annotated[
    str | None, typer.Option("--cost", help="What it cost: 0.04, '0.04 EUR' or '12 CREDITS'.", metavar="AMOUNT")
]
Parent = Annotated[
    list[str] | None,
    typer.Option("--parent", help="A kept picture that it was made from; may be repeated.", metavar="ASSET_ID"),
]
Rights = Annotated[str | None, typer.Option("--rights", help="The terms of use it is under.", metavar="TEXT")]
Tag = Annotated[
    list[str] | None, typer.Option("--tag", help="A tag for its record; may be repeated.", metavar="NAME=VALUE")
]
Beside = Annotated[bool, typer.Option("--sidecar", help="Write FILE.waybill.json as well.")]
Again = Annotated[bool, typer.Option("--again", help="Adopt it even if a picture with the same bytes is kept already.")]
