"""Deployments as things that teams own."""

from __future__ import annotations

from django.db.models import F, QuerySet

from apps.accounts.models import Organisation
from apps.fleet.models import Deployment
from apps.ownership.owned import Owned, column_assign


def _rows(organisation: Organisation) -> QuerySet[Deployment]:
    return Deployment.objects.filter(organisation=organisation).annotate(held_by=F("owner_id"))


DEPLOYMENTS = Owned("deployment", "Deployments", "fleet", "fleet:deployment", _rows, column_assign)
