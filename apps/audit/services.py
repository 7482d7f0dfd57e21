"""Writing the audit trail.

Invariant: seq n+1 is given only after the transaction holding seq n has committed or rolled back, and is given in the
same transaction that holds the change. The trigger ``audit_seal`` takes the chain's advisory lock at COMMIT, so changes
never wait for each other before that, and a lock taken earlier (publishing's) can never be waited for while it is held.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import models, transaction
from django.utils import timezone

from apps.audit.actors import Actor
from apps.audit.models import AuditEvent
from apps.audit.rules import clean_text, redact


@transaction.atomic
def audit_record(
    *,
    actor: Actor,
    action: str,
    subject_kind: str,
    subject_id: object,
    subject_name: str = "",
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    reason: str = "",
    config_version: int | None = None,
) -> AuditEvent:
    """Append one event to the chain, in the change's own transaction.

    action: ``<subject>.<verb>``, as in ``apps.accounts.rules.PERMISSIONS`` where a person needs a permission for it.
    before, after: the fields that changed; values under secret names are blanked (``apps.audit.rules``).
    Raises TypeError when a value has no JSON form.
    """
    event = _event(actor, action, subject_kind, subject_id, subject_name, before, after, reason, config_version)
    event.save(force_insert=True)
    return event


def change_record(
    actor: Actor, action: str, subject: models.Model, before: Mapping[str, Any], after: Mapping[str, Any], reason: str = ""
) -> AuditEvent:
    """``audit_record`` of a change of one row: its kind is what ``action`` begins with, its name its ``name``."""
    return audit_record(
        actor=actor,
        action=action,
        subject_kind=action.partition(".")[0],
        subject_id=subject.pk,
        subject_name=subject.name,  # type: ignore[attr-defined]
        before=before,
        after=after,
        reason=reason,
    )


@dataclass(frozen=True, slots=True)
class Recorded:
    """One of many things that were changed alike: its id and name, and the fields that changed."""

    subject_id: str
    subject_name: str
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None


@transaction.atomic
def audit_record_many(*, actor: Actor, action: str, events: Iterable[Recorded], reason: str = "") -> int:
    """``audit_record`` of many things at once, each with its own link in the chain; the kind is what ``action`` begins with. How many."""
    rows = [
        _event(actor, action, action.partition(".")[0], event.subject_id, event.subject_name, event.before, event.after, reason, None)
        for event in events
    ]
    AuditEvent.objects.bulk_create(rows, batch_size=1_000)
    return len(rows)


def _event(
    actor: Actor,
    action: str,
    subject_kind: str,
    subject_id: object,
    subject_name: str,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
    reason: str,
    config_version: int | None,
) -> AuditEvent:
    """A link that is not in the chain yet."""
    event = AuditEvent(
        at=timezone.now(),
        actor_kind=actor.kind,
        actor_id=clean_text(actor.id),
        actor_name=clean_text(actor.name),
        actor_role=clean_text(actor.role),
        actor_address=clean_text(actor.address),
        actor_agent=clean_text(actor.agent, 300),
        actor_via=clean_text(actor.via, 200),
        action=action,
        subject_kind=subject_kind,
        subject_id=clean_text(str(subject_id)),
        subject_name=clean_text(subject_name),
        before=None if before is None else redact(before),
        after=None if after is None else redact(after),
        reason=clean_text(reason, 2000),
        config_version=config_version,
    )
    event.content_hash = event.compute_content_hash()
    return event
