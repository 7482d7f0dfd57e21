"""What a team's members may make for themselves."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models

from apps.contracts.identifiers import uuid7
from apps.keys import choices


class KeyTemplate(models.Model):
    """The bounds inside which a team's members make keys by themselves; one per team, and without one they ask.

    routes: names that their keys may use, ``["*"]`` for all. environments: that they may run in. most_keys: how many active keys
    the team may have made so at a time. longest_days: a key expires within so many days of its making; None: it need not.
    limits: kind of limit -> the most that one key may have; a key gets it where its maker asks for none.
    budget_nano: the same of money per ``budget_window``; None: a key needs no budget.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    team = models.OneToOneField("ownership.Team", on_delete=models.CASCADE, related_name="key_template")
    routes = ArrayField(models.CharField(max_length=120), default=choices.all_routes, blank=True)
    environments = ArrayField(models.CharField(max_length=20), default=list, blank=True)
    most_keys = models.PositiveIntegerField(default=10)
    longest_days = models.PositiveIntegerField(null=True, blank=True)
    limits = models.JSONField(default=dict, blank=True)
    budget_nano = models.BigIntegerField(null=True, blank=True)
    budget_window = models.CharField(max_length=10, default="month")
    created_at = models.DateTimeField(auto_now_add=True)
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering: ClassVar = ["team__name"]

    def __str__(self) -> str:
        return f"keys of {self.team}"

    @property
    def name(self) -> str:
        """What the audit calls it."""
        return self.team.slug
