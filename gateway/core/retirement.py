"""Which rows of a table name models that answer no more, or soon will not; said to people."""

from collections.abc import Sequence
from datetime import date

from msgspec import Struct

from gateway.core.table import RouteTable


class Retiring(Struct, frozen=True, kw_only=True):
    """A row of a route whose model is near its last day, or past it. ``target`` is ``channel/row``."""

    target: str
    model: str
    retired_on: date
    is_over: bool

    @property
    def sentence(self) -> str:
        """What an operator should know."""
        when = "answers no more since" if self.is_over else "will be retired on"
        return f"{self.target}  the model {self.model} {when} {self.retired_on.isoformat()}"


def retiring(table: RouteTable, day: date) -> Sequence[Retiring]:
    """Give the rows to warn of on a day, in the file's order."""
    return [
        Retiring(
            target=f"{channel.name}/{row.name}",
            model=row.model,
            retired_on=row.contract.retired_on,
            is_over=day >= row.contract.retired_on,
        )
        for channel in table.channels.values()
        for row in channel.rows.values()
        if row.contract.retired_on is not None and row.contract.retires_soon(day)
    ]
