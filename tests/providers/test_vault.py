"""Secrets at rest and sealed."""

from __future__ import annotations

import os

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from apps.providers import vault


@given(st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=200))
def test_a_sealed_secret_opens_with_plain_fernet_and_is_the_same_twice(value: str) -> None:
    sealed = vault.seal("id", value)
    assert Fernet(os.environ["BULKHEAD_SEAL_KEY"]).decrypt(sealed).decode() == value
    assert vault.seal("id", value) == sealed
    assert vault.seal("other", value) != sealed


def test_rotation_of_the_master_key(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = vault.encrypt("sk-1")
    old, new = os.environ["BULKHEAD_MASTER_KEY"], Fernet.generate_key().decode()
    monkeypatch.setenv("BULKHEAD_MASTER_KEY", f"{new},{old}")
    assert vault.decrypt(stored) == "sk-1"
    again = vault.encrypt("sk-1")
    monkeypatch.setenv("BULKHEAD_MASTER_KEY", new)
    assert vault.decrypt(again) == "sk-1"
    with pytest.raises(vault.VaultError, match="BULKHEAD_MASTER_KEY"):
        vault.decrypt(stored)


@pytest.mark.parametrize("name", ["BULKHEAD_MASTER_KEY", "BULKHEAD_SEAL_KEY"])
@pytest.mark.parametrize("value", ["short", "", "!" * 44])
def test_a_bad_key_names_its_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: object, name: str, value: str) -> None:
    monkeypatch.setenv("BULKHEAD_DATA_DIR", str(tmp_path))
    monkeypatch.setenv(name, value)
    with pytest.raises(vault.VaultError, match=name):
        vault.encrypt("x") if "MASTER" in name else vault.seal("id", "x")
