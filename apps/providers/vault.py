"""Secrets at rest and on their way to the proxies.

At rest: under the master key (``controlplane.masterkey``). To the proxies: a Fernet token under the seal key (``BULKHEAD_SEAL_KEY``), which
is all that a proxy holds.

Sealing is deterministic: the initialisation vector is a keyed digest of the credential's id and value. Building the same
config twice then gives the same bytes, so that nothing is published where nothing changed; what it shows is only that a
credential was set to a value it had before.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

from cryptography.hazmat.primitives import hashes, padding
from cryptography.hazmat.primitives import hmac as hazmat_hmac
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from controlplane import env
from controlplane.masterkey import VaultError, decrypt, encrypt, master_keys

__all__ = ["VaultError", "decrypt", "digest", "encrypt", "seal"]


def digest(value: str) -> str:
    """Hex HMAC that shows whether a value changed; useless without the master key."""
    key = hashlib.blake2b(b"credential digest", key=master_keys()[0][:64], digest_size=32).digest()
    return hmac.new(key, value.encode(), hashlib.sha256).hexdigest()


def seal(credential_id: str, value: str) -> str:
    """A Fernet token (version 0x80, time 0) under the seal key; equal input gives equal output."""
    raw = env.secret("BULKHEAD_SEAL_KEY", "seal_key")
    if not raw:
        raise VaultError("there is no seal key: set BULKHEAD_SEAL_KEY, or start once with `manage.py up`, which makes one")
    try:
        key = base64.urlsafe_b64decode(raw)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise VaultError("BULKHEAD_SEAL_KEY is not a Fernet key: 32 bytes as URL-safe base64")
    plain = value.encode()
    signing, encryption = key[:16], key[16:]
    vector = hmac.new(key, b"seal\x00" + credential_id.encode() + b"\x00" + plain, hashlib.sha256).digest()[:16]
    padder = padding.PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES(encryption), modes.CBC(vector)).encryptor()
    body = encryptor.update(padder.update(plain) + padder.finalize()) + encryptor.finalize()
    head = b"\x80" + bytes(8) + vector + body
    tag = hazmat_hmac.HMAC(signing, hashes.SHA256())
    tag.update(head)
    return base64.urlsafe_b64encode(head + tag.finalize()).decode()
