"""Flags as things that teams own, and the flags that name a runbook."""

from __future__ import annotations

from django.db import transaction
from django.db.models import F, Q, QuerySet, Value
from django.urls import reverse

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.flags.change_selectors import two_person_rules_of
from apps.flags.four_eyes import owner_guard
from apps.flags.models import Flag
from apps.ownership.models import Runbook, Service, Team
from apps.ownership.owned import About, Owned, Thing, column_assign
from apps.ownership.selectors import same_slug


def _rows(organisation: Organisation) -> QuerySet[Flag]:
    return Flag.objects.filter(organisation=organisation).annotate(held_by=F("owner_id"))


def runbook_uses(runbook: Runbook) -> list[Thing]:
    """The flags of its organisation that name a runbook, by its id or its name."""
    rows = Flag.objects.filter(organisation_id=runbook.organisation_id, runbook__in=[str(runbook.pk), runbook.name])
    return [
        Thing("flag", str(pk), name, reverse("flags:detail", args=[name])) for pk, name in rows.order_by("name").values_list("pk", "name")
    ]


def about_team(team: Team) -> list[About]:
    """Flags for the team's requests, and rules about two persons that hold because it owns a flag."""
    return [
        About("flag", "flags:detail", Flag.objects.filter(organisation_id=team.organisation_id, subject_kind="team", subject_id=team.slug)),
        About("rule", "changes:rules", two_person_rules_of(team.organisation).filter(team=team), Value("about two persons"), argument=""),
    ]


def about_service(service: Service) -> list[About]:
    """Flags whose rules name the service, unless another team has one that is called the same: records and flags know the short name."""
    named = Q()
    for field in ("service", "appName"):
        for constraint in ({"contextName": field, "values": [service.slug]}, {"contextName": field, "value": service.slug}):
            named |= Q(rules__strategies__contains=[{"constraints": [constraint]}])
            named |= Q(rules__segments__contains=[{"constraints": [constraint]}])
    rows = Flag.objects.filter(named, ~same_slug(service), organisation_id=service.team.organisation_id)
    return [About("flag", "flags:detail", rows, argument="name")]


@transaction.atomic
def _assign(*, actor: Actor, row: Flag, team: Team | None, reason: str) -> None:
    """A flag that a rule about two persons holds for by its team does not leave it by one person's word."""
    flag = Flag.objects.select_for_update(of=("self",)).select_related("organisation").get(pk=row.pk)
    owner_guard(actor=actor, flag=flag, team=team.pk if team else None)
    column_assign(actor=actor, row=flag, team=team, reason=reason)


FLAGS = Owned("flag", "Flags", "flag", "flags:detail", _rows, _assign, argument="name")
