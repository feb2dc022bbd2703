"""``waybill health``: exit 0 when the gateway at this URL is ready to serve, else 1. Made for container checks.

Exit 2 for a URL that is none.
"""

import typer

from gateway.cli import client, lines
from gateway.cli.options import Json, ServedConfig, ServedDir, Url
from gateway.cli.setting import base_url, setting
from gateway.core.types import JsonObject


def health(*, url: Url = None, config: ServedConfig = None, data_dir: ServedDir = None, as_json: Json = False) -> None:
    """Ask a running gateway whether it is ready."""
    base = base_url(url, setting(config=config, data_dir=data_dir))
    reply = client.get(f"{base}/readyz")
    if isinstance(reply, client.Unreached):
        _end(base, {"ready": False, "url": base, "error": reply.why}, f"not reachable: {reply.why}", as_json=as_json)
        return
    ready = reply.status == 200
    document: JsonObject = {"ready": ready, "url": base, "status": reply.status, "answer": reply.document}
    _end(base, document, "ready" if ready else f"not ready: it answered {reply.status}", as_json=as_json)


def _end(base: str, document: JsonObject, sentence: str, *, as_json: bool) -> None:
    if as_json:
        lines.print_json(document, pretty=False)
    elif document["ready"]:
        typer.echo(f"{base} is {sentence}")
    else:
        lines.complain([f"waybill: {base} is {sentence}"])
    raise typer.Exit(0 if document["ready"] else 1)
