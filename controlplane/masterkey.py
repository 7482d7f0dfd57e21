"""What lies encrypted in Postgres: MultiFernet under the master key.

``BULKHEAD_MASTER_KEY`` may be several keys separated by commas: the first encrypts, all decrypt, so that a key can be rotated.
"""

from __future__ import annotations

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from controlplane import env


class VaultError(RuntimeError):
    """A key is missing or does not open what is stored; the message names the setting."""


def master_keys() -> list[bytes]:
    """Every master key, the one that encrypts first. Raises VaultError where there is none."""
    raw = env.secret("BULKHEAD_MASTER_KEY", "master_key")
    if not raw:
        raise VaultError("there is no master key: set BULKHEAD_MASTER_KEY, or start once with `manage.py up`, which makes one")
    return [key.strip() for key in raw.replace(b"\n", b",").split(b",") if key.strip()]


def encrypt(value: str) -> str:
    """The value under the master key."""
    return _fernet().encrypt(value.encode()).decode()


def decrypt(token: str) -> str:
    """What ``encrypt`` was given. Raises VaultError where no master key opens it."""
    try:
        return _fernet().decrypt(token.encode()).decode()
    except InvalidToken:
        raise VaultError("BULKHEAD_MASTER_KEY does not open what is stored: restore the key it was stored under, or set it anew") from None


def _fernet() -> MultiFernet:
    try:
        return MultiFernet([Fernet(key) for key in master_keys()])
    except ValueError:
        raise VaultError("BULKHEAD_MASTER_KEY is not a Fernet key: 32 bytes as URL-safe base64") from None
