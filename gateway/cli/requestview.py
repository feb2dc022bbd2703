"""One request as people read it: what was asked, what came, what it cost, and what was tried, out of its record."""

from collections.abc import Iterator, Mapping
from fractions import Fraction

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.cli.blocks import print_rows
from gateway.cli.delivery import items, member, text
from gateway.cli.image import cost_words
from gateway.cli.terminal import BAD, BOLD, DIM, GOOD, WARN, words
from gateway.cli.wording import amount, why
from gateway.core.types import JsonObject, JsonValue

_TRIED = ("", "~sent to", ">status", ">took", "~what came", "cost", "~upstream's id")
_SHAPE = ("size", "quality", "background", "output_format", "n")


def show_request(screen: Console, record: JsonObject) -> None:
    """Print a record; what it does not know takes no line."""
    screen.print(words(str(record.get("request_id")), BOLD), soft_wrap=True)
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_column(no_wrap=True)
    facts.add_column(overflow="fold")
    for name, said in _facts(record):
        if said.plain:
            facts.add_row(words(f"  {name}", DIM), said)
    screen.print(facts)
    attempts = [_attempt(one, record) for one in items(record.get("attempts"))]
    if attempts:
        screen.print()
        print_rows(screen, _TRIED, attempts)
    excluded = [
        [words(str(one.get("target"))), words(why(str(one.get("reason")), None))]
        for one in items(record.get("excluded"))
    ]
    if excluded:
        screen.print()
        print_rows(screen, ("~excluded", "~why"), excluded)


def _facts(record: JsonObject) -> Iterator[tuple[str, Text]]:
    yield "time", words(text(record.get("time")) or "")
    stream = ", streamed" if record.get("stream") is True else ""
    yield "surface", words(f"{text(record.get('endpoint')) or ''}{stream}")
    yield "answer", _answer(record)
    yield "asked for", words(", ".join(_asked(record)))
    mapping = member(record, "model_mapping")
    told: JsonObject = mapping if isinstance(mapping, Mapping) else {}
    yield "sent model", words(str(told["sent"]) if "sent" in told else "")
    yield "served model", words(str(told["served"]) if "served" in told else "")
    place = "/".join(str(record[name]) for name in ("channel", "row") if name in record)
    yield "served by", words(f"{record.get('route_owner')}, {place}" if record.get("route_owner") else "")
    yield "bill", words(text(record.get("billing")) or "")
    yield "cost", _cost(record)
    for name in ("credits", "key_id", "team", "flight_id", "fault", "verdict"):
        yield name.removesuffix("_id"), words("" if record.get(name) is None else str(record[name]))
    tags = record.get("tags")
    yield "tags", words(", ".join(f"{k}={v}" for k, v in tags.items()) if isinstance(tags, Mapping) else "")
    took = record.get("latency_ms")
    yield "took", words("" if not isinstance(took, int | float) else _took(took))
    for image in items(member(record, "result", "images")):
        yield "picture", words(", ".join(_picture(image)))


def _answer(record: JsonObject) -> Text:
    state, status = text(record.get("state")), member(record, "result", "status")
    if state is not None:
        return words("under way" if state == "open" else "interrupted: its server ended before it did", WARN)
    code = text(member(record, "result", "code"))
    is_good = isinstance(status, int) and status < 400
    said = words(f"{status} {code}" if code else str(status), GOOD if is_good else BAD)
    warnings = member(record, "result", "warnings")
    if isinstance(warnings, list) and warnings:
        said.append_text(words(f"  warnings: {', '.join(str(one) for one in warnings)}", WARN))
    idempotency = member(record, "idempotency", "replayed")
    return said.append_text(words("  given again", DIM)) if idempotency is True else said


def _asked(record: JsonObject) -> list[str]:
    shape = record.get("request_shape")
    told: JsonObject = shape if isinstance(shape, Mapping) else {}
    asked = text(record.get("asked_model")) or text(member(record, "model_mapping", "asked"))
    lines = [asked] if asked else []
    lines += [f"{name.replace('_', ' ')} {told[name]}" for name in _SHAPE if told.get(name) is not None]
    inputs = len(items(told.get("input_images")))
    lines += [f"{inputs} input picture{'' if inputs == 1 else 's'}"] if inputs else []
    return [*lines, *(["a mask"] if told.get("mask") else [])]


def _cost(record: JsonObject) -> Text:
    cost = record.get("cost")
    if not isinstance(cost, Mapping):
        return Text()
    exposure = record.get("exposure_micro")
    said = words(cost_words(cost))
    if isinstance(exposure, int) and exposure > 0:
        said.append_text(words(f", {amount(Fraction(exposure))} may not be owed", DIM))
    return said


def _picture(image: JsonObject) -> Iterator[str]:
    if image.get("width") and image.get("height"):
        yield f"{image['width']}x{image['height']}"
    for name in ("format", "asset_id", "sha256"):
        if image.get(name):
            yield str(image[name])


def _attempt(one: JsonObject, record: JsonObject) -> list[Text]:
    failure = text(one.get("class"))
    detail = text(one.get("detail"))
    outcome = text(one.get("outcome")) or ""
    came = words(outcome, GOOD) if failure is None else words(f"{failure}: {detail}" if detail else failure, BAD)
    if failure is not None and outcome:
        came.append_text(words(f", {outcome.replace('_', ' ')}", DIM))
    took = one.get("duration_ms")
    return [
        words(f"attempt {one.get('n')}", BOLD),
        words("/".join(str(one[name]) for name in ("channel", "row") if name in one)),
        words(str(one.get("status", "-"))),
        words(_took(took) if isinstance(took, int | float) else "-"),
        came,
        _money(one.get("cost_micro"), member(record, "cost", "currency")),
        words(text(one.get("upstream_request_id")) or "-", DIM),
    ]


def _money(micro: JsonValue, currency: JsonValue) -> Text:
    if not isinstance(micro, int):
        return words("-", DIM)
    return words(f"{amount(Fraction(micro))} {currency}" if currency else amount(Fraction(micro)))


def _took(milliseconds: float) -> str:
    return f"{milliseconds:.0f} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"
