"""How a request fits one target: the words it is asked in there, and the rules of the contract it breaks all the same.

Rules: translation goes before the check, so nothing is refused that can be said in other words. In a Responses request
only the image tool's options are held against a contract: that of the tool's own row, else the text row's.
"""

from msgspec import Struct

from gateway.core.contracts import Violation, check
from gateway.core.legacy import Legacy
from gateway.core.terms import Contract, Mode
from gateway.core.translation import Change, translate
from gateway.core.types import Facts, Surface


class Fit(Struct, frozen=True, kw_only=True):
    """A request as one target is asked it: ``facts`` and ``changes`` of the translation, ``violations`` of the rest."""

    contract: Contract
    facts: Facts
    changes: tuple[Change, ...] = ()
    violations: tuple[Violation, ...] = ()

    @property
    def is_barred(self) -> bool:
        """Whether the target must not be asked."""
        return bool(self.violations) and self.contract.mode is Mode.ENFORCE


def fit(facts: Facts, contract: Contract, legacy: Legacy) -> Fit:
    """Hold a request against the contract of a target."""
    if facts.surface is Surface.RESPONSES and facts.tool is None:
        return Fit(contract=contract, facts=facts)
    said = translate(facts, contract, legacy)
    return Fit(contract=contract, facts=said.facts, changes=said.changes, violations=check(said.facts, contract))
