"""Teams, services, rotations, runbooks and SLAs in the command palette."""

from __future__ import annotations

from django.db.models import F
from django.db.models.functions import Coalesce

from apps.accounts.palette_objects import Objects, objects_source
from apps.ownership.models import Rotation, Runbook, Service, Sla, Team

ownership_for_palette = objects_source(
    Objects("team", Team, "team.view", "ownership:team", "person", ("name", "slug")),
    Objects("service", Service, "team.view", "ownership:service", "requests", ("name", "slug"), organisation="team__organisation"),
    Objects("rotation", Rotation, "ownership.view", "ownership:rotation", "clock", ("name", "kind")),
    Objects("runbook", Runbook, "ownership.view", "ownership:runbook", "history", ("title", "name")),
    Objects(
        "SLA",
        Sla,
        "team.view",
        "ownership:sla",
        "shield",
        ("team__name", "service__name"),
        organisation="team__organisation",
        title=Coalesce(F("service__name"), F("team__name")),
    ),
)
