"""Reads of virtual keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import QuerySet

from apps.audit.errors import ServiceError
from apps.keys.models import KeyDigest, VirtualKey

if TYPE_CHECKING:
    from apps.accounts.models import Organisation


def keys_of(organisation: Organisation, *, revoked: bool = False) -> QuerySet[VirtualKey]:
    """An organisation's keys by name, with owners; tombstones only where asked for."""
    rows = (
        VirtualKey.objects.filter(organisation=organisation)
        .select_related("team", "service", "service__team")
        .prefetch_related("digest_rows")
    )
    return rows if revoked else rows.filter(state="active")


def key_named(organisation: Organisation, name: str, *, field: str = "key") -> VirtualKey:
    """The active key of that name. Raises ServiceError that lists the names there are."""
    found = keys_of(organisation).filter(name=name).first()
    if found is None:
        names = ", ".join(keys_of(organisation).values_list("name", flat=True)[:20]) or "none yet"
        raise ServiceError(f"there is no active key {name!r}; there are: {names}", field)
    return found


def key_by_digest(digest: str) -> VirtualKey | None:
    """The key that a token of this digest opens."""
    row = KeyDigest.objects.select_related("key").filter(digest=digest).first()
    return row.key if row else None
