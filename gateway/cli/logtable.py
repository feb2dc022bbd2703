"""One ledger row as people read it."""

from collections.abc import Mapping, Sequence

from msgspec import Struct, field
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.cli.terminal import BAD, BOLD, DIM, GOOD, WARN, is_wide, words
from gateway.core.forecast import CHECK
from gateway.core.types import JsonObject, JsonValue, Surface
from gateway.stores.reader import AttemptRow, LogRow
from gateway.stores.schema import RequestState

_SHORT = {
    Surface.GENERATIONS.value: "gen",
    Surface.EDITS.value: "edit",
    Surface.RESPONSES.value: "resp",
    CHECK: "check",
}
FULL_COLUMNS = 132
UNKNOWN_SURFACE = "unknown"  # of a request for an address that buys nothing
ACCEPTED = 202  # an answer that says where the result will be
INDENT = " " * 9  # of an id on a line of its own: below what follows the time


class Room(Struct, frozen=True, kw_only=True):
    """What there is room for: a column of requests' ids; and every column in full besides."""

    has_ids: bool
    is_full: bool

    @classmethod
    def of(cls, screen: Console) -> "Room":
        """Measure the terminal."""
        return cls(has_ids=is_wide(screen), is_full=screen.width >= FULL_COLUMNS)


class LogTable(Struct, kw_only=True):
    """Prints rows under one heading, so that what follows later stands in the same columns.

    The id of a request stands in one piece at every width: where no column has room for it, on a line of its own.
    """

    screen: Console
    _has_heading: bool = field(default=False)

    def show(self, rows: Sequence[LogRow]) -> None:
        """Print rows in their order; the heading once."""
        if not rows and not self._has_heading:
            self.screen.print(words("No requests in the ledger match.", DIM))
            return
        room = Room.of(self.screen)
        if room.has_ids:
            self._print(rows, room)
            return
        for row in rows:
            self._print([row], room)
            self.screen.print(words(f"{INDENT}{row.request_id}", DIM), soft_wrap=True)

    def _print(self, rows: Sequence[LogRow], room: Room) -> None:
        shown = _columns(room, heading=not self._has_heading)
        self._has_heading = True
        for row in rows:
            shown.add_row(*_cells(row, room))
        self.screen.print(shown)


def _columns(room: Room, *, heading: bool) -> Table:
    wide = room.is_full
    shown = Table(
        box=box.SIMPLE_HEAD,  # also without its heading: it decides how far apart columns stand
        show_header=heading,
        header_style="bold",
        pad_edge=False,
        show_edge=False,
        expand=True,
        padding=(0, 1, 0, 0),
    )
    shown.add_column("UTC", width=14 if wide else 8, no_wrap=True)
    shown.add_column("code", width=4, no_wrap=True)
    shown.add_column("surface" if wide else "surf", width=12 if wide else 5, no_wrap=True)
    shown.add_column("model", ratio=4, overflow="fold")
    shown.add_column("owner", width=13 if wide else 11, overflow="fold")
    shown.add_column("took", width=7, justify="right", no_wrap=True)
    shown.add_column("tries" if wide else "n", width=5 if wide else 2, justify="right", no_wrap=True)
    shown.add_column("what came", ratio=6, overflow="fold")
    if room.has_ids:
        shown.add_column("request", width=36, no_wrap=True)
    return shown


def _cells(row: LogRow, room: Room) -> list[Text]:
    wide = room.is_full
    cells = [
        words(row.time.strftime("%m-%d %H:%M:%S" if wide else "%H:%M:%S"), DIM),
        _status(row),
        words(_surface(row.endpoint) if wide else _SHORT.get(row.endpoint, _surface(row.endpoint))),
        _model(row),
        words(row.owner or "-", "" if row.owner else DIM),
        words(_took(row)),
        words(str(len(row.attempts)), WARN if len(row.attempts) > 1 else DIM),
        _came(row),
    ]
    return [*cells, words(row.request_id, DIM)] if room.has_ids else cells


def _surface(endpoint: str) -> str:
    """Give an endpoint without the prefix that it shares with others: ``edits``, ``retrieve``."""
    return "-" if endpoint == UNKNOWN_SURFACE else endpoint.rpartition("/")[2]


def _model(row: LogRow) -> Text:
    """Give the word of the client; where there was none, that of the default route, faintly."""
    if row.asked_model:
        return words(row.asked_model, BOLD)
    default = _member(row.record, "model_mapping", "asked")
    return words(default if isinstance(default, str) else "-", DIM)


def _status(row: LogRow) -> Text:
    if row.state is not RequestState.DONE or row.status is None:
        return words("open", DIM) if row.state is RequestState.OPEN else words("cut", BAD)
    return words(str(row.status), GOOD if row.status < 400 else WARN if row.status < 500 else BAD)


def _took(row: LogRow) -> str:
    latency = (row.record or {}).get("latency_ms")
    if not isinstance(latency, int | float):
        return ""
    return f"{latency:.0f} ms" if latency < 1000 else f"{latency / 1000:.1f} s"


def _came(row: LogRow) -> Text:
    """Say what the client got, or why not; and after which failure, when it took more than one attempt."""
    if row.state is RequestState.INTERRUPTED:
        return words("interrupted: outcome unknown" if row.attempts else "interrupted", BAD)
    last = row.attempts[-1] if row.attempts else None
    if row.failure is not None or (row.status is not None and row.status >= 400):
        code = _member(row.record, "result", "code")
        why = _reason(last) or row.failure or (code if isinstance(code, str) else "")
        return words(why, BAD)
    said = words(_pictures(row.record))
    if not row.attempts and not said.plain:
        return words(_without_attempt(row) if row.state is RequestState.DONE else "", DIM)
    if len(row.attempts) > 1:
        said.append_text(words(f" after {_reason(row.attempts[-2])}", DIM))
    return said


def _without_attempt(row: LogRow) -> str:
    """Say what a request got that asked no upstream by itself: what another one's call brings, or our own answer."""
    if _member(row.record, "flight_id") is None:
        return "answered here"
    return "where to fetch it" if row.status == ACCEPTED else "given again"


def _reason(attempt: AttemptRow | None) -> str:
    if attempt is None or attempt.failure is None:
        return ""
    return f"{attempt.failure}: {attempt.detail}" if attempt.detail else attempt.failure


def _pictures(record: JsonObject | None) -> str:
    images = _member(record, "result", "images")
    if not isinstance(images, Sequence) or isinstance(images, str) or not images:
        return "text" if record is not None and record.get("endpoint") == "responses" else ""
    first = images[0] if isinstance(images[0], Mapping) else {}
    width, height, form = first.get("width"), first.get("height"), first.get("format")
    size = f"{width}x{height} " if width and height else ""
    return f"{len(images)} of {size}{form or 'picture'}" if len(images) > 1 else f"{size}{form or 'picture'}"


def _member(record: JsonObject | None, *path: str) -> JsonValue:
    value: JsonValue = record
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
