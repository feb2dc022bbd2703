"""The shipped, dated figures of when a target rests: ``catalog/health.yaml`` -> the rules of ``core.health``."""

from collections.abc import Mapping

from pydantic import Field

from gateway.config.catalog import Dated, read_file, shipped
from gateway.config.forms import Count, Duration, Strict
from gateway.core.health import Rule, Trouble


class _RuleBlock(Strict):
    after: Count = Field(default=1, description="Failures that bring the bar down.")
    within: Duration | None = Field(default=None, description="How close together they must be.")
    bar: Duration = Field(description="How long the first bar lasts.")
    cap: Duration = Field(description="How long the longest bar lasts.")
    jitter: float = Field(default=0.0, ge=0, lt=1, description="The part of a bar that is left to chance.")
    probes: bool = Field(default=True, description="Whether one attempt has to show that it is over.")


class _HealthFile(Dated):
    troubles: dict[Trouble, _RuleBlock] = Field(
        min_length=len(Trouble), description="Trouble -> when it bars a target, and for how long."
    )


def trouble_rules() -> Mapping[Trouble, Rule]:
    """Read the shipped ``health.yaml``. Raises ``CatalogBroken``."""
    return read_troubles(shipped("health.yaml"), "health.yaml")


def read_troubles(data: bytes, name: str) -> Mapping[Trouble, Rule]:
    """Read a health file: a rule for every trouble. Raises ``CatalogBroken``."""
    file = read_file(data, name, _HealthFile)
    return {
        trouble: Rule(
            after=block.after,
            within_s=block.within,
            bar_s=block.bar,
            cap_s=block.cap,
            jitter=block.jitter,
            probes=block.probes,
        )
        for trouble, block in file.troubles.items()
    }
