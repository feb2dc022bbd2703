"""``waybill adopt``: a picture that was made elsewhere becomes a kept picture, with its own owner and its own bill.

It gets a request of its own in the ledger (endpoint ``adopt``) with one attempt, so that it stands in every sum beside
the others and never in theirs: a cost is booked to the owner that was named, in the currency that was named. Without a
cost it is missing, never zero. The bytes go into the store of the routes file; the file itself is left as it is. Exit
0 when it is kept, 1 when the store or the ledger could not take it, 2 for an option or file that is wrong.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Final

from msgspec import Struct

from gateway.cli import adoptoptions as options
from gateway.cli import sidecar, terminal
from gateway.cli.assets import asset_line
from gateway.cli.commission import facts_of
from gateway.cli.delivery import Picture
from gateway.cli.image import cost_words, size_words
from gateway.cli.keeping import kept_pictures
from gateway.cli.options import Config, DataDir, Json
from gateway.cli.outfiles import write
from gateway.cli.setting import Setting, setting
from gateway.cli.terminal import BOLD, DIM, words
from gateway.clock import SystemClock
from gateway.config import Loaded
from gateway.config.units import header_text
from gateway.config.units import text as plain_text
from gateway.core.assets import PREFIX, Asset, AssetId, Parent, media_type_of
from gateway.core.keyed import Keyed
from gateway.core.money import MISSING, Cost, billed, line
from gateway.core.prices import MICRO, Item, PriceUnit
from gateway.core.record import AttemptRecord, Mapping3, Owner, Record, ResultRecord
from gateway.core.redact import prompt_hash
from gateway.core.table import PromptPrivacy
from gateway.core.types import (
    AttemptId,
    Facts,
    ImageFacts,
    InputFacts,
    InputRole,
    Outcome,
    RequestId,
    Surface,
)
from gateway.dice import Dice
from gateway.mint import Mint
from gateway.pictures.gallery import Gallery
from gateway.ports import (
    AssetQuery,
    AttemptIntent,
    AttemptResult,
    LedgerUnavailable,
    RequestIntent,
    Settlement,
)
from gateway.prompt_key import PROMPT_KEY, prompt_key
from gateway.stores.ledger_sql import open_ledger

ENDPOINT: Final = "adopt"
CHANNEL: Final = "adopt"
_COST = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?) ?([A-Z][A-Z0-9]{2,9})?")
_PIECE = 256 * 1024


class _Found(Struct, frozen=True, kw_only=True):
    """What is to be adopted, and what is said of it."""

    file: Path
    data: bytes
    image: ImageFacts
    owner: Owner
    cost: Cost
    model: str | None
    prompt: str | None
    parents: tuple[Asset, ...]
    tags: tuple[tuple[str, str], ...]
    now: datetime


class _Bytes:
    """A body in memory. It names no file, so that the store copies it and the user's file stays the user's."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    @property
    def length(self) -> int:
        return len(self._data)

    async def read(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        wanted = self._data[start:end]
        for at in range(0, len(wanted), _PIECE):
            yield wanted[at : at + _PIECE]

    def close(self) -> None:
        """There is nothing to give back."""


def adopt(
    file: options.File,
    *,
    owner: options.Owner,
    billing: options.Billing,
    prompt: options.Prompt = None,
    model: options.Model = None,
    cost: options.Cost = None,
    parent: options.Parent = None,
    rights: options.Rights = None,
    tag: options.Tag = None,
    beside: options.Beside = False,
    again: options.Again = False,
    config: Config = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Keep a picture that was made elsewhere, with its owner and its bill."""
    wanted = setting(config=config, data_dir=data_dir)
    loaded = wanted.routes()
    data = _picture(file)
    named = Owner(
        route_owner=_told("--owner", owner),
        channel=CHANNEL,
        base_url_host="",
        billing=_told("--billing", billing),
        output_rights=None if rights is None else _told("--rights", rights),
    )
    with kept_pictures(loaded.settings, wanted.process.data_dir, lost="it is not kept: ", code=1) as gallery:
        found = _Found(
            file=file,
            data=data,
            image=facts_of(data),
            owner=named,
            cost=_cost(cost),
            model=None if model is None else _told("--model", model),
            prompt=prompt,
            parents=tuple(_parent(gallery, one) for one in parent or []),
            tags=tuple(_tag(one) for one in tag or []),
            now=datetime.now(UTC),
        )
        _once(gallery, found, again=again)
        asset, record = asyncio.run(_keep(gallery, found, wanted, loaded))
    if beside:
        _write_beside(file, record, data)
    _show(wanted, asset, record, as_json=as_json)


async def _keep(gallery: Gallery, found: _Found, wanted: Setting, loaded: Loaded) -> tuple[Asset, Record]:
    """Store the bytes, then write the request, its attempt and the picture in the ledger."""
    sha256 = found.image.sha256
    await gallery.blobs.keep(sha256, _Bytes(found.data), media_type_of(found.image))
    mint = Mint(SystemClock(), Dice())
    asset = Asset(
        asset_id=AssetId(mint.new(PREFIX)),
        request_id=RequestId(mint.new("req")),
        scope="",
        time=found.now,
        expires=found.now + timedelta(seconds=loaded.settings.assets.ttl_s),
        image=found.image,
        path=gallery.blobs.place(sha256),
        model=found.model,
        parents=tuple(Parent(asset_id=one.asset_id, role=InputRole.IMAGE) for one in found.parents),
    )
    record = _record(found, asset, mint.new("att"), wanted, loaded)
    ledger = open_ledger(loaded.settings.database, serve=False)
    try:
        await ledger.begin(_intent(record), _attempt(record))
        await ledger.settle(_settlement(record, asset))
    finally:
        unwritten = ledger.close()
    if unwritten:
        raise LedgerUnavailable("the ledger did not take it")
    return asset, record


def _record(found: _Found, asset: Asset, attempt_id: str, wanted: Setting, loaded: Loaded) -> Record:
    attempt = AttemptRecord(
        n=1,
        attempt_id=AttemptId(attempt_id),
        channel=CHANNEL,
        owner=found.owner.route_owner,
        surface=ENDPOINT,
        row=found.model,
        sent_model=found.model,
        started_ms=0.0,
        duration_ms=0.0,
        outcome=Outcome.DELIVERED,
        cost=found.cost,
    )
    return Record(
        time=found.now,
        request_id=asset.request_id,
        endpoint=ENDPOINT,
        stream=False,
        result=ResultRecord(status=200, images=(found.image,), assets=(asset,)),
        latency_ms=0.0,
        config_version=loaded.table.version,
        facts=_facts(found, wanted, loaded),
        tags=found.tags,
        owner=found.owner,
        mapping=None if found.model is None else Mapping3(asked=found.model, sent=found.model),
        attempts=(attempt,),
    )


def _facts(found: _Found, wanted: Setting, loaded: Loaded) -> Facts:
    """Say what was asked for, as far as anybody told: the prompt is hashed with the server's own key."""
    prompt = found.prompt or None
    hashed = None
    if prompt is not None:
        key = prompt_key(wanted.process.data_dir / PROMPT_KEY, loaded.settings.database).key
        hashed = prompt_hash(Keyed(key), prompt)
    is_kept = loaded.settings.prompts is PromptPrivacy.TEXT
    return Facts(
        surface=Surface.GENERATIONS,
        asked_model=found.model,
        prompt_hash=hashed,
        prompt_chars=len(prompt or ""),
        prompt_text=prompt if is_kept else None,
        inputs=tuple(
            InputFacts(role=InputRole.IMAGE, source="item", image=one.image, asset_id=one.asset_id)
            for one in found.parents
        ),
    )


def _intent(record: Record) -> RequestIntent:
    facts = record.facts
    return RequestIntent(
        request_id=record.request_id,
        time=record.time,
        endpoint=record.endpoint,
        asked_model=facts.asked_model if facts is not None else None,
        config_version=record.config_version or "",
    )


def _attempt(record: Record) -> AttemptIntent:
    [made] = record.attempts
    return AttemptIntent(
        request_id=record.request_id,
        attempt_id=made.attempt_id,
        n=1,
        channel=made.channel,
        owner=made.owner,
        row=made.row or "",
        surface=made.surface,
        region=None,
        sent_model=made.sent_model or "",
        started=record.time,
    )


def _settlement(record: Record, asset: Asset) -> Settlement:
    [made] = record.attempts
    ended = AttemptResult(
        attempt_id=made.attempt_id,
        outcome=made.outcome,
        failure=None,
        detail=None,
        status=None,
        duration_ms=0,
        cost=made.cost,
    )
    return Settlement(
        request_id=record.request_id,
        time=record.time,
        endpoint=record.endpoint,
        asked_model=asset.model,
        owner=made.owner,
        channel=made.channel,
        status=record.result.status,
        failure=None,
        record=record.as_json(),
        attempts=[ended],
        images=1,
        assets=[asset],
    )


# --- what is said of it


def _show(wanted: Setting, asset: Asset, record: Record, *, as_json: bool) -> None:
    document = record.as_json()
    if as_json:
        terminal.print_json({"asset": asset_line(asset), "record": document})
        return
    screen = terminal.console(wanted.env)
    screen.print(words(asset.asset_id, BOLD).append_text(words(f"  {size_words(asset.image)}", DIM)))
    screen.print(words(f"made by {document['route_owner']}, on {document['billing']}"))
    said = "not told, so it is missing: --cost tells it" if record.cost == MISSING else cost_words(document.get("cost"))
    screen.print(words(f"cost {said}"))
    screen.print(words(f"request {asset.request_id}", DIM))


def _write_beside(file: Path, record: Record, data: bytes) -> None:
    path = sidecar.path_of(file)
    try:
        beside = sidecar.beside({**record.as_json(), "record_source": "gateway"}, file, Picture.of(data), None)
        write(path, beside, force=True)
    except OSError as error:
        terminal.complain([f"waybill: {path} cannot be written: {error.strerror}"])


# --- what is read from the command line


def _picture(file: Path) -> bytes:
    try:
        data = file.read_bytes()
    except OSError as error:
        terminal.stop(f"cannot read {file}: {error.strerror}")
    if facts_of(data).format == "unknown":
        terminal.stop(f"{file} is no picture: its first bytes are not those of a png, jpeg, webp, gif or svg")
    return data


def _told(option: str, value: str) -> str:
    try:
        return header_text(value) if option == "--owner" else plain_text(value)
    except ValueError as error:
        terminal.stop(f"{option} {error}")


def _cost(value: str | None) -> Cost:
    """Read an amount and its currency; nothing said is a cost that is missing."""
    if value is None:
        return MISSING
    match = _COST.fullmatch(value.strip())
    if match is None:
        terminal.stop(
            "--cost takes an amount with at most six decimals, and a currency: 0.04, '0.04 EUR', '12 CREDITS'"
        )
    currency = match[2] or "USD"
    one = line(Item.IMAGE, 1, Fraction(match[1]) * MICRO, currency, ENDPOINT)
    return billed([one], unit=PriceUnit.PER_IMAGE.value, exact=True)


def _parent(gallery: Gallery, asset_id: str) -> Asset:
    found = asyncio.run(gallery.books.find(asset_id))
    return found if found is not None else terminal.stop(f"there is no kept picture {asset_id}")


def _once(gallery: Gallery, found: _Found, *, again: bool) -> None:
    kept: Sequence[Asset] = gallery.books.pages(AssetQuery(sha256=found.image.sha256, limit=1))
    if kept and not again:
        terminal.stop(f"{found.file} is kept already, as {kept[0].asset_id}: --again adopts it once more")


def _tag(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not (equals and name and value and word.isascii() and word.isprintable()):
        terminal.stop(f"--tag takes NAME=VALUE in printable ASCII, not {word!r}")
    return name, value
