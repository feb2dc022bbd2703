"""A catalog router's price list on a real loopback socket, as new-api gives it."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def listed(name: str, **said: Any) -> dict[str, Any]:
    """One row, by default of a model that is charged by the token as its maker does."""
    row = {"model_name": name, "quota_type": 0, "model_ratio": 2.5, "completion_ratio": 6, "image_ratio": 1.6}
    return {**row, "enable_groups": ["default"], "supported_endpoint_types": ["image-generation"], **said}


def flat(name: str, price: float, **said: Any) -> dict[str, Any]:
    """One row with a flat price."""
    return listed(name, quota_type=1, model_price=price, model_ratio=0, completion_ratio=0, **said)


@dataclass(slots=True, kw_only=True)
class CatalogRouter:
    """The list, which a test changes between two looks at it; ``asked`` holds what was asked for, with its headers."""

    rows: list[dict[str, Any]]
    status: int = 200
    version: str | None = "v1"
    groups: dict[str, float] = field(default_factory=lambda: {"default": 1})
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        """The ``base_url`` of a channel that leads here."""
        return f"http://127.0.0.1:{self.port}/v1"

    def document(self) -> dict[str, Any]:
        """The list as it is now."""
        head = {"success": True, "data": self.rows, "group_ratio": self.groups, "vendors": []}
        return head if self.version is None else {**head, "pricing_version": self.version}


@contextmanager
def catalog_router(*rows: dict[str, Any]) -> Iterator[CatalogRouter]:
    """Serve a list."""
    router = CatalogRouter(rows=list(rows))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            router.asked.append((self.path, dict(self.headers)))
            body = json.dumps(router.document()).encode()
            self.send_response(router.status if self.path == "/api/pricing" else 404)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the word of the base class
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    router.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield router
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
