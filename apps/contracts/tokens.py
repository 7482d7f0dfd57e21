"""Virtual keys on the wire: ``bk-<public id>-<secret>``; only an HMAC of the whole token is stored.

A key imported from another gateway keeps its value, whatever its shape: lookups go by the HMAC
of the whole token, never by its parts. The HMAC's key (the *pepper*) belongs to the installation.
Where that gateway kept a bare SHA-256 of the token and nobody has the token itself, the key is found by that.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

PREFIX = "bk-"
PUBLIC_ID_LENGTH = 10
_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"  # no l, o, 0, 1: read aloud without mistakes
MIN_LENGTH, MAX_LENGTH = 12, 256
SECRET_PRESENT, SECRET_REPLACED = "secret:present", "secret:replaced"
"""What the flags of a request's record say while two secrets open its key: which of them opened it."""
_FOREIGN = b"sha256:"


def new_token(public_id: str = "") -> tuple[str, str]:
    """A fresh ``(public_id, token)``; the secret part carries 256 random bits. ``public_id``: of the key that gets another secret."""
    public_id = public_id or "".join(secrets.choice(_ALPHABET) for _ in range(PUBLIC_ID_LENGTH))
    return public_id, f"{PREFIX}{public_id}-{secrets.token_urlsafe(32)}"


def public_id_of(token: str) -> str | None:
    """The public id inside one of our own tokens; None for a token of a foreign shape."""
    if not token.startswith(PREFIX):
        return None
    public_id, dash, secret = token[len(PREFIX) :].partition("-")
    if not dash or not secret or len(public_id) != PUBLIC_ID_LENGTH or any(c not in _ALPHABET for c in public_id):
        return None
    return public_id


def token_digest(pepper: bytes, token: bytes) -> bytes:
    """HMAC-SHA256 of the whole token: the only form in which a key is stored or looked up."""
    return hmac.digest(pepper, token, "sha256")


def foreign_name(token: bytes) -> bytes:
    """By what a key is found whose token came from another gateway as a bare SHA-256: tagged, so that it is never taken for an HMAC."""
    return _FOREIGN + hashlib.sha256(token).digest()


def foreign_name_of(hexadecimal: str) -> bytes:
    """``foreign_name`` of the token whose hexadecimal SHA-256 this is. Raises ValueError."""
    digest = bytes.fromhex(hexadecimal)
    if len(digest) != 32:
        raise ValueError("a SHA-256 has 32 bytes")
    return _FOREIGN + digest
