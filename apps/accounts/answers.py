"""A write that is sent again is done once: its first sending claims its key in the transaction of the change.

The second waits at the unique constraint until the first has committed, then gets the same answer; when the first rolled back,
the second does it. What was refused is not kept, so a corrected write may carry the same key.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.db import transaction
from django.utils import timezone

from apps.accounts.token_models import StoredAnswer
from apps.audit.errors import ServiceError
from controlplane import env

KEPT = timedelta(hours=24)
KEY_LENGTH = 200


class KeyReused(ServiceError):
    """An ``Idempotency-Key`` came with another request than the first time."""


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer as it was given the first time."""

    status: int
    headers: dict[str, str]
    body: bytes


def fingerprint(*, method: str, path: str, body: bytes) -> str:
    """What makes two writes the same one."""
    return hashlib.sha256(b"\x00".join((method.encode(), path.encode(), body))).hexdigest()


@transaction.atomic
def answer_claim(*, owner: UUID, key: str, fingerprint: str) -> Kept | None:
    """The answer that was given to this write before; None: this is its first sending. To be called in the change's transaction.

    Raises KeyReused where the key came with another request, ServiceError for a key that is none.
    """
    if not key or len(key) > KEY_LENGTH or not key.isprintable():
        raise ServiceError(f"An Idempotency-Key has 1 to {KEY_LENGTH} printable characters, such as a UUID.", "Idempotency-Key")
    now = timezone.now()
    StoredAnswer.objects.filter(owner=owner, key=key, at__lt=now - KEPT).delete()
    StoredAnswer.objects.bulk_create([StoredAnswer(owner=owner, key=key, fingerprint=fingerprint, at=now)], ignore_conflicts=True)
    # ON CONFLICT DO NOTHING returns no id: only the row itself tells whether it has been answered.
    row = StoredAnswer.objects.select_for_update().get(owner=owner, key=key)
    if row.fingerprint != fingerprint:
        raise KeyReused("This Idempotency-Key came with another request within the last 24 hours: use a new key for each write.")
    if not row.status:
        return None
    return Kept(row.status, row.headers, _open(row.body))


def answer_keep(*, owner: UUID, key: str, status: int, headers: dict[str, str], body: bytes) -> None:
    """Keep the answer to a claimed write, in the same transaction."""
    sealed = _fernet().encrypt(body).decode()
    StoredAnswer.objects.filter(owner=owner, key=key).update(status=status, headers=headers, body=sealed)


def answers_prune() -> int:
    """Forget answers older than ``KEPT``; returns how many."""
    return StoredAnswer.objects.filter(at__lt=timezone.now() - KEPT).delete()[0]


def _open(body: str) -> bytes:
    try:
        return _fernet().decrypt(body.encode())
    except InvalidToken:
        raise ServiceError(
            "The answer to this Idempotency-Key was kept under another master key: read what the first sending did.", "Idempotency-Key"
        ) from None


def _fernet() -> MultiFernet:
    raw = env.secret("BULKHEAD_MASTER_KEY", "master_key") or b""
    keys = [key.strip() for key in raw.replace(b"\n", b",").split(b",") if key.strip()]
    if not keys:
        raise ServiceError("An Idempotency-Key needs BULKHEAD_MASTER_KEY: set it, or start once with `manage.py up`, which makes one.")
    return MultiFernet([Fernet(key) for key in keys])
