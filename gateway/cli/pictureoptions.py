"""The options that say which picture is wanted, for every command that asks for one."""

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

Model: TypeAlias = Annotated[
    str | None, typer.Option("--model", "-m", help="The model to ask for. \\[default: the gateway's]", metavar="MODEL")
]
Size: TypeAlias = Annotated[
    str | None, typer.Option("--size", "-s", help="Its size, such as 1536x1024, or auto.", metavar="WxH")
]
Quality: TypeAlias = Annotated[
    str | None, typer.Option("--quality", "-q", help="Its quality, such as low, medium or high.", metavar="WORD")
]
Background: TypeAlias = Annotated[
    str | None, typer.Option("--background", help="transparent, opaque or auto.", metavar="WORD")
]
Format: TypeAlias = Annotated[
    str | None, typer.Option("--format", "-f", help="png, jpeg, webp, gif or svg.", metavar="WORD")
]
Count: TypeAlias = Annotated[int, typer.Option("--n", "-n", min=1, max=10, help="How many pictures.", metavar="N")]
Mask: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--mask", help="A PNG as large as the first picture; what is transparent in it is redrawn.", metavar="IMG"
    ),
]
Stream: TypeAlias = Annotated[bool, typer.Option("--stream", help="Ask for a stream of events.")]
Partial: TypeAlias = Annotated[
    int | None,
    typer.Option("--partial", min=0, max=3, help="Previews for each picture; implies --stream.", metavar="N"),
]
Prompt: TypeAlias = Annotated[str, typer.Argument(help="What to draw; '-' reads stdin.", show_default=False)]
Out: TypeAlias = Annotated[
    Path, typer.Option("--out", "-o", help="The file to write; several become hero-1.png, hero-2.png.", metavar="FILE")
]
Edit: TypeAlias = Annotated[
    list[Path] | None, typer.Option("--edit", "-e", help="A picture to change; may be repeated.", metavar="IMG")
]
Compression: TypeAlias = Annotated[
    int | None,
    typer.Option("--compression", min=0, max=100, help="Compression of a jpeg or webp, in percent.", metavar="0-100"),
]
More: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--set", help="Any other field of the request; may be repeated.", metavar="NAME=VALUE"),
]
Previews: TypeAlias = Annotated[
    Path | None, typer.Option("--previews", help="Directory to keep previews in; implies --stream.", metavar="DIR")
]
Pin: TypeAlias = Annotated[
    str | None, typer.Option("--pin", help="Use only this channel of the route.", metavar="CHANNEL")
]
Tag: TypeAlias = Annotated[
    list[str] | None, typer.Option("--tag", help="A tag for the record; may be repeated.", metavar="NAME=VALUE")
]
KeepPrompt: TypeAlias = Annotated[
    bool, typer.Option("--keep-prompt", help="Write the prompt into the waybill beside the file.")
]
Force: TypeAlias = Annotated[bool, typer.Option("--force", help="Replace files that exist.")]
Timeout: TypeAlias = Annotated[
    float, typer.Option("--timeout", min=1, help="How long to wait for an answer.", metavar="SECONDS")
]
