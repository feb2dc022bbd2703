"""What a person sees while a gateway works: a line that moves, on stderr; plain lines where there is no terminal.

Nothing of it goes to stdout, and nothing is left behind in a terminal when the work is done.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from msgspec import Struct, field
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from gateway.cli import terminal
from gateway.cli.terminal import words

BAR_CHARS = 24


class Waiting(Struct, kw_only=True):
    """The line; ``steps`` is the number of steps when it is known, else the bar only moves."""

    screen: Console
    bar: Progress | None
    task: TaskID = field(default=TaskID(0))

    def say(self, what: str) -> None:
        """Say what is being done now."""
        if self.bar is None:
            self.screen.print(words(what), soft_wrap=True)
        else:
            self.bar.update(self.task, description=words(what).plain)

    def step(self) -> None:
        """Say that a step is done."""
        if self.bar is not None:
            self.bar.advance(self.task)

    def advance(self, what: str) -> None:
        """Say that a step is done, and what is being done now."""
        self.step()
        self.say(what)


@contextmanager
def waiting(env: Mapping[str, str], what: str, steps: int | None = None) -> Iterator[Waiting]:
    """Show the line while the block runs."""
    screen = terminal.console(env, stderr=True)
    if not screen.is_terminal:
        shown = Waiting(screen=screen, bar=None)
        shown.say(what)
        yield shown
        return
    described = TextColumn("{task.description}", markup=False)
    columns = (SpinnerColumn(), described, BarColumn(bar_width=BAR_CHARS), TimeElapsedColumn())
    with Progress(*columns, console=screen, transient=True) as bar:
        task = bar.add_task(words(what).plain, total=steps)
        yield Waiting(screen=screen, bar=bar, task=task)
