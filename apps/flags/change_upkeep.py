"""What happens to flags and requests by itself: due flips, requests nobody answered, flags past their expiry, flags nobody exercises.

Each request and each flag is its own transaction under its row's lock: two workers take turns, and one that is killed has done nothing.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import Q
from django.utils import timezone as clock

from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.registry import event_record
from apps.flags import change_choices as choices
from apps.flags.change_applying import apply_scheduled, change_fail
from apps.flags.change_notices import notice_add, owners_of
from apps.flags.foretelling import change_foretell, flip_keep
from apps.flags.models import ChangeRequest, Flag
from apps.flags.services import flag_flip
from apps.publishing.errors import PublishError
from apps.publishing.services import publish

AT_ONCE = 200
SCHEDULE, EXPIRY = Actor.system("scheduled flips"), Actor.system("flag expiry")


def changes_due(*, now: datetime | None = None) -> list[UUID]:
    """Open requests that time has something to do with, the earliest first."""
    now = now or clock.now()
    ripe = Q(state=choices.WAITING, expires_at__lte=now) | Q(state=choices.SCHEDULED, at__lte=now)
    return list(ChangeRequest.objects.filter(ripe).order_by("at", "expires_at").values_list("pk", flat=True)[:AT_ONCE])


@transaction.atomic
def change_run(change_id: UUID, *, now: datetime | None = None) -> bool:
    """Do what is due of one request: flip and publish, or give it up. False: nothing was due, or another worker has it in hand."""
    now = now or clock.now()
    rows = ChangeRequest.objects.select_for_update(of=("self",), skip_locked=True).select_related("organisation", "flag", "team")
    row = rows.filter(pk=change_id, state__in=choices.OPEN_STATES).first()
    if row is None:
        return False
    before = row.state
    try:
        with transaction.atomic():
            foretold = change_foretell(row, now=now) if row.state == choices.SCHEDULED else None
            done = apply_scheduled(row, now=now, actor=SCHEDULE)
            if done.state == choices.APPLIED:
                version = publish(actor=SCHEDULE, reason=f"{row.reason} (scheduled by {row.asked_by})")
                if foretold is not None:
                    flip_keep(actor=SCHEDULE, result=done, prediction=foretold, version=version)
    except (ServiceError, PublishError) as error:
        row = rows.get(pk=change_id)
        change_fail(row, error.message, actor=SCHEDULE)
    return row.state != before


def flags_expired(*, now: datetime | None = None) -> list[UUID]:
    """Flags past their expiry that are on still."""
    now = now or clock.now()
    return list(Flag.objects.filter(expires_at__lte=now, on=True).order_by("expires_at").values_list("pk", flat=True)[:AT_ONCE])


@transaction.atomic
def flag_expire(flag_id: UUID, *, now: datetime | None = None) -> bool:
    """Turn one flag off whose expiry has passed: a switch lets go, a release serves its default. False: nothing to do."""
    now = now or clock.now()
    rows = Flag.objects.select_for_update(of=("self",), skip_locked=True).select_related("owner", "organisation")
    flag = rows.filter(pk=flag_id, on=True, expires_at__lte=now).first()
    if flag is None or flag.expires_at is None:
        return False
    does = f"serves its default, {flag.default}, from now on" if flag.kind == "release" else "is off from now on"
    reason = f"it expired on {flag.expires_at:%Y-%m-%d %H:%M} UTC"
    flag_flip(actor=EXPIRY, organisation=flag.organisation, name=flag.name, on=False, reason=reason)
    _event(flag, choices.EXPIRED_EVENT, expires_at=flag.expires_at.isoformat())
    notice_add(
        organisation=flag.organisation,
        kind=choices.EXPIRY,
        about=f"{flag.pk}:{flag.expires_at.isoformat()}",
        addresses=owners_of(flag.organisation, flag.owner),
        subject=f"flag {flag.name} expired and {does}",
        lines=[
            f"The flag {flag.name} of {flag.organisation.name} expired on {flag.expires_at:%Y-%m-%d %H:%M} UTC: it {does}.",
            f"What it is for: {flag.purpose or 'nobody wrote that down'}.",
            "Delete it, or give it a later expiry and turn it on again.",
        ],
    )
    publish(actor=EXPIRY, reason=f"{flag.name}: {reason}")
    return True


def flags_neglected(*, now: datetime | None = None) -> list[Flag]:
    """Flags that were not exercised for as long as they say (``Flag.stale``), over all organisations, the most neglected first."""
    now = now or clock.now()
    rows = Flag.objects.filter(stale_after_days__gt=0).select_related("owner", "organisation")
    return sorted((flag for flag in rows.iterator(2_000) if flag.stale(now)), key=exercised)


def exercised(flag: Flag) -> datetime:
    """When a flag was last exercised; a new one counts from when it was made."""
    return flag.exercised_at or flag.created_at


def neglect_tell(*, now: datetime | None = None) -> int:
    """Have the owner of every neglected flag told, once for each time that it fell asleep; how many are told now."""
    return sum(_neglect_tell(flag) for flag in flags_neglected(now=now))


@transaction.atomic
def _neglect_tell(flag: Flag) -> bool:
    last = exercised(flag)
    made = notice_add(
        organisation=flag.organisation,
        kind=choices.STALE,
        about=f"{flag.pk}:{last.isoformat()}",
        addresses=owners_of(flag.organisation, flag.owner),
        subject=f"flag {flag.name} was not exercised for {flag.stale_after_days} days",
        lines=[
            f"The flag {flag.name} of {flag.organisation.name} was not exercised since {last:%Y-%m-%d}.",
            f"What it is for: {flag.purpose or 'nobody wrote that down'}.",
            "A switch that nobody has tried may not work on the day it is needed: turn it on for simulated traffic, or for a small share,"
            f" or delete it: /flags/{flag.name}/",
        ],
    )
    if made:
        _event(flag, choices.STALE_EVENT, since=last.isoformat(), days=flag.stale_after_days)
    return made


def _event(flag: Flag, kind: str, **data: object) -> None:
    event_record(
        kind=kind,
        subject_kind="flag",
        subject_id=str(flag.pk),
        subject_name=flag.name,
        data={"organisation": str(flag.organisation_id), **data},
    )
