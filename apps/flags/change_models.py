"""Flips that wait: requests for a second person and schedules, the rules that ask for two, and whom was told of what."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import F, Q

from apps.contracts.identifiers import uuid7
from apps.flags import change_choices as choices


class TwoPersonRule(models.Model):
    """Flips that take two persons: those that fit every field that is set (``apps.flags.change_rules.Rule``).

    team: who owns the flag, or what it is about. ends_at: since when, or from when on, it holds no more: a rule that is removed holds on
    for a day.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organisation = models.ForeignKey("accounts.Organisation", on_delete=models.CASCADE, related_name="two_person_rules")
    kind = models.CharField(max_length=10, blank=True, default="")
    subject_kind = models.CharField(max_length=20, blank=True, default="")
    environment = models.CharField(max_length=20, blank=True, default="")
    team = models.ForeignKey("ownership.Team", on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    turning = models.CharField(max_length=10, choices=list(choices.TURNING.items()), default="on")
    reason = models.CharField(max_length=500, blank=True, default="")
    created_by = models.CharField(max_length=300)
    created_at = models.DateTimeField(auto_now_add=True)
    ends_at = models.DateTimeField(null=True, blank=True)
    ended_by = models.CharField(max_length=300, blank=True, default="")

    class Meta:
        ordering: ClassVar[list[str]] = ["created_at"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["organisation", "kind", "subject_kind", "environment", "team", "turning"],
                condition=Q(ends_at=None),
                nulls_distinct=False,
                name="flag_two_person_rule_once",
            ),
        ]

    def __str__(self) -> str:
        return f"two persons for {choices.TURNING[self.turning]} a {self.kind or 'flag'}"


class ChangeRequest(models.Model):
    """A flip that somebody asked for (``apps.flags.change_rules.Change`` says what may become of it), or another owner (``gives``).

    flag: None once it is deleted; flag_name stays. gives: the flag stays as it stands and goes to the team ``to``, or to nobody; to_name:
    what that is called, empty for nobody; it stays when the team is deleted. turn_on, until, share, simulated_only, acknowledged: how the
    flag shall stand. at: when, None at once; zone: in which it was said. late_minutes: how late it may run, None however late. seen: the
    flag's facts when it was asked for; agreed: when it was approved or scheduled. two: a second person is needed. glass: one person did
    it alone all the same. detail: why it is not done, or how late it ran.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organisation = models.ForeignKey("accounts.Organisation", on_delete=models.CASCADE, related_name="change_requests")
    flag = models.ForeignKey("flags.Flag", on_delete=models.SET_NULL, null=True, related_name="change_requests")
    flag_name = models.CharField(max_length=80)
    team = models.ForeignKey("ownership.Team", on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    turn_on = models.BooleanField()
    gives = models.BooleanField(default=False, db_default=False)
    to = models.ForeignKey("ownership.Team", on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    to_name = models.CharField(max_length=200, blank=True, default="", db_default="")
    until = models.DateTimeField(null=True, blank=True)
    share = models.PositiveSmallIntegerField(default=100)
    simulated_only = models.BooleanField(default=False)
    acknowledged = models.BooleanField(default=False)
    reason = models.CharField(max_length=300)
    rule = models.CharField(max_length=300, blank=True, default="")
    two = models.BooleanField()
    glass = models.BooleanField(default=False)
    state = models.CharField(max_length=10, choices=[(value, status.label) for value, status in choices.STATES.items()])
    detail = models.CharField(max_length=500, blank=True, default="")
    seen = models.JSONField(default=dict)
    agreed = models.JSONField(default=dict)

    asked_kind = models.CharField(max_length=20)
    asked_id = models.CharField(max_length=200)
    asked_by = models.CharField(max_length=500)
    asked_role = models.CharField(max_length=500, blank=True, default="")
    asked_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    at = models.DateTimeField(null=True, blank=True)
    zone = models.CharField(max_length=60, default="UTC")
    late_minutes = models.PositiveIntegerField(null=True, blank=True)

    decided_kind = models.CharField(max_length=20, blank=True, default="")
    decided_id = models.CharField(max_length=200, blank=True, default="")
    decided_by = models.CharField(max_length=500, blank=True, default="")
    decided_at = models.DateTimeField(null=True, blank=True)
    decided_reason = models.CharField(max_length=500, blank=True, default="")
    applied_at = models.DateTimeField(null=True, blank=True)

    review = models.CharField(max_length=10, blank=True, default="")
    reviewed_id = models.CharField(max_length=200, blank=True, default="")
    reviewed_by = models.CharField(max_length=500, blank=True, default="")
    reviewed_at = models.DateTimeField(null=True, blank=True)
    verdict = models.CharField(max_length=20, blank=True, default="")
    review_note = models.CharField(max_length=1000, blank=True, default="")

    class Meta:
        ordering: ClassVar[list[str]] = ["-asked_at"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(
                condition=~Q(state=choices.APPLIED)
                | Q(two=False)
                | Q(glass=True)
                | (Q(decided_kind="user") & ~Q(decided_id="") & ~(Q(asked_kind="user") & Q(decided_id=F("asked_id")))),
                name="flag_change_two_persons",
            ),
            models.CheckConstraint(
                condition=Q(glass=False) | (Q(two=True) & ~Q(review="")),
                name="flag_change_glass_is_reviewed",
            ),
            models.CheckConstraint(
                condition=~Q(review=choices.CLOSED) | (~Q(reviewed_id="") & ~(Q(asked_kind="user") & Q(reviewed_id=F("asked_id")))),
                name="flag_change_reviewed_by_another",
            ),
            models.CheckConstraint(condition=Q(state=choices.APPLIED) | Q(applied_at=None), name="flag_change_applied_at"),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["state", "at"], condition=Q(state__in=choices.OPEN_STATES), name="flag_change_open"),
            models.Index(fields=["organisation", "-asked_at"], name="flag_change_listed"),
            models.Index(fields=["organisation"], condition=Q(review=choices.OPEN), name="flag_change_review_open"),
        ]

    def __str__(self) -> str:
        return f"{self.flag_name} to {self.to_name or 'nobody'}" if self.gives else f"{self.flag_name} {'on' if self.turn_on else 'off'}"

    @property
    def title(self) -> str:
        """What it asks for, for people: ``Turn on new-answers``, ``Give new-answers to Search``."""
        if self.gives:
            return f"Give {self.flag_name} to {self.to_name or 'nobody'}"
        return f"Turn {'on' if self.turn_on else 'off'} {self.flag_name}"


class FlagNotice(models.Model):
    """One e-mail about a flag or a request; made with what it is about, told by a worker.

    about: what makes it one of its kind, such as a request's id, so that nobody is told twice. sending_at: it was handed to the mail
    server, which may have it even where nobody knows; it is never handed over again by itself.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organisation = models.ForeignKey("accounts.Organisation", on_delete=models.CASCADE, related_name="+")
    kind = models.CharField(max_length=20, choices=list(choices.NOTICES.items()))
    about = models.CharField(max_length=200)
    addresses = models.JSONField(default=list)
    subject = models.CharField(max_length=250)
    text = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)
    sending_at = models.DateTimeField(null=True, blank=True)
    sent_at = models.DateTimeField(null=True, blank=True)
    tries = models.IntegerField(default=0)
    told = models.CharField(max_length=300, blank=True, default="")

    class Meta:
        ordering: ClassVar[list[str]] = ["created_at"]
        constraints: ClassVar[list[models.BaseConstraint]] = [models.UniqueConstraint(fields=["kind", "about"], name="flag_notice_once")]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["created_at"], condition=Q(sent_at=None, sending_at=None), name="flag_notice_unsent")
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.about}"
