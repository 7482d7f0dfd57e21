"""Deleting stored responses: by time, and by a person's word."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import connection, transaction

from apps.audit.errors import ServiceError
from apps.audit.services import audit_record
from apps.responses.models import StoredResponse

if TYPE_CHECKING:
    from apps.audit.actors import Actor

BATCH = 5_000
"""Rows deleted in one transaction: proxies put and read meanwhile."""


def responses_expire() -> int:
    """Deletes what is past its time; how many. Safe to run twice at once: each run skips rows that another one holds."""
    gone = 0
    while True:
        with connection.cursor() as cursor:
            cursor.execute(
                "DELETE FROM responses_storedresponse WHERE ctid = ANY (ARRAY("
                "SELECT ctid FROM responses_storedresponse WHERE expires_at <= clock_timestamp() LIMIT %s FOR UPDATE SKIP LOCKED))",
                [BATCH],
            )
            gone += cursor.rowcount
            if cursor.rowcount < BATCH:
                return gone


@transaction.atomic
def responses_delete(*, actor: Actor, reason: str, key_id: str = "", organisation: str = "") -> int:
    """Deletes everything that a key, or all keys of an organisation, keep; how many. Audited, without a word of their contents."""
    if bool(key_id) == bool(organisation):
        raise ServiceError("name a key or an organisation, one of them")
    if not reason.strip():
        raise ServiceError("say why they are deleted")
    rows = StoredResponse.objects.filter(key_id=key_id) if key_id else StoredResponse.objects.filter(organisation=organisation)
    gone, _ = rows.delete()
    audit_record(
        actor=actor,
        action="responses.deleted",
        subject_kind="key" if key_id else "organisation",
        subject_id=key_id or organisation,
        reason=reason,
        after={"deleted": gone},
    )
    return gone
