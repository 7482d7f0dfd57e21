"""Keys as things that teams own: by their service, or by themselves."""

from __future__ import annotations

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Coalesce

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.keys.models import VirtualKey
from apps.keys.services import key_update
from apps.ownership.models import Team
from apps.ownership.owned import Owned


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


KEYS = Owned("key", "Keys", "keys", "keys:detail", _rows, _assign)
