"""Reads of flags."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import QuerySet

from apps.audit.errors import ServiceError
from apps.flags.models import Flag

if TYPE_CHECKING:
    from apps.accounts.models import Organisation


def flags_of(organisation: Organisation) -> QuerySet[Flag]:
    """An organisation's flags by name, with their owners."""
    return Flag.objects.filter(organisation=organisation).select_related("owner")


def flags_on(organisation: Organisation) -> QuerySet[Flag]:
    """The flags that are on now: what the top bar shows."""
    return flags_of(organisation).filter(on=True)


def flag_named(organisation: Organisation, name: str, *, field: str = "flag") -> Flag:
    """The flag of that name. Raises ServiceError that lists the names there are."""
    found = flags_of(organisation).filter(name=name).first()
    if found is None:
        names = ", ".join(flags_of(organisation).values_list("name", flat=True)[:20]) or "none yet"
        raise ServiceError(f"there is no flag {name!r}; there are: {names}", field)
    return found
