"""What one request runs up on its key: the worst case it reserves before each attempt, and what it is charged.

Rules: the first attempt reserves the worst case of the whole plan; a later one reserves more only where attempts before
it have, or may have, used some of it up. Credits are charged for what the client got, and for nothing else. It lives as
long as its request and is written by the attempt loop only.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from msgspec import Struct

from gateway.core.agreement import Agreement, dearest
from gateway.core.charges import charged
from gateway.core.money import decimal
from gateway.core.plan import Target
from gateway.core.principal import Principal
from gateway.core.record import AttemptRecord
from gateway.core.seen import Reading
from gateway.core.types import Facts
from gateway.ports import AttemptIntent, Hold, Refused

GRACE_S: Final = 60.0  # how long after a request's deadline the clock lets go of what it holds


class Tab(Struct, kw_only=True):
    """One request's account; ``held_micro``: taken of its key's budget until now."""

    agreement: Agreement
    principal: Principal
    held_micro: int = 0

    def hold(self, intent: AttemptIntent, before: Sequence[AttemptRecord]) -> Hold | None:
        """Say what is to be reserved with an attempt, when these were made before it."""
        agreed, caller = self.agreement, self.principal
        if caller.key_id is None or (agreed.credits is None and agreed.micro is None):
            return None
        micro = agreed.micro if not before else self._more(intent, before)
        if before and not micro:
            return None
        self.held_micro += micro or 0
        budget = caller.budget
        return Hold(
            key_id=caller.key_id,
            expires=intent.started + timedelta(seconds=agreed.plan.deadline_s + GRACE_S),
            credits=None if before else agreed.credits,
            micro=micro,
            currency=None if budget is None else budget.currency,
            window_no=0 if budget is None else budget.window(intent.started),
        )

    def lacking(self, refused: Refused, hold: Hold, facts: Facts, target: Target | None) -> str:
        """Say what was to be held, by which target, and what is left; nothing where the books do not tell.

        ``target``: of an attempt after the first, which alone is held for.
        """
        in_credits = refused.code == "insufficient_credits"
        amount = hold.credits if in_credits else hold.micro
        if refused.left is None or amount is None:
            return ""
        where = target.name if target else dearest(self.agreement, facts, self.principal, in_credits=in_credits)
        if in_credits:
            return f"up to {amount} credits, by {where}, and {refused.left} are left. Nothing was sent"
        more, then = (" more", "") if target else ("", ". Nothing was sent")
        left = f"{decimal(refused.left)} {hold.currency}"
        return f"up to {decimal(amount)} {hold.currency}{more}, by {where}, and {left} of the budget is left{then}"

    def _more(self, intent: AttemptIntent, before: Sequence[AttemptRecord]) -> int | None:
        if self.agreement.micro is None:
            return None
        spent = sum(one.cost.amount_micro or 0 for one in before if one.cost is not None)
        quoted = intent.quote.amount_micro if intent.quote is not None else None
        return max(0, spent + (quoted or 0) - self.held_micro)

    def credits(self, facts: Facts, given: Reading | None, target: Target | None) -> int | None:
        """Give what the key is charged for what its client got; absent where the route charges no credits."""
        charge = self.agreement.plan.route.charge
        if charge is None or self.agreement.credits is None:
            return None
        return 0 if target is None else charged(charge, target, facts, given)
