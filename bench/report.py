"""The figures as a table: ratios to the peers first, then the bars of the project, then what was measured."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.table import Table

Figures = Mapping[str, Mapping[str, float]]
"""By name of the figure, then of the rival; medians."""

RIVALS: Final = ("waybill", "nginx", "litellm", "portkey")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One line of the scorecard. ``value`` works it out; a larger one is better when ``is_floor``."""

    name: str
    bar: float
    goal: float
    value: Callable[[Figures], float | None]
    unit: str = ""
    is_floor: bool = True

    def verdict(self, value: float) -> str:
        """Say whether the bar, or the goal, is reached."""
        if (value >= self.goal) if self.is_floor else (value <= self.goal):
            return "goal"
        return "bar" if ((value >= self.bar) if self.is_floor else (value <= self.bar)) else "missed"


def ratio(figure: str, rival: str, *, less_is_better: bool) -> Callable[[Figures], float | None]:
    """Give how many times better Waybill is than a rival."""

    def value(figures: Figures) -> float | None:
        ours, theirs = figures.get(figure, {}).get("waybill"), figures.get(figure, {}).get(rival)
        if not ours or not theirs:
            return None
        return theirs / ours if less_is_better else ours / theirs

    return value


def own(figure: str) -> Callable[[Figures], float | None]:
    """Give Waybill's own figure; what ``direct`` needs is taken off one that says ``added``."""

    def value(figures: Figures) -> float | None:
        per = figures.get(figure, {})
        if "waybill" not in per:
            return None
        return per["waybill"] - (per.get("direct", 0.0) if figure.endswith("added") else 0.0)

    return value


def over_direct(figure: str) -> Callable[[Figures], float | None]:
    """Give by how much, in percent, Waybill is above ``direct``."""

    def value(figures: Figures) -> float | None:
        per = figures.get(figure, {})
        return (per["waybill"] / per["direct"] - 1) * 100 if {"waybill", "direct"} <= per.keys() else None

    return value


SMALL: Final = "small answer, CPU µs per request"
UPLOAD: Final = "upload 4 x 4 MB, MB per CPU second"


@dataclass(frozen=True, slots=True)
class Bars:
    """The scorecard."""

    lines: tuple[Bar, ...]

    def as_json(self) -> list[dict[str, str | float]]:
        """Give its names and figures."""
        return [{"name": line.name, "bar": line.bar, "goal": line.goal, "unit": line.unit} for line in self.lines]


def _sizes() -> list[Bar]:
    lines = []
    for size in ("3", "20"):
        figure = f"{size} MB answer, MB per CPU second"
        for rival, bar, goal in (("nginx", 0.9, 1.1), ("litellm", 5.0, 5.0), ("portkey", 8.0, 8.0)):
            lines.append(
                Bar(
                    name=f"{size} MB answer, MB per CPU second, over {rival}",
                    bar=bar,
                    goal=goal,
                    value=ratio(figure, rival, less_is_better=False),
                    unit="x",
                )
            )
    return lines


BARS: Final = Bars(
    (
        Bar(name="small answer, CPU: LiteLLM over ours", bar=25, goal=40, unit="x",
            value=ratio(SMALL, "litellm", less_is_better=True)),
        Bar(name="small answer, CPU: Portkey over ours", bar=8, goal=8, unit="x",
            value=ratio(SMALL, "portkey", less_is_better=True)),
        *_sizes(),
        Bar(name="upload 4 x 4 MB, over litellm", bar=4, goal=4, unit="x",
            value=ratio(UPLOAD, "litellm", less_is_better=False)),
        Bar(name="upload 4 x 4 MB, over portkey", bar=6, goal=6, unit="x",
            value=ratio(UPLOAD, "portkey", less_is_better=False)),
        Bar(name="upload 4 x 4 MB, over nginx", bar=0, goal=1.6, unit="x",
            value=ratio(UPLOAD, "nginx", less_is_better=False)),
        Bar(name="1,000 in flight", bar=25, goal=12, unit="kB each", is_floor=False,
            value=own("1,000 in flight, kB each")),
        Bar(name="5,000 in flight", bar=25, goal=12, unit="kB each", is_floor=False,
            value=own("5,000 in flight, kB each")),
        Bar(name="64 answers of 20 MB at once", bar=0.6, goal=0.1, unit="MB each", is_floor=False,
            value=own("64 answers of 20 MB at once, MB each")),
        Bar(name="first event of 16 streams, added", bar=2, goal=1, unit="ms", is_floor=False,
            value=own("first event of 16 streams, p50 ms added")),
        Bar(name="1,000 at once on a 10 s upstream, p50 over direct", bar=2, goal=1, unit="%", is_floor=False,
            value=over_direct("1,000 at once on 10 s, p50 s")),
    )
)  # fmt: skip


def show(where: Mapping[str, str], figures: Figures) -> None:
    """Print both tables."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    table = Table(title="Waybill beside its peers: ratios and bars")
    for name in ("what", "measured", "bar", "goal", ""):
        table.add_column(name, justify="left" if name in ("what", "") else "right")
    for line in BARS.lines:
        value = line.value(figures)
        if value is not None:
            said = {"missed": "[red]missed[/]", "bar": "[green]holds[/]", "goal": "[green]goal[/]"}
            unit = f" {line.unit}" if line.unit else ""
            table.add_row(
                line.name, f"{value:,.2f}{unit}", f"{line.bar:g}", f"{line.goal:g}", said[line.verdict(value)]
            )
    console.print(table)
    raw = Table(title="Measured", caption="; ".join(f"{name} {value}" for name, value in where.items()))
    raw.add_column("what")
    names = ["direct", *RIVALS]
    for name in names:
        raw.add_column(name, justify="right")
    for figure, per in figures.items():
        raw.add_row(figure, *(f"{per[name]:,.2f}" if name in per else "" for name in names))
    console.print(raw)


def markdown(figures: Figures) -> str:
    """Give the measured figures and the scorecard as Markdown tables."""
    names = ["direct", *RIVALS]
    lines = ["| what | bar | measured |", "|---|---:|---:|"]
    for line in BARS.lines:
        value = line.value(figures)
        if value is not None:
            told = f"{value:,.2f} {line.unit}".strip()
            lines.append(
                f"| {line.name} | {line.bar:g} | {told if line.verdict(value) != 'missed' else f'**{told}**'} |"
            )
    lines += ["", f"| what | {' | '.join(names)} |", f"|---|{'---:|' * len(names)}"]
    for figure, per in figures.items():
        cells = " | ".join(f"{per[name]:,.1f}" if name in per else "" for name in names)
        lines.append(f"| {figure} | {cells} |")
    return "\n".join(lines) + "\n"
