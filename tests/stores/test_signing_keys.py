"""The keys of pictures' addresses, shared by all servers of a ledger."""

from datetime import UTC, datetime, timedelta

import pytest

from gateway.core.assets import AssetId
from gateway.ports import LedgerUnavailable
from gateway.stores.ledger_sql import SqlLedger
from gateway.stores.signing_keys import MOST, NOTICE, SigningKeys, open_signing_keys

NAME = AssetId("ast_" + "0" * 32)


def end() -> datetime:
    return datetime.now(UTC) + timedelta(days=1)


def opens(keys: SigningKeys, token: str) -> bool:
    keys.reread()
    return keys.signer().open(token, datetime.now(UTC)) is not None


def test_all_servers_of_a_ledger_have_the_same_key(ledger: SqlLedger, url: str) -> None:
    one, other = open_signing_keys(url), open_signing_keys(url)
    with pytest.raises(LedgerUnavailable):
        one.signer()
    one.reread()
    assert opens(other, one.signer().sign(NAME, end()))


def test_a_new_key_signs_after_its_notice_and_older_addresses_stay_good(ledger: SqlLedger, url: str) -> None:
    keys, behind = open_signing_keys(url), open_signing_keys(url)
    keys.reread()
    behind.reread()
    before = keys.signer().sign(NAME, end())
    assert keys.rotate() == 2
    keys.reread()
    after = keys.signer().sign(NAME, end())
    assert behind.signer().open(after, datetime.now(UTC)) is not None  # one that has not read it yet takes it still
    assert opens(keys, before)
    assert timedelta(seconds=60) < NOTICE


def test_dropping_ends_every_older_address_at_once(ledger: SqlLedger, url: str) -> None:
    keys = open_signing_keys(url)
    keys.reread()
    before = keys.signer().sign(NAME, end())
    assert keys.rotate(drop=True) == 1
    assert not opens(keys, before)
    assert opens(keys, keys.signer().sign(NAME, end()))


def test_no_more_keys_are_kept_than_a_token_should_be_held_against(ledger: SqlLedger, url: str) -> None:
    keys = open_signing_keys(url)
    counts = [keys.rotate() for _ in range(MOST + 3)]
    assert counts[-1] == MOST
