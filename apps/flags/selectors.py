"""Reads of flags."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import QuerySet

from apps.flags.models import Flag

if TYPE_CHECKING:
    from apps.accounts.models import Organisation


def flags_of(organisation: Organisation) -> QuerySet[Flag]:
    """An organisation's flags by name, with their owners."""
    return Flag.objects.filter(organisation=organisation).select_related("owner")


def flags_on(organisation: Organisation) -> QuerySet[Flag]:
    """The flags that are on now: what the top bar shows."""
    return flags_of(organisation).filter(on=True)
