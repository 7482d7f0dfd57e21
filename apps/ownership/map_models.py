"""Where things run and who answers for it there: regions, layers, the cell of each region and layer, and what a team holds."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from apps.contracts.identifiers import uuid7


class Region(models.Model):
    """A place that endpoints, keys' traffic and people name by ``name``."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organisation = models.ForeignKey("accounts.Organisation", on_delete=models.CASCADE, related_name="regions")
    name = models.CharField(max_length=80)
    title = models.CharField(max_length=200, blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["name"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organisation", "name"], name="ownership_region_once"),
        ]

    def __str__(self) -> str:
        return self.title or self.name


class Layer(models.Model):
    """One level of what serves a request, such as the proxy or the provider; by ``position`` from the app downwards."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organisation = models.ForeignKey("accounts.Organisation", on_delete=models.CASCADE, related_name="layers")
    name = models.SlugField(max_length=60)
    title = models.CharField(max_length=200)
    help = models.CharField(max_length=300, blank=True, default="")
    position = models.PositiveSmallIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["position", "name"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organisation", "name"], name="ownership_layer_once"),
        ]

    def __str__(self) -> str:
        return self.title


class Cell(models.Model):
    """The team that answers for one layer in one region. No row: nobody does."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    region = models.ForeignKey(Region, on_delete=models.CASCADE, related_name="cells")
    layer = models.ForeignKey(Layer, on_delete=models.CASCADE, related_name="cells")
    team = models.ForeignKey("ownership.Team", on_delete=models.CASCADE, related_name="cells")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["region", "layer"], name="ownership_cell_one_team"),
        ]

    def __str__(self) -> str:
        return f"{self.layer} in {self.region}"


class Holding(models.Model):
    """A team answers for one object of an app above that has no column for its owner.

    kind: as ``controlplane/owned.py`` names it. object_id: text; of an object that is gone it stays, and means nothing.
    """

    id = models.BigAutoField(primary_key=True)
    organisation = models.ForeignKey("accounts.Organisation", on_delete=models.CASCADE, related_name="+")
    team = models.ForeignKey("ownership.Team", on_delete=models.CASCADE, related_name="holdings")
    kind = models.CharField(max_length=20)
    object_id = models.CharField(max_length=64)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["kind", "object_id"], name="ownership_holding_one_team"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.object_id}"
