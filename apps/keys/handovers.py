"""Secrets on their way to one person: encrypted at rest, given out once, gone after a week.

Invariant: a secret leaves here at most once. Fetching locks the row, empties it and gives the secrets in one transaction; what is
empty gives nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.services import audit_record
from apps.keys import services
from apps.keys.models import KeyHandover, KeyRequest, VirtualKey
from controlplane.masterkey import decrypt, encrypt

if TYPE_CHECKING:
    from apps.accounts.models import Organisation

LIFETIME = timedelta(days=7)


class Secret(NamedTuple):
    """One key's secret. key_id: as text."""

    key_id: str
    name: str
    public_id: str
    token: str


@transaction.atomic
def handover_create(
    *,
    actor: Actor,
    organisation: Organisation,
    secrets: Sequence[tuple[VirtualKey, str]],
    person_id: str,
    request: KeyRequest | None = None,
) -> KeyHandover:
    """Keep the secrets of keys that were made in this transaction for one person, a week at most. For services that asked for the
    permission to make the keys."""
    sealed = encrypt(json.dumps([[str(key.pk), key.name, key.public_id, token] for key, token in secrets]))
    return KeyHandover.objects.create(
        organisation=organisation,
        person_id=person_id,
        request=request,
        key_ids=[str(key.pk) for key, _ in secrets],
        count=len(secrets),
        sealed=sealed,
        expires_at=timezone.now() + LIFETIME,
    )


@transaction.atomic
def handover_fetch(*, actor: Actor, handover: KeyHandover) -> list[Secret]:
    """The secrets, this once. Raises ServiceError for anybody but the person they are for, and where they were fetched or expired."""
    row = KeyHandover.objects.select_for_update().get(pk=handover.pk)
    if actor.kind == "user" and actor.id != row.person_id:
        raise ServiceError("these secrets are for somebody else: ask for a key of your own")
    if row.fetched_at is not None:
        raise ServiceError("these secrets were fetched already, and are kept nowhere: replace the secret of a key to get a new one")
    if not row.sealed or row.expires_at <= timezone.now():
        raise ServiceError("these secrets were not fetched in time and are gone: ask for the key again")
    found = [Secret(*values) for values in json.loads(decrypt(row.sealed))]
    row.sealed, row.fetched_at = "", timezone.now()
    row.save(update_fields=["sealed", "fetched_at"])
    _record(actor, "key_handover.fetch", row, {"count": row.count})
    return found


@transaction.atomic
def handovers_expire(*, now: datetime | None = None) -> int:
    """Erase what nobody fetched in time, and revoke its keys: nobody can have their secrets. The number of handovers; safe to run twice."""
    now = now or timezone.now()
    actor = Actor.system("keys")
    late = list(KeyHandover.objects.select_for_update(skip_locked=True).filter(fetched_at=None, expires_at__lte=now).exclude(sealed=""))
    for row in late:
        row.sealed = ""
        row.save(update_fields=["sealed"])
        # A key that got another secret since is in somebody's hands: it stays.
        for key in VirtualKey.objects.filter(pk__in=row.key_ids, state="active").exclude(digest_rows__created_at__gt=row.created_at):
            services.key_revoke(actor=actor, key=key, reason="its secret was not fetched within a week")
        _record(actor, "key_handover.expire", row, {"count": row.count})
    return len(late)


def handovers_open(*, organisation: Organisation, person_id: str) -> QuerySet[KeyHandover]:
    """Secrets that wait for a person, the oldest first."""
    rows = KeyHandover.objects.filter(organisation=organisation, person_id=person_id, fetched_at=None, expires_at__gt=timezone.now())
    return rows.exclude(sealed="").order_by("created_at")


def _record(actor: Actor, action: str, row: KeyHandover, after: dict[str, object]) -> None:
    audit_record(actor=actor, action=action, subject_kind="key_handover", subject_id=row.pk, subject_name=str(row), after=after)
