"""Virtual keys: readable, unguessable, and known only by their HMAC."""

from __future__ import annotations

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.contracts.tokens import MAX_LENGTH, MIN_LENGTH, PREFIX, new_token, public_id_of, token_digest


def test_a_new_token_carries_its_public_id_and_differs_each_time() -> None:
    tokens = [new_token() for _ in range(200)]
    assert len({public for public, _ in tokens}) == len({token for _, token in tokens}) == 200
    for public, token in tokens:
        assert token.startswith(f"{PREFIX}{public}-")
        assert public_id_of(token) == public
        assert MIN_LENGTH <= len(token) <= MAX_LENGTH
        assert token.isascii() and token.isprintable()


@pytest.mark.parametrize(
    "token", ["", "bk-", "sk-abc", "bk-short-x", "bk-abcdefghij-", "bk-abcdefghij", "bk-ABCDEFGHIJ-x", "bk-abcdefghi1-x"]
)
def test_a_foreign_token_has_no_public_id(token: str) -> None:
    assert public_id_of(token) is None


@given(st.text())
def test_any_text_is_looked_at_without_an_error(token: str) -> None:
    found = public_id_of(token)
    assert found is None or token.startswith(f"{PREFIX}{found}-")


@given(st.binary(min_size=1), st.binary(), st.binary())
def test_a_digest_is_the_hmac_of_the_whole_token(pepper: bytes, one: bytes, other: bytes) -> None:
    assert token_digest(pepper, one) == hmac.new(pepper, one, "sha256").digest()
    assert (token_digest(pepper, one) == token_digest(pepper, other)) == (one == other)
