"""Flags: switches that on-call flips. A kill stops its subject; a fallback sends a route down its alternative chain."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q

from apps.contracts.identifiers import uuid7
from apps.flags import choices


class Flag(models.Model):
    """A switch. until: when it turns itself off (the proxy honours the time by itself), None for no end.

    subject_id: id of the provider, route or key; no foreign key, because the subjects live in other apps' tables.
    purpose: why the flag exists; reason: why it stands as it stands.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organisation = models.ForeignKey("accounts.Organisation", on_delete=models.PROTECT, related_name="flags")
    name = models.CharField(max_length=80)
    kind = models.CharField(max_length=10, choices=choices.KINDS)
    subject_kind = models.CharField(max_length=10, choices=choices.SUBJECTS)
    subject_id = models.UUIDField()
    on = models.BooleanField(default=False)
    reason = models.CharField(max_length=300, blank=True, default="")
    until = models.DateTimeField(null=True, blank=True)
    owner = models.ForeignKey("ownership.Team", on_delete=models.PROTECT, null=True, blank=True, related_name="flags")
    purpose = models.CharField(max_length=300, blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering: ClassVar = ["name"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organisation", "name"], name="flag_name_once"),
            models.CheckConstraint(condition=Q(kind="kill") | Q(subject_kind="route"), name="flag_fallback_of_route"),
        ]

    def __str__(self) -> str:
        return self.name
