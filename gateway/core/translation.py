"""What of a request is said in other words for one target, because its contract says so; and what is left out.

Rules: ``open`` gets the caller's words. A parameter is dropped only when the contract names it under ``drops``, and
``response_format`` only where it names a form that the gateway gives itself; a value is translated only when the
contract has a rule for it, does not take it, and takes its successor. Each change has its stamp, so that nobody has to
guess. The body itself is changed by splices (``core/edits``).
"""

from collections.abc import Iterator, Sequence

from msgspec import Struct
from msgspec.structs import replace

from gateway.core.delivery import FORMS, RESPONSE_FORMAT
from gateway.core.legacy import Legacy
from gateway.core.size_rules import broken_rule
from gateway.core.terms import Contract, parameters
from gateway.core.types import Facts


class Change(Struct, frozen=True, kw_only=True):
    """A parameter that is sent with another value, or (``text`` is ``None``) not at all.

    ``is_downgrade``: less is asked than the caller did; such a parameter is put in where the caller left it out.
    """

    param: str
    text: str | None = None
    is_downgrade: bool = False

    @property
    def stamp(self) -> str:
        """The word for ``x-route-warnings``."""
        kind = "downgraded" if self.is_downgrade else "dropped" if self.text is None else "translated"
        return f"{kind}:{self.param}"


class Translation(Struct, frozen=True, kw_only=True):
    """The request as one target is asked, and how that differs from what the caller wrote."""

    facts: Facts
    changes: tuple[Change, ...] = ()


def translate(facts: Facts, contract: Contract, legacy: Legacy) -> Translation:
    """Say a request in the words of a contract."""
    if contract.is_open:
        return Translation(facts=facts)
    changes = tuple(_changes(facts, contract, legacy))
    return Translation(facts=changed(facts, changes), changes=changes) if changes else Translation(facts=facts)


def _changes(facts: Facts, contract: Contract, legacy: Legacy) -> Iterator[Change]:
    for name, value in parameters(facts).items():
        if name in contract.drops:
            if name != RESPONSE_FORMAT or value in FORMS:  # a form that nobody can give is not taken for another
                yield Change(param=name)
        elif isinstance(value, str):
            now = legacy.values.get(name, {}).get(value)
            if now is not None and not _takes(contract, name, value) and _takes(contract, name, now):
                yield Change(param=name, text=now)


def _takes(contract: Contract, name: str, value: str) -> bool:
    if name == "size":
        return contract.size is None or broken_rule(value, contract.size) is None
    words = contract.words.get(name)
    return words is None or value in words


def changed(facts: Facts, changes: Sequence[Change]) -> Facts:
    """Give a request with its changes."""
    texts = {change.param: change.text for change in changes}
    return replace(
        facts,
        size=texts.get("size", facts.size),
        quality=texts.get("quality", facts.quality),
        background=texts.get("background", facts.background),
        output_format=texts.get("output_format", facts.output_format),
        moderation=texts.get("moderation", facts.moderation),
        input_fidelity=texts.get("input_fidelity", facts.input_fidelity),
        complexity=texts.get("complexity", facts.complexity),
        response_format=texts.get("response_format", facts.response_format),
        style=texts.get("style", facts.style),
    )
