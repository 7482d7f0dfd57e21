"""Routes: what apps name as ``model``, and where their requests go, in order."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q

from apps.contracts.identifiers import uuid7
from apps.routes import choices


class Route(models.Model):
    """A route. Durations in milliseconds; ``first_byte_ms`` binds streams only, JSON answers are bound by the total.

    max_output_tokens: set upstream when the app sets none; bounds the reservation.
    unpriced: what to do under a hard budget with a target that has no price.
    default_price: ``<provider>/<model>``, whose price holds for targets without one; empty: as ``unpriced`` says.
    owner: the team to ask about it; runbook: what to do when it fails, a URL or the id of a runbook of ours. Proxies need not know either.
    resilience: what differs from the defaults of ``apps.contracts.snapshot.Resilience``.
    forced: breakers of its targets that a person holds (``apps.routes.breakers``), also those whose time is over.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organisation = models.ForeignKey("accounts.Organisation", on_delete=models.PROTECT, related_name="routes")
    name = models.CharField(max_length=120)
    connect_ms = models.PositiveIntegerField(default=2_000)
    first_byte_ms = models.PositiveIntegerField(default=6_000)
    idle_ms = models.PositiveIntegerField(default=30_000)
    total_ms = models.PositiveIntegerField(default=120_000)
    max_output_tokens = models.PositiveIntegerField(default=4096)
    max_attempts = models.PositiveSmallIntegerField(default=3)
    unpriced = models.CharField(max_length=10, choices=choices.UNPRICED, default="refuse")
    default_price = models.CharField(max_length=281, blank=True, default="")
    owner = models.ForeignKey("ownership.Team", on_delete=models.PROTECT, null=True, blank=True, related_name="routes")
    runbook = models.CharField(max_length=300, blank=True, default="", db_default="")
    enabled = models.BooleanField(default=True)
    resilience = models.JSONField(default=dict, blank=True)
    forced = models.JSONField(default=list, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering: ClassVar = ["name"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organisation", "name"], name="route_name_once"),
            models.CheckConstraint(
                condition=Q(connect_ms__gt=0, first_byte_ms__gt=0, idle_ms__gt=0, total_ms__gt=0), name="route_deadlines_positive"
            ),
            models.CheckConstraint(condition=Q(max_attempts__gt=0, max_output_tokens__gt=0), name="route_caps_positive"),
        ]

    def __str__(self) -> str:
        return self.name


class RouteAlias(models.Model):
    """Another name for a route; unique in the organisation, across names and aliases (the service checks the names)."""

    organisation = models.ForeignKey("accounts.Organisation", on_delete=models.PROTECT, related_name="+")
    route = models.ForeignKey(Route, on_delete=models.CASCADE, related_name="alias_rows")
    name = models.CharField(max_length=120)

    class Meta:
        ordering: ClassVar = ["name"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organisation", "name"], name="route_alias_once")
        ]

    def __str__(self) -> str:
        return self.name


class RouteTarget(models.Model):
    """One place a route can send a request, at a position of its primary or its fallback chain.

    endpoint: None means the provider's first. options: what differs from the defaults of ``apps.contracts.snapshot.Target``.
    """

    route = models.ForeignKey(Route, on_delete=models.CASCADE, related_name="target_rows")
    chain = models.CharField(max_length=10, choices=choices.CHAINS)
    position = models.PositiveSmallIntegerField()
    provider = models.ForeignKey("providers.Provider", on_delete=models.PROTECT, related_name="route_targets")
    endpoint = models.ForeignKey("providers.Endpoint", on_delete=models.PROTECT, null=True, blank=True, related_name="route_targets")
    model = models.CharField(max_length=200)
    options = models.JSONField(default=dict, blank=True)

    class Meta:
        ordering: ClassVar = ["chain", "position"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["route", "chain", "position"], name="route_target_position_once")
        ]

    def __str__(self) -> str:
        return f"{self.provider.name}/{self.model}"


class RouteSwitch(models.Model):
    """All of a route's traffic sent to one of its targets, by a person, for a reason; no row: the chains decide.

    failover: the route's other targets follow it when it fails. until: when it ends by itself (the proxy honours the time), None: never.
    """

    route = models.OneToOneField(Route, on_delete=models.CASCADE, primary_key=True, related_name="switch")
    provider = models.ForeignKey("providers.Provider", on_delete=models.PROTECT, related_name="+")
    endpoint = models.ForeignKey("providers.Endpoint", on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    model = models.CharField(max_length=200)
    failover = models.BooleanField(default=True)
    until = models.DateTimeField(null=True, blank=True)
    reason = models.CharField(max_length=300)
    by = models.CharField(max_length=500)
    at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.route_id} to {self.provider.name}/{self.model}"
