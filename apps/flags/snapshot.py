"""Rows -> the section ``flags``, and back when a version is rolled back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import cast

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.contracts.snapshot import FlagFragment, FlagKind, FlagSubject, Fragment, Level
from apps.flags.models import Flag
from apps.flags.services import flag_delete, flag_set
from apps.publishing.registry import Section

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _build(ids: set[str] | None) -> dict[str, Fragment]:
    rows = Flag.objects.all() if ids is None else Flag.objects.filter(pk__in=ids)
    return {
        str(row.pk): FlagFragment(
            id=str(row.pk),
            name=row.name,
            organisation=str(row.organisation_id),
            kind=cast(FlagKind, row.kind),
            subject=cast(FlagSubject, row.subject_kind),
            subject_id=row.subject_id,
            on=row.on,
            reason=row.reason,
            until_ms=None if row.until is None else (row.until - _EPOCH) // timedelta(milliseconds=1),
            level=cast(Level, row.level),
            rules=row.rules,
            default=row.default,
            share=row.share,
            simulated_only=row.simulated_only,
            acknowledged=row.acknowledged,
        )
        for row in rows
    }


def _restore(*, actor: Actor, object_id: str, fragment: Fragment | None, reason: str) -> None:
    now = Flag.objects.select_related("owner", "organisation").filter(pk=object_id).first()
    if fragment is None:
        if now is not None:
            flag_delete(actor=actor, flag=now, reason=reason)
        return
    then = cast(FlagFragment, fragment)
    other = Flag.objects.filter(organisation_id=then.organisation, name=then.name).exclude(pk=object_id).first()
    if other is not None:
        # The name was given to a new flag since: that one did not exist in the version we return to.
        flag_delete(actor=actor, flag=other, reason=reason)
    flag_set(
        actor=actor,
        organisation=Organisation.objects.get(pk=then.organisation),
        name=then.name,
        kind=then.kind,
        subject_kind=then.subject,
        subject_id=then.subject_id,
        on=then.on,
        reason=then.reason,
        until=None if then.until_ms is None else _EPOCH + timedelta(milliseconds=then.until_ms),
        owner=now.owner if now else None,
        purpose=now.purpose if now else "",
        level=then.level,
        rules=then.rules,
        default=then.default,
        runbook=now.runbook if now else "",
        expires_at=now.expires_at if now else None,
        stale_after_days=now.stale_after_days if now else 60,
        share=then.share,
        simulated_only=then.simulated_only,
        acknowledge=then.acknowledged,
        id=object_id,
        parents_later=True,
    )


flags = Section(build=_build, restore=_restore)
