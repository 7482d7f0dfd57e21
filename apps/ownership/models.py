"""Who owns what: teams and their services. A key belongs to one service, so spend and failures find their team.

Regions, layers and cells are ``map_models``, contacts, SLAs and runbooks ``care_models``, who is on call ``rotation_models``.
"""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from apps.accounts.models import Organisation
from apps.contracts.identifiers import uuid7
from apps.ownership.care_models import Contact, Runbook, Sla
from apps.ownership.map_models import Cell, Holding, Layer, Region
from apps.ownership.rotation_models import Rotation, RotationMember, RotationOverride

__all__ = [
    "Cell",
    "Contact",
    "Holding",
    "Layer",
    "Region",
    "Rotation",
    "RotationMember",
    "RotationOverride",
    "Runbook",
    "Service",
    "Sla",
    "Team",
]


class Team(models.Model):
    """People who own services, reachable at ``contact_email``."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organisation = models.ForeignKey(Organisation, on_delete=models.PROTECT, related_name="teams")
    name = models.CharField(max_length=200)
    slug = models.SlugField(max_length=60)
    contact_email = models.EmailField(max_length=254, blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["name"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organisation", "slug"], name="ownership_team_slug"),
        ]

    def __str__(self) -> str:
        return self.name


class Service(models.Model):
    """One of a team's applications."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="services")
    name = models.CharField(max_length=200)
    slug = models.SlugField(max_length=60)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["name"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["team", "slug"], name="ownership_service_slug"),
        ]

    def __str__(self) -> str:
        return self.name
