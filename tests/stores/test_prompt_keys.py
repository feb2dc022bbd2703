"""One key for prompts on all servers of a ledger, or the truth that there is not."""

from pathlib import Path

import pytest
from sqlalchemy import text

from gateway.prompt_key import prompt_key
from gateway.stores.ledger_sql import SqlLedger
from gateway.stores.prompt_keys import KEY_BYTES, agree
from gateway.stores.refusals import LedgerRefused
from tests.stores.conftest import beside

OWN, OTHER = b"a" * KEY_BYTES, b"b" * KEY_BYTES


def test_the_first_server_makes_it_and_the_others_take_it(ledger: SqlLedger, url: str) -> None:
    first = agree(url, None)
    assert first.is_alike
    assert len(first.key or b"") == KEY_BYTES
    assert agree(url, None) == agree(url, first.key) == first
    differs = agree(url, OTHER)
    assert (differs.key, differs.is_alike) == (OTHER, False)


def test_a_key_that_was_given_stays_out_of_the_ledger(ledger: SqlLedger, url: str) -> None:
    assert agree(url, OWN).is_alike
    with beside(url) as connection:
        [row] = connection.execute(text("SELECT * FROM prompt_keys")).all()
    assert OWN.hex() not in str(row)
    assert OWN not in str(row).encode()
    assert agree(url, OWN).is_alike
    assert not agree(url, OTHER).is_alike
    without = agree(url, None)
    assert (without.key, without.is_alike) == (None, False)


def test_a_ledger_that_cannot_be_asked_is_a_refusal(url: str) -> None:
    with pytest.raises(LedgerRefused):
        agree(url, None)  # it has no tables


def test_a_file_is_made_only_where_no_ledger_is_shared(ledger: SqlLedger, url: str, kind: str, tmp_path: Path) -> None:
    one, other = tmp_path / "one.key", tmp_path / "other.key"
    keys = {prompt_key(file, url).key for file in (one, other, one)}
    assert len(keys) == (2 if kind == "sqlite" else 1)
    assert one.exists() is (kind == "sqlite")
    assert "key=" not in repr(prompt_key(one, url))


def test_a_server_whose_file_is_missing_keeps_a_key_of_its_own(ledger: SqlLedger, url: str, tmp_path: Path) -> None:
    agree(url, OWN)
    mine = [prompt_key(tmp_path / "one.key", url) for _ in range(2)]
    assert mine[0].key == mine[1].key != OWN
    assert (tmp_path / "one.key").read_bytes() == mine[0].key
