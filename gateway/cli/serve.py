"""``waybill serve``: flags over environment over defaults, then the launcher runs the server until a signal ends it."""

from typing import Annotated

import typer

from gateway.cli.lines import stop
from gateway.cli.options import AllowSandbox, Config, DataDir, Host, Json
from gateway.cli.setting import setting
from gateway.config.units import stretch
from gateway.launcher import ServeOptions
from gateway.launcher import serve as launch

Port = Annotated[
    int | None,
    typer.Option(
        "--port", min=0, max=65_535, help="Port to bind; 0 picks a free one. \\[default: 8484]", metavar="PORT"
    ),
]
Lead = Annotated[
    str | None,
    typer.Option(
        "--lead",
        help="When told to stop, go on taking connections this long, with /readyz at 503. \\[default: 0s]",
        metavar="TIME",
    ),
]
Grace = Annotated[
    str | None,
    typer.Option(
        "--grace",
        help="When told to stop, let requests that have begun finish within this time. \\[default: 600s]",
        metavar="TIME",
    ),
]
Workers = Annotated[
    int, typer.Option("--workers", min=1, help="Processes; more than 1 only with shared stores.", metavar="N")
]


def serve(
    *,
    host: Host = None,
    port: Port = None,
    config: Config = None,
    data_dir: DataDir = None,
    sandbox: AllowSandbox = False,
    lead: Lead = None,
    grace: Grace = None,
    workers: Workers = 1,
    as_json: Json = False,  # noqa: ARG001 - standard output is JSON lines either way
) -> None:
    """Run the gateway."""
    wanted = setting(config=config, data_dir=data_dir, sandbox=sandbox)
    process = wanted.process
    code = launch(
        ServeOptions(
            host=host or process.host,
            port=process.port if port is None else port,
            config=process.config,
            data_dir=process.data_dir,
            sandbox=process.sandbox,
            env=wanted.env,
            admin_key=process.admin_key,
            lead_s=_stretch("--lead", lead, process.lead_s),
            grace_s=_stretch("--grace", grace, process.grace_s),
            workers=workers,
        )
    )
    raise typer.Exit(code)


def _stretch(option: str, given: str | None, else_s: float) -> float:
    """Read a duration from the command line, as seconds; one that is none ends the command."""
    try:
        return else_s if given is None else stretch(given)
    except ValueError as error:
        stop(f"{option} {error}")
