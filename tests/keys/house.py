"""A gateway with keys over one scripted upstream, and clients that show them."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import yaml

from tests.fakes.gateway import NO_TLS, RunningGateway, running_gateway
from tests.fakes.upstream import FakeUpstream

MATRIX = {
    "1K": {"low": 1, "medium": 4, "high": 14},
    "2K": {"low": 2, "medium": 17, "high": 67},
    "4K": {"low": 4, "medium": 34, "high": 133},
}
BY_MATRIX = {"unit": "credits", "matrix": MATRIX, "auto": "high"}
BY_PICTURE = {"unit": "credits", "per_image": 1}
GENERATION = {"model": "pic", "prompt": "a lighthouse"}
FLAT = {"unit": "per_image", "amount": 0.5}


@dataclass(slots=True, kw_only=True)
class KeyedHouse:
    """One gateway, its upstream and the operator's hand."""

    gateway: RunningGateway
    upstream: FakeUpstream
    client: httpx2.AsyncClient
    database: Path

    async def create(self, **order: object) -> str:
        """Make a key over the operator's calls; gives the key itself."""
        answer = await self.client.post(f"{self.gateway.url}/api/keys", json={"name": "app", **order})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["key"])

    async def keys(self) -> list[dict[str, Any]]:
        answer = await self.client.get(f"{self.gateway.url}/api/keys")
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["data"]
        return found

    async def key(self) -> dict[str, Any]:
        """The only key, as it is listed."""
        [found] = await self.keys()
        return found

    async def post(self, path: str, body: Mapping[str, object], key: str | None, **headers: str) -> httpx2.Response:
        shown = {} if key is None else {"authorization": f"Bearer {key}"}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.post(f"{self.gateway.url}/v1/{path}", json=body, headers={**shown, **named})

    async def generate(self, key: str | None = None, **fields: object) -> httpx2.Response:
        return await self.post("images/generations", {**GENERATION, **fields}, key)

    async def get(self, path: str, key: str | None = None) -> httpx2.Response:
        shown = {} if key is None else {"authorization": f"Bearer {key}"}
        return await self.client.get(f"{self.gateway.url}{path}", headers=shown)

    async def closed(self) -> None:
        """Wait until the gateway has learned that there are keys."""
        for _ in range(100):
            if (await self.get("/v1/models")).status_code == 401:
                return
            await asyncio.sleep(0.02)
        raise AssertionError("the gateway did not close")

    def rows(self, table: str) -> list[dict[str, Any]]:
        with closing(sqlite3.connect(self.database)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2")]  # noqa: S608

    def check_books(self) -> None:
        """Hold the journal against the balances: nothing is held, nothing is lost, nothing is made."""
        sums: dict[str, dict[tuple[str, str], int]] = {}
        for entry in self.rows("entries"):
            of_key = sums.setdefault(entry["key_id"], {})
            place = (entry["unit"], entry["kind"])
            of_key[place] = of_key.get(place, 0) + entry["amount"]
        for key in self.rows("keys"):
            book = sums.get(key["key_id"], {})
            credit = {kind: book.get(("credits", kind), 0) for kind in ("grant", "hold", "capture", "void")}
            assert credit["hold"] == credit["capture"] + credit["void"]
            assert (key["credits"] or 0) == credit["grant"] - credit["capture"]
            assert key["credits_held"] == key["held_micro"] == 0
        assert self.rows("holds") == []


def routes_of(upstream: FakeUpstream, route: Mapping[str, object], price: object = None) -> str:
    row: dict[str, object] = {"model": "gpt-image-2", "serves": ["images/generations", "images/edits"]}
    if price is not None:
        row["price"] = price
    channel = {
        "owner": "owner-A",
        "kind": "direct",
        "base_url": upstream.url,
        "api_key": upstream.key,
        "max_in_flight": 500,
        "rows": {"pic": row, "other": row, "chat": {"model": "chat-A", "serves": ["responses"]}},
    }
    routes = {"pic": {"targets": ["A"], **route}, "other": {"targets": ["A"]}, "chat": {"targets": ["A"]}}
    return yaml.safe_dump({"version": 1, "channels": {"A": channel}, "routes": routes})


@asynccontextmanager
async def keyed_house(
    directory: Path, route: Mapping[str, object] | None = None, price: object = None
) -> AsyncIterator[KeyedHouse]:
    """Run a gateway; while there is no key with the scope ``admin`` this machine is the operator."""
    limits = httpx2.Limits(max_connections=None)
    async with (
        FakeUpstream(key="sk-A") as upstream,
        running_gateway(routes_of(upstream, route or {}, price), directory) as gateway,
        httpx2.AsyncClient(timeout=30, trust_env=False, verify=NO_TLS, limits=limits) as client,
    ):
        database = directory / "data" / "waybill.db"
        yield KeyedHouse(gateway=gateway, upstream=upstream, client=client, database=database)
