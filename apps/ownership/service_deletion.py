"""Deleting a service: refused while anything hangs on it (keys, budgets, flags, what it promises, alerts), which is named."""

from __future__ import annotations

from django.db import transaction
from django.db.models import ProtectedError
from django.utils.module_loading import import_string

from apps.accounts.selectors import permission_require
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.services import change_record
from apps.ownership.models import Service
from apps.ownership.owned import Thing, things_of_service

MOST = 50
"""Things of one kind that are looked at."""
NAMED = 5
"""Things that a refusal names."""


def service_attached(service: Service) -> list[Thing]:
    """What keeps a service from being deleted. ``service.team`` is read."""
    return things_of_service(service, most=MOST)


@transaction.atomic
def service_delete(*, actor: Actor, service: Service, reason: str = "") -> None:
    """Delete a service on which nothing hangs any more; records of requests keep its short name, revoked keys become their team's.

    A second time changes nothing. Raises ServiceError that names what hangs on it.
    """
    from controlplane.owned import LEAVE_SERVICE

    permission_require(actor=actor, action="service.change", organisation=service.team.organisation, team=service.team_id)
    # locked against whoever hangs something on it meanwhile: a reference to the row waits for it
    row = Service.objects.select_for_update(of=("self",)).select_related("team__organisation").filter(pk=service.pk).first()
    if row is None:
        return
    found = service_attached(row)
    if found:
        named = ", ".join(f"{thing.kind.replace('_', ' ')} {thing.name}" for thing in found[:NAMED])
        more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
        raise ServiceError(
            f"{named}{more} would be left without the service {row.name}: give keys another service or revoke them, and remove or change"
            " the rest first.",
            "service",
        )
    for path in LEAVE_SERVICE:
        import_string(path)(row)
    change_record(actor, "service.delete", row, {"team": row.team.slug, "slug": row.slug, "name": row.name}, {}, reason)
    try:
        row.delete()
    except ProtectedError as error:
        kinds = sorted({str(each._meta.verbose_name_plural) for each in error.protected_objects})
        raise ServiceError(f"{row.name} is still named by {', '.join(kinds)}: remove or change those first.", "service") from None
