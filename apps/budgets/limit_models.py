"""Limits on requests and tokens. What is used of them is nowhere in the database: proxies share it among themselves."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q

from apps.budgets import limit_choices
from apps.contracts.identifiers import uuid7
from apps.contracts.limits import MAX_AMOUNT


class Limit(models.Model):
    """So many requests or tokens in a rolling minute or day, or requests at once, of one scope.

    scope_id: id of the organisation, team, key or route, or a model's name at its provider, by ``scope``; no foreign key, because routes
    live above this app, and models need no row of their own. A deleted limit keeps its row, so that its history stays readable.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organisation = models.ForeignKey("accounts.Organisation", on_delete=models.PROTECT, related_name="limits")
    name = models.CharField(max_length=80)
    scope = models.CharField(max_length=20, choices=list(limit_choices.SCOPES.items()))
    scope_id = models.CharField(max_length=200)
    kind = models.CharField(max_length=30, choices=list(limit_choices.KINDS.items()))
    amount = models.BigIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)
    changed_at = models.DateTimeField(auto_now=True)
    deleted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["name"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organisation", "name"], condition=Q(deleted_at=None), name="limit_name_once"),
            models.UniqueConstraint(
                fields=["organisation", "scope", "scope_id", "kind"], condition=Q(deleted_at=None), name="limit_one_of_a_kind"
            ),
            models.CheckConstraint(condition=Q(amount__gte=1, amount__lte=MAX_AMOUNT), name="limit_amount_sensible"),
            models.CheckConstraint(condition=Q(kind__in=list(limit_choices.KINDS)), name="limit_kind_known"),
            models.CheckConstraint(condition=Q(scope__in=list(limit_choices.SCOPES)) & ~Q(scope_id=""), name="limit_scope_object"),
        ]

    def __str__(self) -> str:
        return self.name
