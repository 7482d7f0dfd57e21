"""Reads of virtual keys."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db.models import Max, Q, QuerySet

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


Line = tuple[UUID, str, str, str, str, bool, datetime | None, str | None, str | None, str | None]
"""id, name, public id, environment, stored state, enabled, expiry, name of its team, of its service, of the service's team."""


def key_lines(organisation: Organisation, *, asked: str = "", revoked: bool = False) -> QuerySet[Any, Line]:
    """All keys of an organisation in a few columns, by name. asked: a part of a name, owner or tag, or a public id's start.
    revoked: the tombstones instead."""
    rows = VirtualKey.objects.filter(organisation=organisation, state="revoked" if revoked else "active")
    if asked:
        public = asked.removeprefix("bk-").partition("-")[0] or asked
        rows = rows.filter(
            Q(name__icontains=asked)
            | Q(public_id__istartswith=public)
            | Q(team__name__icontains=asked)
            | Q(service__name__icontains=asked)
            | Q(service__team__name__icontains=asked)
            | Q(tags__contains=[asked])
        )
    return rows.order_by("name", "created_at").values_list(
        "pk", "name", "public_id", "environment", "state", "enabled", "expires_at", "team__name", "service__name", "service__team__name"
    )


def key_get(organisation: Organisation, key_id: UUID) -> VirtualKey | None:
    """One key, revoked or not, with its owners; ``old_until``: until when a replaced token opens it too. One query."""
    rows = VirtualKey.objects.filter(organisation=organisation, pk=key_id).select_related(
        "organisation", "team", "service", "service__team"
    )
    return rows.annotate(old_until=Max("digest_rows__expires_at")).first()


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


def key_names(organisation_id: str) -> dict[str, str]:
    """The name of every key that an organisation ever had, by its id as usage has it: one query."""
    return {str(pk): name for pk, name in VirtualKey.objects.filter(organisation_id=organisation_id).values_list("pk", "name")}
