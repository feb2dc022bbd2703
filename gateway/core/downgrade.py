"""A request asked again for less: which step of a route's ``downgrade`` comes next, and how a target is asked then.

Rules: a step is taken once, after its class of failure, in the order written; one that would not lower anything of this
request is passed over, so nobody who asked for little is given more. What was lowered stays lowered for whoever is
asked afterwards. A target is asked for less only as far as its contract takes the new values. Pure.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from msgspec.structs import replace

from gateway.core.fit import fit
from gateway.core.patience import patience_for
from gateway.core.pixels import pixels_of
from gateway.core.plan import Plan, Target
from gateway.core.purchase import quote_of
from gateway.core.table import Downgrade
from gateway.core.terms import parameters
from gateway.core.translation import Change, changed
from gateway.core.types import Facts, FailureClass, Surface

FINAL: Final = frozenset({FailureClass.CUT, FailureClass.CLIENT_GONE})
_RANKED: Final = frozenset({"quality", "size"})  # of these a step can only make less
_QUALITIES: Final[Mapping[str, int]] = MappingProxyType(
    {"low": 0, "medium": 1, "standard": 1, "high": 2, "hd": 2, "xhigh": 3, "max": 4}
)


def next_step_down(plan: Plan, taken: Sequence[int], kind: FailureClass) -> int | None:
    """Give the place of the step that follows a failure, after those that were ``taken``; ``None``: there is none."""
    if kind in FINAL or not plan.route.downgrade or _has_no_picture(plan.facts):
        return None
    facts = changed(plan.facts, changes_of(plan, taken))
    steps = enumerate(plan.route.downgrade)
    return next((at for at, step in steps if step.on is kind and at not in taken and _lowers(step, facts)), None)


def kinds_asked_again(plan: Plan) -> frozenset[FailureClass]:
    """Give the classes of failure after which the same target may be asked again, for less."""
    if _has_no_picture(plan.facts):
        return frozenset()
    steps = [step for step in plan.route.downgrade if step.stays]
    return frozenset(step.on for step in steps if _lowers(step, plan.facts) or not _RANKED.issuperset(dict(step.sets)))


def changes_of(plan: Plan, taken: Sequence[int]) -> tuple[Change, ...]:
    """Give what the steps that were taken change of the caller's request; the last word on a parameter stands."""
    facts, texts = plan.facts, dict[str, str]()
    for at in taken:
        found = _lowered(plan.route.downgrade[at], facts)
        texts |= found
        facts = changed(facts, _as_changes(found))
    return _as_changes(texts)


def asked_as(plan: Plan, place: int, taken: Sequence[int]) -> Target | None:
    """Give a target of the plan as it is asked after the steps; ``None``: its contract forbids what they set."""
    target = plan.targets[place]
    if not taken:
        return target
    changes = changes_of(plan, taken)
    facts = changed(plan.facts, changes)
    fitted = fit(facts, target.contract, plan.table.legacy)
    if fitted.is_barred:
        return None
    patience_s = target.channel.timeouts.patience_s
    if patience_s is None:
        patience_s = patience_for(facts, plan.table.patience)
    asked = replace(
        target,
        facts=fitted.facts,
        changes=_real((*changes, *fitted.changes), plan.facts),
        is_doubtful=bool(fitted.violations),
        patience_s=min(patience_s, plan.deadline_s),
    )
    return asked if target.quote is None else replace(asked, quote=quote_of(asked, plan.facts, plan.table))


def _real(changes: Sequence[Change], asked: Facts) -> tuple[Change, ...]:
    """Leave out what a translation brings back to the caller's own word."""
    given, last = parameters(asked), {change.param: change.text for change in changes}
    return tuple(change for change in changes if last[change.param] != given.get(change.param))


def _has_no_picture(facts: Facts) -> bool:
    return facts.surface is Surface.RESPONSES and facts.tool is None


def _as_changes(texts: Mapping[str, str]) -> tuple[Change, ...]:
    return tuple(Change(param=name, text=text, is_downgrade=True) for name, text in texts.items())


def _lowers(step: Downgrade, facts: Facts) -> bool:
    return bool(_lowered(step, facts))


def _lowered(step: Downgrade, facts: Facts) -> dict[str, str]:
    """Give those of a step's values that are less than what the request says."""
    given = parameters(facts)
    return {name: text for name, text in step.sets if _is_less(name, text, given.get(name))}


def _is_less(name: str, text: str, asked: object) -> bool:
    if name == "quality":
        return _rank(text) < _rank(asked)
    if name == "size":
        return (pixels_of(text) or 0) < (pixels_of(str(asked)) or float("inf"))
    return text != asked


def _rank(quality: object) -> int:
    """Rank a quality; what was left open, or is a word nobody knows here, may be the best."""
    return _QUALITIES.get(str(quality), len(_QUALITIES))
