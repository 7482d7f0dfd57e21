"""Runbooks that are gone through inside an incident, step by step."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q

from apps.contracts.identifiers import uuid7

STEP_STATES = {"": "To do", "done": "Done", "skipped": "Skipped"}


class ChecklistRun(models.Model):
    """One going through. title: of the runbook then; it may be changed or gone since. ended_at: everything was done or left, or somebody
    ended it."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    incident = models.ForeignKey("postmortems.Incident", on_delete=models.CASCADE, related_name="checklists")
    runbook = models.ForeignKey("ownership.Runbook", on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    title = models.CharField(max_length=200)
    started_at = models.DateTimeField()
    started_by = models.CharField(max_length=500)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["started_at"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["incident", "runbook"], condition=Q(ended_at=None, runbook__isnull=False), name="checklist_running_once"
            ),
        ]

    def __str__(self) -> str:
        return self.title


class ChecklistStep(models.Model):
    """One step, as the runbook had it when the run began. state: a key of ``STEP_STATES``."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    run = models.ForeignKey(ChecklistRun, on_delete=models.CASCADE, related_name="steps")
    position = models.PositiveSmallIntegerField()
    part = models.CharField(max_length=200, blank=True, default="")
    text = models.CharField(max_length=500)
    state = models.CharField(max_length=8, blank=True, default="", choices=list(STEP_STATES.items()))
    note = models.CharField(max_length=500, blank=True, default="")
    at = models.DateTimeField(null=True, blank=True)
    by = models.CharField(max_length=500, blank=True, default="")

    class Meta:
        ordering: ClassVar[list[str]] = ["position"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["run", "position"], name="checklist_step_once"),
            models.CheckConstraint(condition=Q(state="", at=None) | (~Q(state="") & Q(at__isnull=False)), name="checklist_step_has_time"),
        ]

    def __str__(self) -> str:
        return f"{self.position}. {self.text}"
