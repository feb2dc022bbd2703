"""``GET /api/usage``: what was asked for, delivered, accepted and spent, by group; as JSON, or as CSV for a table.

The same sums as ``waybill usage``, from the same code. In CSV each sum of money has a line; what is counted once for a
group stands in the first of its lines only, so that a column can be added up.
"""

from collections.abc import Iterator, Sequence

import orjson
from starlette.types import Receive, Scope

from gateway.core.spend import Dimension, Sum, Usage, UsageQuery
from gateway.ports import LedgerUnavailable
from gateway.ports.readings import Readings, TooManyGroups
from gateway.web.admin import Addresses, Control
from gateway.web.answer import Answer
from gateway.web.api_query import Words, bad, moment, one, words_of
from gateway.web.api_requests import UNREADABLE
from gateway.web.arrival import headers_of
from gateway.web.csv_rows import Cell, csv_of
from gateway.web.errors import OperatorError

CSV = b"text/csv; charset=utf-8"
COUNTS = ("requests", "images", "delivered", "accepted", "rejected", "failed", "attempts")
MONEY = ("unit", "currency", "state", "amount_micro", "exposure_micro")
FIGURES = (
    "waste_micro",
    "cost_per_accepted_micro",
    "cost_per_accepted_currency",
    "credits",
    "missing_price_requests",
    "rescued_images",
    "rescued_micro",
    "lost_requests",
    "lost_micro",
)
PARAMETERS = ("by", "since", "until")

_DIMENSIONS = tuple(dimension.value for dimension in Dimension)
_VARY = (b"vary", b"accept")
_AS_FILE = (b"content-disposition", b'attachment; filename="usage.csv"')


def usage_addresses(readings: Readings) -> Addresses:
    """Give the address that shows sums."""

    async def summed(_control: Control, scope: Scope, _receive: Receive) -> Answer:
        query = query_of(words_of(scope, PARAMETERS))
        try:
            rows = await readings.usage(query)
        except LedgerUnavailable as lost:
            raise OperatorError(503, UNREADABLE) from lost
        except TooManyGroups as many:
            raise bad(f"There are more than {many.most} groups. Ask for fewer words, or for a shorter time.") from None
        if wants_csv(headers_of(scope).get("accept", "")):
            body = csv_of((*(word.value for word in query.by), *COUNTS, *MONEY, *FIGURES), lines(rows))
            return Answer(status=200, body=body, content_type=CSV, headers=(_VARY, _AS_FILE))
        document = {"data": [row.as_json(query.by) for row in rows]}
        return Answer(status=200, body=orjson.dumps(document), headers=(_VARY,))

    return {"/api/usage": {"GET": summed}}


def query_of(words: Words) -> UsageQuery:
    """Read what is asked of the sums. Raises ``OperatorError``."""
    found = (one(words, "by") or Dimension.OWNER.value).split(",")
    if len(set(found)) != len(found) or not set(found) <= set(_DIMENSIONS):
        raise bad(f"The parameter by takes each of {', '.join(_DIMENSIONS)} at most once, with commas between them.")
    return UsageQuery(
        by=tuple(Dimension(word) for word in found), since=moment(words, "since"), until=moment(words, "until")
    )


def wants_csv(accept: str) -> bool:
    """Whether an ``accept`` header takes CSV, and JSON less."""
    weights = {"text/csv": 0.0, "application/json": 0.0}
    for part in accept.lower().split(","):
        name, _, rest = part.partition(";")
        if name.strip() in weights:
            weights[name.strip()] = _weight(rest)
    return weights["text/csv"] > weights["application/json"]


def _weight(parameters: str) -> float:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


def lines(rows: Sequence[Usage]) -> Iterator[Sequence[Cell]]:
    """Give the lines of the table, one for each sum of money, at least one for each group."""
    for row in rows:
        per_accepted = row.per_accepted_micro
        figures: list[Cell] = [
            row.waste_micro,
            per_accepted,
            None if per_accepted is None else row.currency,
            row.credits,
            row.missing,
            row.rescued,
            row.rescued_micro,
            row.lost,
            row.lost_micro,
        ]
        counts: list[Cell] = [
            row.requests, row.images, row.delivered, row.accepted, row.rejected, row.failed, row.attempts,
        ]  # fmt: skip
        first = row.cost[0] if row.cost else None
        yield [*row.group, *counts, *_money(first), *figures]
        for one_sum in row.cost[1:]:
            yield [*row.group, *([None] * len(COUNTS)), *_money(one_sum), *([None] * len(FIGURES))]


def _money(one_sum: Sum | None) -> list[Cell]:
    if one_sum is None:
        return [None] * len(MONEY)
    return [one_sum.unit, one_sum.currency, one_sum.state.value, one_sum.amount_micro, one_sum.exposure_micro]
