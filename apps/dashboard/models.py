"""What people keep of the dashboard: views, by name."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q

from apps.contracts.identifiers import uuid7


class SavedView(models.Model):
    """A page as somebody wants to find it again: its path and query, which hold everything that it shows.

    owner: who keeps it; None: the team itself, by a document or a program. team: with whom it is shared; None: nobody, or a team that is
    gone. Whoever opens it sees what their own permissions show there.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organisation = models.ForeignKey("accounts.Organisation", on_delete=models.CASCADE, related_name="saved_views")
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, blank=True, related_name="saved_views")
    team = models.ForeignKey("ownership.Team", on_delete=models.SET_NULL, null=True, blank=True, related_name="saved_views")
    name = models.CharField(max_length=80)
    path = models.CharField(max_length=300)
    query = models.CharField(max_length=2000, blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["name", "id"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organisation", "owner", "name"], name="saved_view_name_once"),
            models.UniqueConstraint(fields=["team", "name"], condition=Q(owner=None), name="saved_view_of_team_once"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def url(self) -> str:
        """Where it leads."""
        return f"{self.path}?{self.query}" if self.query else self.path
