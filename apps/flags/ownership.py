"""Flags as things that teams own, and the flags that name a runbook."""

from __future__ import annotations

from django.db.models import F, QuerySet
from django.urls import reverse

from apps.accounts.models import Organisation
from apps.flags.models import Flag
from apps.ownership.models import Runbook
from apps.ownership.owned import Owned, Thing, column_assign


def _rows(organisation: Organisation) -> QuerySet[Flag]:
    return Flag.objects.filter(organisation=organisation).annotate(held_by=F("owner_id"))


def runbook_uses(runbook: Runbook) -> list[Thing]:
    """The flags of its organisation that name a runbook, by its id or its name."""
    rows = Flag.objects.filter(organisation_id=runbook.organisation_id, runbook__in=[str(runbook.pk), runbook.name])
    return [
        Thing("flag", str(pk), name, reverse("flags:detail", args=[name])) for pk, name in rows.order_by("name").values_list("pk", "name")
    ]


FLAGS = Owned("flag", "Flags", "flag", "flags:detail", _rows, column_assign, argument="name")
