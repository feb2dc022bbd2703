"""``waybill image``: a picture from a prompt, through a running gateway, as a file with its waybill beside it.

``FILE`` and ``FILE.waybill.json`` appear whole or not at all; nothing is asked for when they could not be written.
Exit 0 when the pictures are there, 1 when the gateway refused, could not be reached or sent no picture, 2 for an
option or file that is wrong, 130 after an interrupt.
"""

import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import typer
from msgspec import Struct, field
from rich.text import Text

from gateway.cli import pictureoptions as options
from gateway.cli import sidecar, terminal
from gateway.cli.client import Unreached
from gateway.cli.commission import Commission, Given, header_of, more_fields, read_given
from gateway.cli.delivery import Complaint, Delivery, Picture, member, text
from gateway.cli.obtaining import IDEMPOTENCY_KEY, Desk, no_answer, sentences
from gateway.cli.options import Json, ServedConfig, ServedDir, Url
from gateway.cli.outfiles import OutFiles, write
from gateway.cli.setting import base_url, setting
from gateway.cli.standing import operator_key
from gateway.cli.terminal import BOLD, DIM, WARN, words
from gateway.cli.waiting import Waiting, waiting
from gateway.core.money import decimal
from gateway.core.record import image_json
from gateway.core.table import Secret
from gateway.core.types import ImageFacts, JsonObject, JsonValue, Surface

PREVIEWS = 2
_FORMATS: Mapping[str, str] = {".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp", ".gif": "gif", ".svg": "svg"}


class _Shown(Struct, frozen=True, kw_only=True):
    """How the work is shown, and what else is kept."""

    env: Mapping[str, str]
    previews: Path | None
    keep_prompt: bool
    as_json: bool


class _Order(Struct, frozen=True, kw_only=True):
    """One run of the command: what is asked for, where, and what becomes of it."""

    asked: Commission
    desk: Desk
    files: OutFiles
    shown: _Shown
    record_key: Secret | None
    begun: datetime = field(default_factory=lambda: datetime.now(UTC))


class _Kept(Struct, frozen=True, kw_only=True):
    """One picture and the file it became."""

    path: Path
    picture: Picture


def image(
    prompt: options.Prompt,
    *,
    out: options.Out,
    model: options.Model = None,
    size: options.Size = None,
    quality: options.Quality = None,
    background: options.Background = None,
    output_format: options.Format = None,
    compression: options.Compression = None,
    n: options.Count = 1,
    edit: options.Edit = None,
    mask: options.Mask = None,
    more: options.More = None,
    stream: options.Stream = False,
    partial: options.Partial = None,
    previews: options.Previews = None,
    pin: options.Pin = None,
    tag: options.Tag = None,
    keep_prompt: options.KeepPrompt = False,
    force: options.Force = False,
    timeout: options.Timeout = 900,
    url: Url = None,
    config: ServedConfig = None,
    data_dir: ServedDir = None,
    as_json: Json = False,
) -> None:
    """Make a picture through a running gateway: a file, and its waybill beside it."""
    found = setting(config=config, data_dir=data_dir)
    base = base_url(url, found)
    asked = Commission(
        surface=Surface.EDITS if edit else Surface.GENERATIONS,
        prompt=_prompt(prompt),
        model=model,
        size=size,
        quality=quality,
        background=background,
        output_format=output_format or _FORMATS.get(out.suffix.lower()),
        output_compression=compression,
        n=n,
        images=tuple(given_at(path) for path in edit or []),
        mask=None if mask is None else given_at(mask),
        stream=stream or partial is not None or previews is not None,
        partial_images=PREVIEWS if partial is None and previews is not None else partial,
        more=_more(more or []),
    )
    desk = Desk(base=base, key=found.process.api_key, timeout_s=timeout, headers=_headers(pin, tag or []))
    shown = _Shown(env=found.env, previews=previews, keep_prompt=keep_prompt, as_json=as_json)
    files = OutFiles(out=out, n=n, force=force)
    _fulfil(_Order(asked=asked, desk=desk, files=files, shown=shown, record_key=operator_key(found)))


@terminal.interruptible("what the gateway has begun it finishes: see `waybill logs`")
def _fulfil(order: _Order) -> None:
    if order.asked.mask is not None and not order.asked.images:
        terminal.stop("--mask says where to change a picture: name that picture with --edit")
    trouble = order.files.trouble()
    if trouble is not None:
        terminal.stop(trouble)
    delivery = _delivery(order)
    if delivery.complaint is not None and not delivery.pictures:
        _fail(order, delivery, delivery.complaint)
    kept = _kept(order, delivery)
    record = sidecar.record_of(delivery, order.asked, order.begun, base=order.desk.base, key=order.record_key)
    for one in kept:
        _write_beside(order, record, one)
    if order.shown.as_json:
        terminal.print_json(_document(record, kept, delivery))
    else:
        _show(order, record, kept, delivery)
    if delivery.complaint is not None:
        terminal.complain(sentences(delivery, delivery.complaint))
        raise typer.Exit(1)


def _delivery(order: _Order) -> Delivery:
    """Ask, and show that it goes on; ends the command when nothing comes."""
    asked = order.asked
    steps = (asked.partial_images or 0) * asked.n + asked.n if asked.stream else None
    what = f"asking {asked.model or 'the default model'} at {order.desk.base}"
    with waiting(order.shown.env, what, steps) as line:
        got = order.desk.obtain(asked, lambda number, data: _preview(order, line, number, data), line.say)
        if isinstance(got, Delivery) and got.links and not got.pictures:
            line.say(f"fetching {len(got.links)} from the gateway's links")
            got = _fetched(order.desk, got)
    if isinstance(got, Unreached):
        if order.shown.as_json:
            terminal.print_json({"error": {"message": got.why, "sent": got.sent}})
        terminal.stop(no_answer(got, order.desk.base), 1)
    return got


def _fetched(desk: Desk, delivery: Delivery) -> Delivery:
    datas = [desk.picture_at(link) for link in delivery.links]
    pictures = tuple(Picture.of(data) for data in datas if data)
    lost = None if len(pictures) == len(datas) else Complaint(message="a picture could not be fetched from its link")
    return delivery.with_pictures(pictures, lost)


def _preview(order: _Order, line: Waiting, number: int, data: bytes) -> None:
    line.advance(f"preview {number}")
    if order.shown.previews is None or not data:
        return
    suffix = header_of(data).format.replace("jpeg", "jpg")
    path = order.shown.previews / f"{order.files.out.stem}-preview-{number}.{suffix}"
    try:
        order.shown.previews.mkdir(parents=True, exist_ok=True)
        write(path, data, force=True)
    except OSError as error:
        line.say(f"{path} cannot be written: {error.strerror}")


def _fail(order: _Order, delivery: Delivery, complaint: Complaint) -> None:
    if order.shown.as_json:
        said: JsonObject = {"message": complaint.message, "code": complaint.code, "param": complaint.param}
        failed = {"error": {**said, "status": delivery.status, "tried": list(complaint.tried)}}
        terminal.print_json({"request_id": delivery.request_id, **failed})
    terminal.complain(sentences(delivery, complaint))
    raise typer.Exit(1)


def _kept(order: _Order, delivery: Delivery) -> list[_Kept]:
    """Write the pictures; one that cannot be written ends the command, after those before it."""
    if not delivery.pictures:
        _fail(order, delivery, Complaint(message="the answer holds no picture"))
    kept: list[_Kept] = []
    for number, picture in enumerate(delivery.pictures, start=1):
        try:
            kept.append(_Kept(path=order.files.keep(number, picture.data), picture=picture))
        except OSError as error:
            terminal.complain([f"waybill: a picture came, and cannot be written: {error.strerror}"])
            terminal.stop(f"request {delivery.request_id} was served and paid for: see `waybill logs`", 1)
    return kept


def _write_beside(order: _Order, record: JsonObject, one: _Kept) -> None:
    data = sidecar.beside(record, one.path, one.picture, order.asked.prompt if order.shown.keep_prompt else None)
    try:
        write(sidecar.path_of(one.path), data, force=True)
    except OSError as error:
        terminal.complain([f"waybill: {sidecar.path_of(one.path)} cannot be written: {error.strerror}"])


# --- what is said of it


def _show(order: _Order, record: JsonObject, kept: Sequence[_Kept], delivery: Delivery) -> None:
    screen = terminal.console(order.shown.env)
    for one in kept:
        line = words(str(one.path), BOLD).append_text(words(f"  {size_words(one.picture.facts)}", DIM))
        screen.print(line, soft_wrap=True)
    for said in _lines(record, delivery):
        screen.print(said)
    for trouble in _troubles(order, record, kept):
        screen.print(words(trouble, WARN))


def _lines(record: JsonObject, delivery: Delivery) -> list[Text]:
    mapping = member(record, "model_mapping")
    sent, served = (text(member({"m": mapping}, "m", name)) for name in ("sent", "served"))
    who = f"{sent or record.get('asked_model') or 'the model'} by {record.get('route_owner') or 'nobody known'}"
    said = f", which says it was {served}" if served not in {None, sent, "unverified", "pending"} else ""
    tries = record.get("retry_count")
    again = f", after {tries} failed attempts" if isinstance(tries, int) and tries > 0 else ""
    seen = f", {delivery.previews} previews" if delivery.previews else ""
    lines = [words(f"{who}{said}, in {delivery.took_s:.1f} s{seen}{again}")]
    charged = record.get("credits")
    key = f"; the key was charged {charged} credits" if isinstance(charged, int) else ""
    lines.append(words(f"cost {cost_words(record.get('cost'))}{key}"))
    return [*lines, words(f"request {delivery.request_id}", DIM)]


def cost_words(cost: object) -> str:
    """Say what a record tells of the cost."""
    if not isinstance(cost, Mapping):
        return "not told: this key may not read the record, and streams carry no cost"
    amount, state = cost.get("amount_micro"), cost.get("state")
    if not isinstance(amount, int):
        return "unknown: the row has no price that tells it"
    about = "about " if state == "estimated" else ""
    unit = "" if cost.get("unit") in {None, "none"} else f", {str(cost.get('unit')).replace('_', ' ')}"
    return f"{about}{decimal(amount)} {cost.get('currency')}{unit}"


def size_words(facts: ImageFacts) -> str:
    """Say how large a picture is, in pixels and in bytes."""
    size = f"{facts.width}x{facts.height} " if facts.width and facts.height else ""
    return f"{size}{facts.format}, {_bytes(facts.bytes)}"


def _troubles(order: _Order, record: JsonObject, kept: Sequence[_Kept]) -> list[str]:
    """Say what is not as it was asked for."""
    asked = order.asked
    told = member(record, "result", "warnings")
    found = [f"warning: {str(word).replace('_', ' ')}" for word in told] if isinstance(told, list) else []
    if len(kept) != asked.n:
        found.append(f"{len(kept)} of {asked.n} pictures came")
    for one in kept:
        means = _FORMATS.get(one.path.suffix.lower(), one.path.suffix.lower().removeprefix("."))
        if means and one.picture.facts.format != means:
            found.append(f"{one.path} holds a {one.picture.facts.format}")
    return found


def _bytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1_000_000 else f"{max(1, round(count / 1000))} kB"


def _document(record: JsonObject, kept: Sequence[_Kept], delivery: Delivery) -> JsonObject:
    files = [
        {"file": str(one.path), "sidecar": str(sidecar.path_of(one.path)), **image_json(one.picture.facts)}
        for one in kept
    ]
    return {"request_id": delivery.request_id, "files": files, "previews": delivery.previews, "record": record}


# --- what is read from the command line


def _prompt(word: str) -> str:
    prompt = terminal.read_stdin() if word == "-" else word
    return prompt.strip() or terminal.stop("the prompt is empty")


def given_at(path: Path) -> Given:
    """Read a picture that goes along, or end the command."""
    try:
        return read_given(path)
    except OSError as error:
        terminal.stop(f"cannot read {path}: {error.strerror}")


def _more(given: Sequence[str]) -> Mapping[str, JsonValue]:
    try:
        return more_fields(given)
    except ValueError as error:
        terminal.stop(f"--set {error}")


def _headers(pin: str | None, tags: Sequence[str]) -> Mapping[str, str]:
    headers = {IDEMPOTENCY_KEY: f"waybill-{secrets.token_hex(16)}", **({} if pin is None else {"x-route-pin": pin})}
    if tags:
        headers["x-request-tags"] = ",".join(tags)
    for name, value in headers.items():
        if not (value.isascii() and value.isprintable()):
            terminal.stop(f"--{name.rpartition('-')[2].removesuffix('s')} takes printable ASCII only")
    return headers
