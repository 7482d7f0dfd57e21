"""The status page of an organisation: who may see it, and the components that it speaks of."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models

from apps.contracts.identifiers import uuid7

OFF, SIGNED_IN, PUBLIC = "off", "signed-in", "public"
AUDIENCES = {
    OFF: "Nobody: the page is off",
    SIGNED_IN: "People who are signed in and belong to the organisation",
    PUBLIC: "Everybody who knows its address",
}


class StatusPage(models.Model):
    """One for each organisation; without a row it is off. text: what stands on top, Markdown."""

    organisation = models.OneToOneField("accounts.Organisation", on_delete=models.CASCADE, primary_key=True, related_name="status_page")
    audience = models.CharField(max_length=10, choices=list(AUDIENCES.items()), default=OFF)
    title = models.CharField(max_length=100)
    text = models.CharField(max_length=2000, blank=True, default="")
    changed_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return self.title


class StatusComponent(models.Model):
    """Something that people outside know by a name. services, routes: short names and names of ours that it stands for; without any it
    stands for everything."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organisation = models.ForeignKey("accounts.Organisation", on_delete=models.CASCADE, related_name="status_components")
    position = models.PositiveSmallIntegerField()
    name = models.CharField(max_length=100)
    help = models.CharField(max_length=300, blank=True, default="")
    services = ArrayField(models.CharField(max_length=200), default=list, blank=True)
    routes = ArrayField(models.CharField(max_length=200), default=list, blank=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["position", "name"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organisation", "name"], name="status_component_once"),
        ]

    def __str__(self) -> str:
        return self.name
