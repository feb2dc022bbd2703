"""A catalog router's price list beside a channel: fetched, held against the rows, and kept until the next time."""

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import orjson
from msgspec import Struct
from msgspec.structs import replace

from gateway.cli import client, terminal
from gateway.cli.catalogtable import Compared, Line
from gateway.cli.outfiles import write
from gateway.cli.setting import Setting
from gateway.config import Loaded
from gateway.config.contracts import Contracts, contracts
from gateway.config.prices import Prices, prices
from gateway.core.listed import Maker, Standing, flags, our_price, standing, vanished
from gateway.core.pricelist import ListedModel, PriceList, read_price_list
from gateway.core.table import Channel, ChannelKind
from gateway.core.types import JsonObject, Surface
from gateway.core.verification import Proof, proof_of
from gateway.stores.refusals import LedgerRefused
from gateway.stores.verified_sql import read_verifications

TIMEOUT_S = 30.0
MOST_BYTES = 32_000_000
DEFAULT_GROUP = "default"  # what such routers call it


class Source(Struct, frozen=True, kw_only=True):
    """Where a list is: a file, an address, or neither for the channel's own."""

    file: Path | None
    address: str | None
    group: str | None


class Desk(Struct, frozen=True, kw_only=True):
    """What the commands work with: the file, the channel, the list now, and the list as it was seen last."""

    found: Setting
    loaded: Loaded
    channel: Channel
    source: str
    document: JsonObject
    now: PriceList
    before: PriceList | None
    group: str
    known: Contracts
    priced: Prices
    tried: Mapping[Proof, bool]


def read_desk(found: Setting, name: str, source: Source) -> Desk:
    """Read the list and all it is held against, or end the command."""
    loaded = found.routes()
    channel = loaded.table.channels.get(name)
    if channel is None:
        terminal.stop(f"there is no channel {name!r} in {loaded.path}")
    if channel.kind is ChannelKind.SANDBOX:
        terminal.stop("the sandbox has no price list")
    where, data = _fetched(channel, source.file, source.address)
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        document = None
    now = read_price_list(document)
    if isinstance(now, str):
        terminal.stop(f"{where} holds no price list: {now}", 1)
    priced = prices()
    return Desk(
        found=found,
        loaded=loaded,
        channel=channel,
        source=where,
        document=document,
        now=now,
        before=_seen_last(_snapshot(found, name)),
        group=source.group or channel.group or DEFAULT_GROUP,
        known=contracts(priced.tables),
        priced=priced,
        tried=_tried(loaded.settings.database),
    )


def _tried(database: str) -> Mapping[Proof, bool]:
    """Give how the last smoke run of each row and surface ended; nothing where there is no ledger yet."""
    try:
        return {one.proof: one.passed for one in read_verifications(database)}
    except LedgerRefused:
        return {}


def _fetched(channel: Channel, file: Path | None, address: str | None) -> tuple[str, bytes]:
    """Read the list's bytes, or end the command; says where they are from."""
    if file is not None:
        try:
            data = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        except OSError as error:
            terminal.stop(f"cannot read {file}: {error.strerror}")
        return str(file), data
    url = address or f"{channel.base_url.removesuffix('/v1')}/api/pricing"
    letter = client.Letter(method="GET", url=url, headers={"accept": "application/json"})
    answer = client.send(letter, timeout_s=TIMEOUT_S, most_bytes=MOST_BYTES)
    if isinstance(answer, client.Unreached):
        terminal.stop(f"{url} cannot be reached: {answer.why}", 1)
    if answer.status != 200:
        terminal.stop(f"{url} answered {answer.status}: no price list", 1)
    return url, answer.body


def _snapshot(found: Setting, channel: str) -> Path:
    return found.process.data_dir / "catalog" / f"{channel}.json"


def _seen_last(path: Path) -> PriceList | None:
    """Read what was seen last; what cannot be read was never seen."""
    try:
        document = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return None
    found = read_price_list(document.get("list") if isinstance(document, dict) else None)
    return None if isinstance(found, str) else found


def remember(desk: Desk) -> None:
    """Keep the list as what was seen last."""
    path = _snapshot(desk.found, desk.channel.name)
    time = datetime.now(UTC).isoformat(timespec="seconds")
    document: JsonObject = {"time": time, "source": desk.source, "list": desk.document}
    try:
        desk.found.process.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.parent.mkdir(exist_ok=True)
        write(path, orjson.dumps(document), force=True)
    except OSError as error:
        terminal.complain([f"waybill: the list is not kept, so its next change cannot be told: {error.strerror}"])


# --- comparing


def compare(desk: Desk, wanted: Sequence[str]) -> Compared:
    """Compare every row, and list the picture models there is no row for; only ``wanted`` ones when there are any."""
    rows = desk.channel.rows.values()
    sent = {row.model for row in rows}
    lines = [line for row in rows if (line := _of_row(desk, row.name, wanted)) is not None]
    for model in desk.now.models.values():
        if model.name in sent or (wanted and model.name not in wanted):
            continue
        maker = maker_of(desk, model)
        if wanted or maker.makes_pictures:
            lines.append(_line(desk, model, Standing.NEW, model.name))
    before = desk.before
    return Compared(
        channel=desk.channel.name,
        source=desk.source,
        group=desk.group,
        group_ratio=desk.now.ratio_of(desk.group),
        version=desk.now.version,
        version_before=None if before is None else before.version,
        lines=tuple(lines),
        vanished=vanished(desk.now, before),
        has_before=before is not None,
    )


def _of_row(desk: Desk, name: str, wanted: Sequence[str]) -> Line | None:
    row = desk.channel.rows[name]
    if wanted and row.model not in wanted:
        return None
    model = desk.now.models.get(row.model)
    if model is None:
        line = Line(model=row.model, row=name, standing=Standing.VANISHED, price=row.price)
    else:
        listed = our_price(model, desk.now, desk.group, makes_pictures=maker_of(desk, model).makes_pictures)
        line = _line(desk, model, standing(listed, row.price), name)
    tried = {surface: desk.tried.get(proof_of(desk.channel, row, surface)) for surface in Surface}
    return replace(
        line,
        verified=tuple(surface for surface, passed in tried.items() if passed is True),
        failed=tuple(surface for surface, passed in tried.items() if passed is False),
    )


def _line(desk: Desk, model: ListedModel, how: Standing, row: str) -> Line:
    maker = maker_of(desk, model)
    held = desk.channel.rows.get(row)
    return Line(
        model=model.name,
        row=row,
        standing=how,
        price=None if held is None or how is Standing.NEW else held.price,
        listed=our_price(model, desk.now, desk.group, makes_pictures=maker.makes_pictures),
        claims=model.claims,
        endpoints=model.endpoints,
        flags=flags(model, desk.now, desk.group, maker, desk.before),
    )


def maker_of(desk: Desk, model: ListedModel) -> Maker:
    """Say what the shipped catalog knows of a model, and whether it makes pictures, also by its own word."""
    contract = desk.known.named(model.name)
    listed = next((price for name, price in desk.priced.by_name.items() if name.partition("/")[2] == model.name), None)
    known = contract.surfaces if contract is not None else ()
    makes = Surface.GENERATIONS in model.claims or any(surface.is_images for surface in known)
    return Maker(makes_pictures=makes, price=listed)
