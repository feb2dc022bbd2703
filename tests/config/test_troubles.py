"""The shipped figures of when a target rests."""

import pytest

from gateway.config.catalog import CatalogBroken
from gateway.config.troubles import read_troubles, trouble_rules
from gateway.core.health import RULES


def test_the_shipped_figures_are_those_the_reducer_is_tested_with() -> None:
    assert trouble_rules() == RULES


def test_a_file_without_a_rule_for_each_trouble_is_broken() -> None:
    with pytest.raises(CatalogBroken, match="troubles"):
        read_troubles(
            b"as_of: 2026-11-20\nsources: [here]\ntroubles: {ejected: {after: 5, bar: 30s, cap: 5m, jitter: 0.2}}\n",
            "x",
        )
