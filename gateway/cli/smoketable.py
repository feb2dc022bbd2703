"""A smoke run as people read it, and as JSON."""

from collections.abc import Sequence

from msgspec import Struct
from rich.console import Console
from rich.text import Text

from gateway.cli import terminal
from gateway.cli.differences import Facet, Verdict
from gateway.cli.terminal import BAD, BOLD, DIM, GOOD, WARN, is_wide, stacked, words
from gateway.core.types import JsonObject

_MARKS = {
    Verdict.SAME: words("ok", DIM),
    Verdict.NOTED: words("noted", WARN),
    Verdict.MATTERS: words("matters", f"{BOLD} {BAD}"),
}


class Compared(Struct, frozen=True, kw_only=True):
    """A target that was held against the baseline, or against what was asked for when ``baseline`` is absent."""

    target: str
    row: str
    baseline: str | None
    facets: tuple[Facet, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing that matters differs, and something was compared."""
        return bool(self.facets) and all(one.verdict is not Verdict.MATTERS for one in self.facets)

    def passed_on(self, step: str) -> bool:
        """Whether nothing that matters differs in one step."""
        mine = [one for one in self.facets if one.step == step]
        return bool(mine) and all(one.verdict is not Verdict.MATTERS for one in mine)

    def as_json(self) -> JsonObject:
        """Give it as ``--json`` shows it."""
        return {
            "channel": self.target,
            "row": self.row,
            "baseline": self.baseline,
            "passed": self.passed,
            "facets": [
                {
                    "step": one.step,
                    "what": one.what,
                    "baseline": one.baseline,
                    "target": one.target,
                    "verdict": one.verdict.value,
                    "why": one.why,
                }
                for one in self.facets
            ],
        }


def show(screen: Console, compared: Sequence[Compared], skipped: Sequence[str]) -> None:
    """Print a table for each target, and what it comes to."""
    for one in compared:
        if one.facets:
            screen.print(_heading(one))
            _table(screen, one)
            screen.print()
    for line in skipped:
        screen.print(words(line, WARN))
    for one in compared:
        screen.print(_verdict(one))


def _heading(one: Compared) -> Text:
    against = f" against {one.baseline}" if one.baseline is not None else " against what was asked for"
    return words(one.target, BOLD).append_text(words(against, DIM))


def _table(screen: Console, one: Compared) -> None:
    wide = is_wide(screen)
    has_baseline = one.baseline is not None
    names = [one.baseline or "", one.target] if has_baseline else [one.target]
    shown = terminal.table(*(("step",) if wide else ()), "facet", *names, "")
    last = ""
    for facet in one.facets:
        first = facet.step != last
        last = facet.step
        if first and not wide:
            shown.add_row(words(facet.step, BOLD), *(Text() for _ in names), Text())
        style = {Verdict.SAME: DIM, Verdict.NOTED: "", Verdict.MATTERS: BAD}[facet.verdict]
        target = stacked(words(facet.target or "-", style), words(facet.why, style))
        cells = [words(facet.what), *([words(facet.baseline or "-", DIM)] if has_baseline else []), target]
        lead = [words(facet.step if first else "", BOLD)] if wide else []
        shown.add_row(*lead, *cells, _MARKS[facet.verdict])
    screen.print(shown)


def _verdict(one: Compared) -> Text:
    if not one.facets:
        return words(f"{one.target}: nothing could be compared", BAD)
    if one.passed:
        return words(f"{one.target}: nothing differs that matters", GOOD)
    found = [f"{facet.what} on {facet.step}" for facet in one.facets if facet.verdict is Verdict.MATTERS]
    return words(f"{one.target}: {', '.join(found)}", BAD)
