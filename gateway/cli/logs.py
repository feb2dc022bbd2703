"""``waybill logs``: the ledger, read beside a running server or without one; oldest first, the newest at the foot.

With ``--json`` one record a line, as on the server's stdout; a request that never settled has no record, so its line
holds what the ledger knows and a ``state``. With a request's id that one is shown whole. Exit 0 also when there is
nothing to list, 1 when there is no request of that id, 2 when the ledger cannot be read.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated

import typer
from msgspec import Struct, field
from msgspec.structs import replace

from gateway.cli import terminal
from gateway.cli.logtable import LogTable
from gateway.cli.options import Config, DataDir, Json
from gateway.cli.requestview import show_request
from gateway.cli.setting import Setting, setting
from gateway.cli.terminal import words
from gateway.ports import LogQuery
from gateway.stores.reader import LogRow, Reader, open_reader
from gateway.stores.refusals import LedgerRefused
from gateway.stores.schema import RequestState
from gateway.stores.unsettled import record_of

PAGE = 500
# A request's id is as old as its first byte, its row is as new as its end: how far back --follow looks for late ones.
LATE_S = 900.0
POLL_S = 0.5

Show = Callable[[Sequence[LogRow]], None]


def logs(
    request_id: Annotated[
        str | None,
        typer.Argument(metavar="REQUEST_ID", show_default=False, help="Show this one request with its attempts."),
    ] = None,
    *,
    config: Config = None,
    data_dir: DataDir = None,
    as_json: Json = False,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Keep running, and show requests as they end.")
    ] = False,
    failed: Annotated[bool, typer.Option("--failed", help="Only failed, refused and interrupted requests.")] = False,
    owner: Annotated[str | None, typer.Option("--owner", help="Only requests of this route owner.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="Only requests that asked for this model.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="How many at most.")] = 50,
) -> None:
    """List requests from the ledger, the newest last; or show one, by its id."""
    wanted = setting(config=config, data_dir=data_dir)
    if request_id is not None:
        if follow or failed or owner or model:
            terminal.stop("a request's id stands alone: --follow, --failed, --owner and --model are for lists")
        _show_one(request_id, wanted, as_json=as_json)
        return
    query = LogQuery(failed=failed, owner=owner, model=model, limit=limit)
    show = _print_lines if as_json else LogTable(screen=terminal.console(wanted.env)).show
    try:
        reader = open_reader(wanted.routes().settings.database)
        if follow:
            Follower(read=reader.page, query=query, now=time.time).run(show, time.sleep)
        else:
            show(_newest(reader, query))
    except LedgerRefused as error:
        terminal.stop(str(error))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _show_one(request_id: str, wanted: Setting, *, as_json: bool) -> None:
    try:
        row = open_reader(wanted.routes().settings.database).find(request_id)
    except LedgerRefused as error:
        terminal.stop(str(error))
    if row is None:
        terminal.stop(f"the ledger has no request {words(request_id).plain}", 1)
    if as_json:
        terminal.print_json(record_of(row))
    else:
        show_request(terminal.console(wanted.env), record_of(row))


def _newest(reader: Reader, query: LogQuery) -> list[LogRow]:
    return list(reversed(reader.page(query)))


def _print_lines(rows: Sequence[LogRow]) -> None:
    for row in rows:
        terminal.print_json(record_of(row), pretty=False)


class Follower(Struct, kw_only=True):
    """Shows every request once, when it has ended. ``read`` gives a page, newest first; ``now`` is Unix time."""

    read: Callable[[LogQuery], Sequence[LogRow]]
    query: LogQuery
    now: Callable[[], float]
    _shown: set[str] = field(default_factory=set)

    def run(self, show: Show, sleep: Callable[[float], None]) -> None:
        """Show the last ones, then go on until interrupted. A slow ledger is asked less often."""
        show(self.first())
        while True:
            begun = time.monotonic()
            rows = self.fresh()
            if rows:
                show(rows)
            sleep(max(POLL_S, 4 * (time.monotonic() - begun)))

    def first(self) -> list[LogRow]:
        """Give the newest requests that have ended, oldest first; older ones count as shown."""
        rows = [row for row in self.read(self.query) if row.state is not RequestState.OPEN]
        self.fresh()
        return rows[::-1]

    def fresh(self) -> list[LogRow]:
        """Give the requests that ended since the last call, oldest first."""
        since = f"req_{max(0, round(1000 * (self.now() - LATE_S))):012x}"
        ended = [row for row in self._window(since) if row.state is not RequestState.OPEN]
        rows = [row for row in reversed(ended) if row.request_id not in self._shown]
        self._shown = {row.request_id for row in ended}
        return rows

    def _window(self, since: str) -> Iterator[LogRow]:
        before: str | None = None
        while True:
            page = self.read(replace(self.query, limit=PAGE, after=since, before=before))
            yield from page
            if len(page) < PAGE:
                return
            before = page[-1].request_id
