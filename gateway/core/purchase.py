"""Which prices an attempt is charged by: its row's, and that of the row that the image tool's model means.

A tool whose model the request leaves open is charged by what the answer says it used, when the channel has a row for
that. Counting tokens (``responses/input_tokens``) is free where tokens are charged for: no model is run for it. Must
never take a price of another channel: it is another contract.
"""

from gateway.core.errand import Errand
from gateway.core.image_tool import tool_model
from gateway.core.money import Cost, nothing
from gateway.core.plan import Target
from gateway.core.prices import Price, TokenPrice
from gateway.core.pricing import Purchase, attempt_cost
from gateway.core.seen import Reading
from gateway.core.table import RouteTable
from gateway.core.types import Facts, Outcome


def cost_of(target: Target, facts: Facts, table: RouteTable, outcome: Outcome, reading: Reading | None) -> Cost:
    """Give what an attempt cost that has ended, or is seen so far."""
    price = target.row.price
    if facts.errand is Errand.INPUT_TOKENS and isinstance(price, TokenPrice):
        return nothing(price.currency)
    return attempt_cost(
        Purchase(
            facts=target.facts or facts,
            outcome=outcome,
            price=price,
            tool_price=_tool_price(target, facts, table, reading),
            reading=reading,
        )
    )


def quote_of(target: Target, facts: Facts, table: RouteTable) -> Cost:
    """Give what an attempt may cost at most, as far as its price tells."""
    return cost_of(target, facts, table, Outcome.UNKNOWN, None)


def _tool_price(target: Target, facts: Facts, table: RouteTable, reading: Reading | None) -> Price | None:
    row = tool_model(facts, target.channel, table).row
    if row is None and reading is not None and reading.tool_model is not None:
        named = reading.tool_model
        rows = target.channel.rows.values()
        row = next((one for one in rows if named in (one.model, one.name)), None)
    return row.price if row is not None else None
