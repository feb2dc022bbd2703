"""The options that say what a new virtual key may do. Their values are read by ``core.keys``, as over HTTP."""

from typing import Annotated, TypeAlias

import typer

Name: TypeAlias = Annotated[str, typer.Option("--name", help="What to call it; names need not be unique.")]
Credits: TypeAlias = Annotated[str | None, typer.Option("--credits", help="Its balance in credits.", metavar="N")]
Budget: TypeAlias = Annotated[
    str | None, typer.Option("--budget", help="How much it may spend in how long, such as 20USD/30d.", metavar="SUM")
]
Rpm: TypeAlias = Annotated[str | None, typer.Option("--rpm", help="Requests per minute.", metavar="N")]
Ipm: TypeAlias = Annotated[str | None, typer.Option("--ipm", help="Pictures per minute.", metavar="N")]
Concurrency: TypeAlias = Annotated[
    str | None, typer.Option("--concurrency", help="Requests under way at the same time.", metavar="N")
]
Models: TypeAlias = Annotated[
    str | None,
    typer.Option("--models", help="Routes it may use, separated by commas. \\[default: all]", metavar="ROUTES"),
]
Team: TypeAlias = Annotated[str | None, typer.Option("--team", help="The team it belongs to.", metavar="TEAM")]
Tags: TypeAlias = Annotated[
    str | None, typer.Option("--tags", help="Tags put on each of its requests, such as a=b,c=d.", metavar="TAGS")
]
Scopes: TypeAlias = Annotated[
    str | None, typer.Option("--scopes", help="use, admin or use,admin. \\[default: use]", metavar="SCOPES")
]
NoKeep: TypeAlias = Annotated[bool, typer.Option("--no-keep", help="Never keep the pictures made with it.")]
Expires: TypeAlias = Annotated[
    str | None,
    typer.Option("--expires", help="How long it is valid, such as 90d or 12h. \\[default: for ever]", metavar="TIME"),
]
Yes: TypeAlias = Annotated[
    bool, typer.Option("--yes", "-y", help="Accept routes in --models that the routes file does not have yet.")
]
