"""Flips with what was expected of them and what came of it."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from apps.contracts.identifiers import uuid7


class FlagFlip(models.Model):
    """One flip. predicted: ``apps.flags.consequences.Prediction`` as it was shown; measured: its ``Outcome``, None until it is known.

    flag: None once it is deleted; flag_name stays. subject_kind, subject_id: what it was about. simulated: of which traffic the figures
    are. version: the config version that brought it, None where no proxy saw a difference. followed_until: where the watch of it ended, at
    the next flip that reaches the same routes at the latest.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organisation = models.ForeignKey("accounts.Organisation", on_delete=models.CASCADE, related_name="flips")
    flag = models.ForeignKey("flags.Flag", on_delete=models.SET_NULL, null=True, related_name="flips")
    flag_name = models.CharField(max_length=80)
    subject_kind = models.CharField(max_length=12)
    subject_id = models.CharField(max_length=256)
    turn_on = models.BooleanField()
    share = models.PositiveSmallIntegerField(default=100)
    simulated_only = models.BooleanField(default=False)
    simulated = models.BooleanField()
    reason = models.CharField(max_length=300)
    by = models.CharField(max_length=500)
    at = models.DateTimeField()
    version = models.BigIntegerField(null=True)
    predicted = models.JSONField()
    measured = models.JSONField(null=True)
    followed_until = models.DateTimeField(null=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["-at", "-id"]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["flag", "-at"], name="flag_flip_of_flag"),
            models.Index(fields=["organisation", "-at"], name="flag_flip_listed"),
            models.Index(fields=["at"], condition=models.Q(measured__isnull=True), name="flag_flip_unmeasured"),
        ]

    def __str__(self) -> str:
        return f"{self.flag_name} {'on' if self.turn_on else 'off'}"
