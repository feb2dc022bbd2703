"""Tokens of pictures: what opens, what does not, and that there is one spelling of each."""

import base64
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.assets import AssetId
from gateway.core.signing import KEY_BYTES, TOKEN_CHARS, Signer

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
END = NOW + timedelta(days=30)
NAME = AssetId("ast_" + "0123456789abcdef" * 2)
OLD, NEW = b"o" * KEY_BYTES, b"n" * KEY_BYTES
SIGNER = Signer([NEW, OLD])
TOKEN = SIGNER.sign(NAME, END)


def test_a_token_opens_its_picture_until_its_end() -> None:
    assert len(TOKEN) == TOKEN_CHARS
    opened = SIGNER.open(TOKEN, NOW)
    assert opened is not None
    assert (opened.asset_id, opened.expires) == (NAME, END)
    assert SIGNER.open(TOKEN, END - timedelta(seconds=1)) is not None
    assert SIGNER.open(TOKEN, END) is None


def test_the_newest_key_signs_and_all_of_them_verify() -> None:
    older = Signer([OLD]).sign(NAME, END)
    assert older != TOKEN
    assert SIGNER.open(older, NOW) is not None
    assert Signer([NEW]).open(older, NOW) is None
    assert Signer([NEW]).open(TOKEN, NOW) is not None


@pytest.mark.parametrize("at", range(TOKEN_CHARS))
def test_one_character_changed_opens_nothing(at: int) -> None:
    """Every bit of a token counts: no other spelling means the same bytes."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    others = (character for character in alphabet if character != TOKEN[at])
    assert all(SIGNER.open(TOKEN[:at] + character + TOKEN[at + 1 :], NOW) is None for character in others)


@pytest.mark.parametrize(
    "text",
    ["", "A", TOKEN[:-1], TOKEN + "A", TOKEN + "=", " " + TOKEN[1:], TOKEN[:-1] + "\n", "../" + TOKEN[3:], "\x00" * 64,
     "é" * 64, TOKEN.replace(TOKEN[0], "+", 1), "A" * 10_000],
)  # fmt: skip
def test_what_is_no_token_opens_nothing(text: str) -> None:
    assert SIGNER.open(text, NOW) is None


@given(st.text(max_size=80))
@settings(max_examples=200, deadline=None)
def test_arbitrary_text_opens_nothing(text: str) -> None:
    assert SIGNER.open(text, NOW) is None


@given(st.binary(min_size=48, max_size=48))
@settings(max_examples=100, deadline=None)
def test_arbitrary_bytes_open_nothing(data: bytes) -> None:
    assert SIGNER.open(base64.urlsafe_b64encode(data).decode(), NOW) is None


def test_only_pictures_are_signed_for_and_keys_are_not_shown() -> None:
    for name in ("req_" + "0" * 32, "ast_1", "../x"):
        with pytest.raises(ValueError, match="not the id"):
            SIGNER.sign(AssetId(name), END)
    with pytest.raises(ValueError, match="needs a key"):
        Signer([])
    assert "n" * 8 not in repr(SIGNER)
