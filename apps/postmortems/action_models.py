"""Action items: what is to be done so that it does not happen again, by whom, until when, and how one knows."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import models
from django.db.models import Q

from apps.contracts.identifiers import uuid7
from apps.postmortems import action_rules as rules


class ActionItem(models.Model):
    """One thing to do.

    number: ``ACT-<number>``, from 1 in each organisation. outcome: how one sees that it is done. owner: one person. check, check_of: a
    key of
    ``action_checks.CHECKS`` and what it looks at; empty: people say when it is done. verdict, verdict_at, verdict_why: what the check said
    last. tracker_url: the same thing in somebody else's list.
    decided_*: of its last end; reopened: how often it was open again after it.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organisation = models.ForeignKey("accounts.Organisation", on_delete=models.CASCADE, related_name="action_items")
    postmortem = models.ForeignKey("postmortems.Postmortem", on_delete=models.SET_NULL, null=True, blank=True, related_name="actions")
    number = models.PositiveIntegerField()
    title = models.CharField(max_length=200)
    outcome = models.CharField(max_length=1000)
    owner = models.ForeignKey("accounts.User", on_delete=models.SET_NULL, null=True, related_name="action_items")
    due_on = models.DateField()
    priority = models.CharField(max_length=2, choices=[(value, status.label) for value, status in rules.PRIORITIES.items()], default="p2")
    state = models.CharField(max_length=10, choices=[(value, status.label) for value, status in rules.STATES.items()], default=rules.OPEN)
    check_kind = models.CharField(max_length=30, blank=True, default="")
    check_of = models.CharField(max_length=200, blank=True, default="")
    verdict = models.CharField(max_length=10, blank=True, default="")
    verdict_at = models.DateTimeField(null=True, blank=True)
    verdict_why = models.CharField(max_length=500, blank=True, default="")
    tracker_url = models.CharField(max_length=1000, blank=True, default="")
    reopened = models.PositiveSmallIntegerField(default=0)
    decided_at = models.DateTimeField(null=True, blank=True)
    decided_by = models.CharField(max_length=500, blank=True, default="")
    reason = models.CharField(max_length=2000, blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.CharField(max_length=500)
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["due_on", "number"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organisation", "number"], name="action_number_once"),
            models.CheckConstraint(condition=Q(state__in=list(rules.STATES)), name="action_state_known"),
            models.CheckConstraint(condition=Q(state=rules.OPEN) | Q(decided_at__isnull=False), name="action_end_has_time"),
            models.CheckConstraint(condition=~Q(state=rules.DECLINED) | ~Q(reason=""), name="action_declined_has_reason"),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["organisation", "state", "due_on"], name="action_of_state"),
            models.Index(fields=["due_on"], condition=Q(state=rules.OPEN), name="action_due"),
        ]

    def __str__(self) -> str:
        return f"{self.reference} {self.title}"

    @property
    def reference(self) -> str:
        """``ACT-7``."""
        return f"ACT-{self.number}"

    @property
    def name(self) -> str:
        """What the audit calls it."""
        return self.reference

    @property
    def status(self) -> Any:
        """Its state, for pages."""
        return rules.STATES[self.state]

    @property
    def urgency(self) -> Any:
        """Its priority, for pages."""
        return rules.PRIORITIES[self.priority]

    @property
    def said(self) -> Any:
        """What its check said last, for pages; None without a check."""
        return rules.VERDICTS[self.verdict or rules.UNKNOWN] if self.check_kind else None
