"""The options that several commands take, each declared once. ``None`` always means: not given on the command line."""

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

Config: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", help="Routes file. \\[default: ./routes.yaml, else the packaged one]", metavar="FILE"
    ),
]
DataDir: TypeAlias = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Data directory, which holds the ledger. \\[default: ./data]", metavar="DIR"),
]
Json: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print JSON, in a form that stays the same from version to version.")
]
Host: TypeAlias = Annotated[
    str | None, typer.Option("--host", help="Address to bind. \\[default: 127.0.0.1]", metavar="ADDRESS")
]
AllowSandbox: TypeAlias = Annotated[
    bool, typer.Option("--sandbox", help="Let the sandbox answer on addresses other than loopback as well.")
]
Url: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--url",
        help="Base URL of the running gateway. \\[default: the data directory's server, else http://127.0.0.1:8484]",
        metavar="URL",
    ),
]
ServedConfig: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help="Routes file whose server.public_url says where the gateway is, when nothing else does.",
        metavar="FILE",
    ),
]
ServedDir: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--data-dir", help="Data directory of the running gateway, which notes its address there.", metavar="DIR"
    ),
]
