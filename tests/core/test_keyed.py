import hashlib
import hmac

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.keyed import Keyed


@given(st.binary(max_size=200), st.lists(st.binary(max_size=300), max_size=3))
def test_it_is_the_hmac_of_the_standard_library_however_often_it_is_asked(key: bytes, texts: list[bytes]) -> None:
    keyed = Keyed(key)
    for text in (*texts, *texts):
        assert keyed.digest(text) == hmac.digest(key, text, hashlib.sha256)


def test_its_repr_says_nothing_of_the_key() -> None:
    assert "6b6b" not in repr(Keyed(b"kk")) + repr(Keyed(b"kk")._inner)
