"""The weekly e-mail of one owner: the row is made once, so that nobody gets a week twice."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from apps.contracts.identifiers import uuid7


class WeeklyReport(models.Model):
    """One owner's e-mail about one week (Monday to Sunday, UTC) of one organisation.

    claimed_at: somebody prepares it. sending_at: it was handed to the mail server; from then on nobody sends it again by themselves,
    because the server may have it. sent_at: the server took it. tries: attempts so far. told: how the last one ended.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organisation = models.ForeignKey("accounts.Organisation", on_delete=models.CASCADE, related_name="weekly_reports")
    owner = models.CharField(max_length=254)
    week_starts = models.DateField()
    made_at = models.DateTimeField(auto_now_add=True)
    claimed_at = models.DateTimeField(null=True, blank=True)
    sending_at = models.DateTimeField(null=True, blank=True)
    sent_at = models.DateTimeField(null=True, blank=True)
    tries = models.IntegerField(default=0)
    told = models.CharField(max_length=300, blank=True, default="")
    subject = models.CharField(max_length=300, blank=True, default="")
    text = models.TextField(blank=True, default="")

    class Meta:
        ordering: ClassVar[list[str]] = ["-week_starts", "owner"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organisation", "owner", "week_starts"], name="weekly_report_once"),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["week_starts"], condition=models.Q(sent_at=None, sending_at=None), name="weekly_report_unsent")
        ]

    def __str__(self) -> str:
        return f"{self.owner} {self.week_starts}"
