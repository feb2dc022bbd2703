"""The options that several commands take, each declared once. ``None`` always means: not given on the command line."""

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

Config: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", help="Routes file. \\[default: ./routes.yaml, else the one shipped]", metavar="FILE"
    ),
]
DataDir: TypeAlias = Annotated[
    Path | None, typer.Option("--data-dir", help="Where the ledger lies. \\[default: ./data]", metavar="DIR")
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON, stable from version to version.")]
Host: TypeAlias = Annotated[str | None, typer.Option("--host", help="Address to bind. \\[default: 127.0.0.1]")]
AllowSandbox: TypeAlias = Annotated[
    bool, typer.Option("--sandbox", help="Let the sandbox answer on an address other than loopback, too.")
]
Url: TypeAlias = Annotated[
    str | None,
    typer.Option("--url", help="Base URL of the running gateway. \\[default: http://127.0.0.1:8484]", metavar="URL"),
]
