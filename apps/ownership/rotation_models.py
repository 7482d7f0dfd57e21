"""Who is on call: rotations, their members in order, and who stands in for a while. When is ``apps.ownership.rules``."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from apps.contracts.identifiers import uuid7
from apps.ownership import choices


class Rotation(models.Model):
    """Members take turns. team: None for the organisation as a whole.

    zone: IANA name, in which the rest is meant. starts_on: day of the first hand-over. minute: of the hand-over, after midnight.
    days: covered weekdays, a bit each, Monday 1. from_minute, to_minute: covered hours of those days.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organisation = models.ForeignKey("accounts.Organisation", on_delete=models.CASCADE, related_name="rotations")
    team = models.ForeignKey("ownership.Team", on_delete=models.CASCADE, null=True, blank=True, related_name="rotations")
    kind = models.CharField(max_length=12, choices=list(choices.ROTATION_KINDS.items()), default=choices.ONCALL)
    name = models.SlugField(max_length=60)
    zone = models.CharField(max_length=64, default="UTC")
    starts_on = models.DateField()
    minute = models.PositiveSmallIntegerField()
    every_days = models.PositiveSmallIntegerField(default=7)
    days = models.PositiveSmallIntegerField(default=127)
    from_minute = models.PositiveSmallIntegerField(default=0)
    to_minute = models.PositiveSmallIntegerField(default=1440)
    created_at = models.DateTimeField(auto_now_add=True)
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["name"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organisation", "name"], name="ownership_rotation_once"),
            models.CheckConstraint(condition=Q(kind__in=list(choices.ROTATION_KINDS)), name="ownership_rotation_kind"),
            models.CheckConstraint(
                condition=Q(minute__lt=1440, from_minute__lt=1440, to_minute__lte=1440, days__gte=1, days__lte=127, every_days__gte=1),
                name="ownership_rotation_hours",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class RotationMember(models.Model):
    """One of a rotation's people, in the order of their turns."""

    id = models.BigAutoField(primary_key=True)
    rotation = models.ForeignKey(Rotation, on_delete=models.CASCADE, related_name="member_rows")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="rotation_members")
    position = models.PositiveSmallIntegerField()

    class Meta:
        ordering: ClassVar[list[str]] = ["position"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["rotation", "position"], name="ownership_rotation_order"),
        ]

    def __str__(self) -> str:
        return f"{self.user} in {self.rotation}"


class RotationOverride(models.Model):
    """Somebody stands in. Of two that overlap the later one counts. by: who arranged it, as the audit names them."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    rotation = models.ForeignKey(Rotation, on_delete=models.CASCADE, related_name="overrides")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="rotation_overrides")
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    reason = models.CharField(max_length=300, blank=True, default="")
    by = models.CharField(max_length=500)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["created_at", "id"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(condition=Q(starts_at__lt=F("ends_at")), name="ownership_override_has_length"),
        ]

    def __str__(self) -> str:
        return f"{self.user} stands in"
