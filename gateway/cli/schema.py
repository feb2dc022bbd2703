"""``waybill schema``: the JSON Schema of the routes file, for editors."""

from gateway.cli import terminal
from gateway.cli.options import Json
from gateway.config import json_schema


def schema(*, as_json: Json = False) -> None:  # noqa: ARG001 - the schema is JSON either way
    """Print the JSON Schema of routes.yaml."""
    terminal.print_json(json_schema())
