"""Reads of flags."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from django.db.models import Q, QuerySet
from django.utils import timezone

from apps.flags.models import Flag

if TYPE_CHECKING:
    from apps.accounts.models import Organisation


def flags_of(organisation: Organisation) -> QuerySet[Flag]:
    """An organisation's flags by name, with their owners."""
    return Flag.objects.filter(organisation=organisation).select_related("owner")


def flags_on(organisation: Organisation, at: datetime | None = None) -> QuerySet[Flag]:
    """The flags that are on and have not run out by ``at`` (default: now): what the top bar shows."""
    now = at or timezone.now()
    return flags_of(organisation).filter(Q(until=None) | Q(until__gt=now), on=True)


def flags_stale(organisation: Organisation, at: datetime | None = None) -> list[Flag]:
    """Those that nobody has exercised for as long as each may go without, by name."""
    return [flag for flag in flags_of(organisation) if flag.stale(at)]


def flags_expired(organisation: Organisation, at: datetime | None = None) -> QuerySet[Flag]:
    """Those that should be gone by now."""
    return flags_of(organisation).filter(expires_at__lte=at or timezone.now())


def flag_get(organisation: Organisation, name: str) -> Flag | None:
    return flags_of(organisation).filter(name=name).first()
