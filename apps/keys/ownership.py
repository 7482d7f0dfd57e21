"""Keys as things that teams own: by their service, or by themselves."""

from __future__ import annotations

from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Coalesce

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.keys.models import KeyRequest, VirtualKey
from apps.keys.services import key_update
from apps.ownership.models import Service, Team
from apps.ownership.owned import About, Owned
from apps.publishing.services import section_touch


def _rows(organisation: Organisation) -> QuerySet[VirtualKey]:
    rows = VirtualKey.objects.filter(organisation=organisation, state="active").select_related("organisation", "service", "team")
    return rows.annotate(held_by=Coalesce("service__team_id", "team_id"))


@transaction.atomic
def _assign(*, actor: Actor, row: VirtualKey, team: Team | None, reason: str) -> None:
    """A key of a service goes with the service: refused, unless that is where it should go."""
    if row.service is not None:
        if team is None or row.service.team_id != team.pk:
            raise ServiceError(f"The key {row.name!r} belongs to the service {row.service.name!r}: change its service.", field="things")
        return
    key_update(actor=actor, key=row, team=team, reason=reason)


def about_team(team: Team) -> list[About]:
    """Requests for keys of the team that wait to be decided."""
    return [About("key_request", "keys:request", KeyRequest.objects.filter(team=team, state="open"))]


def team_leave(team: Team) -> None:
    """Revoked keys, which stay as tombstones, belong to nobody once their team is deleted."""
    rows = VirtualKey.objects.filter(Q(team=team) | Q(service__team=team), state="revoked")
    ids = list(rows.values_list("pk", flat=True))
    VirtualKey.objects.filter(pk__in=ids).update(team=None, service=None)
    section_touch(section="keys", ids=[str(pk) for pk in ids])


def about_service(service: Service) -> list[About]:
    """Keys of the service that are not revoked, and requests for keys of it that wait."""
    asked = KeyRequest.objects.filter(team=service.team, state="open", facts__service=service.slug)
    return [
        About("key", "keys:detail", VirtualKey.objects.filter(service=service, state="active")),
        About("key_request", "keys:request", asked),
    ]


def service_leave(service: Service) -> None:
    """Revoked keys, which stay as tombstones, are their team's once their service is deleted."""
    ids = list(VirtualKey.objects.filter(service=service, state="revoked").values_list("pk", flat=True))
    VirtualKey.objects.filter(pk__in=ids).update(team=service.team, service=None)
    section_touch(section="keys", ids=[str(pk) for pk in ids])


KEYS = Owned("key", "Keys", "keys", "keys:detail", _rows, _assign)
