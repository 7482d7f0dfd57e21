"""Flags: what on-call flips. A kill stops its subject, a fallback sends a route down its alternative chain, a degradation makes do with
less, a release is asked for by apps. Beside them: how often each was met, and overrides that were made on a proxy's host."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone

from apps.contracts.identifiers import uuid7
from apps.flags import choices
from apps.flags.change_models import ChangeRequest, FlagNotice, TwoPersonRule
from apps.flags.flip_models import FlagFlip

__all__ = ["ChangeRequest", "Flag", "FlagExposure", "FlagExposureMark", "FlagFlip", "FlagNotice", "HostOverride", "TwoPersonRule"]


class Flag(models.Model):
    """A switch. until: when it turns itself off (the proxy honours the time by itself), None for no end.

    subject_id: id of the provider, route, key or organisation, or the model's name at its provider, the feature, the team's slug, the
    region; no foreign key, because the subjects live in other apps' tables. level: how far a degradation goes.
    rules: for whom it holds while it is on, in the form of Unleash's features (``apps.contracts.flag_rules``); empty: for everybody.
    default: what holds while it is off or where its rules cannot be decided: ``off``, ``on`` or, of a release, the name of a variant.
    share, simulated_only: a drill: so many percent of the requests, or the simulator's only; both as of the last flip.
    acknowledged: whoever flipped it knows that it leaves a route without a target.
    purpose: why the flag exists; reason: why it stands as it stands. runbook: a URL, or the id of a runbook of ours.
    expires_at: when the flag should be gone altogether. stale_after_days: how long it may go without being exercised.
    exercised_at: when it last went on.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organisation = models.ForeignKey("accounts.Organisation", on_delete=models.PROTECT, related_name="flags")
    name = models.CharField(max_length=80)
    kind = models.CharField(max_length=10, choices=choices.KINDS)
    subject_kind = models.CharField(max_length=12, choices=choices.SUBJECTS)
    subject_id = models.CharField(max_length=256)
    level = models.CharField(max_length=8, choices=choices.LEVELS, default="full", db_default="full")
    rules = models.JSONField(default=dict, blank=True, db_default={})
    default = models.CharField(max_length=80, default="off", db_default="off")
    on = models.BooleanField(default=False)
    reason = models.CharField(max_length=300, blank=True, default="")
    until = models.DateTimeField(null=True, blank=True)
    share = models.PositiveSmallIntegerField(default=100, db_default=100)
    simulated_only = models.BooleanField(default=False, db_default=False)
    acknowledged = models.BooleanField(default=False, db_default=False)
    owner = models.ForeignKey("ownership.Team", on_delete=models.PROTECT, null=True, blank=True, related_name="flags")
    purpose = models.CharField(max_length=300, blank=True, default="")
    runbook = models.CharField(max_length=300, blank=True, default="", db_default="")
    expires_at = models.DateTimeField(null=True, blank=True)
    stale_after_days = models.PositiveSmallIntegerField(default=60, db_default=60)
    exercised_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering: ClassVar = ["name"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organisation", "name"], name="flag_name_once"),
            models.CheckConstraint(
                condition=Q(kind="fallback", subject_kind__in=choices.SUBJECTS_OF["fallback"])
                | Q(kind="kill", subject_kind__in=choices.SUBJECTS_OF["kill"])
                | Q(kind="degrade", subject_kind__in=choices.SUBJECTS_OF["degrade"])
                | Q(kind="release", subject_kind__in=choices.SUBJECTS_OF["release"]),
                name="flag_kind_subject",
            ),
            models.CheckConstraint(condition=Q(share__gte=0, share__lte=100), name="flag_share_percent"),
        ]

    def __str__(self) -> str:
        return self.name

    def in_force(self, at: datetime | None = None) -> bool:
        """On, and not run out by ``at`` (default: now)."""
        return self.on and (self.until is None or self.until > (at or timezone.now()))

    def stale(self, at: datetime | None = None) -> bool:
        """Not exercised for ``stale_after_days``, counted from when it was made; 0 days: never stale."""
        last = self.exercised_at or self.created_at
        return bool(self.stale_after_days) and last + timedelta(days=self.stale_after_days) < (at or timezone.now())

    def expired(self, at: datetime | None = None) -> bool:
        """Past the day on which it should have been gone."""
        return self.expires_at is not None and self.expires_at <= (at or timezone.now())


class FlagExposure(models.Model):
    """How often a flag was met in one minute, by what it said: ``on``, ``off``, or the name of a variant."""

    flag = models.ForeignKey(Flag, on_delete=models.CASCADE, related_name="exposures")
    value = models.CharField(max_length=80)
    minute = models.DateTimeField()
    count = models.BigIntegerField(default=0)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["flag", "value", "minute"], name="flag_exposure_once"),
        ]


class FlagExposureMark(models.Model):
    """How far one proxy process's count of a flag is taken into ``FlagExposure``."""

    boot_id = models.UUIDField()
    flag = models.ForeignKey(Flag, on_delete=models.CASCADE, related_name="+")
    value = models.CharField(max_length=80)
    count = models.BigIntegerField(default=0)
    taken_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["boot_id", "flag", "value"], name="flag_exposure_mark_once"),
        ]


class HostOverride(models.Model):
    """A switch that was thrown on a proxy's host while the control plane was away, as the proxies told of it afterwards.

    id: given by the command on the host. flag_name: of the flag that it switched, empty where it stands by itself.
    by: the operator's name on that host. proxies: names of those that told of it. ended_at: when none had it in force any more.
    """

    id = models.UUIDField(primary_key=True, editable=False)
    organisation = models.ForeignKey("accounts.Organisation", on_delete=models.CASCADE, related_name="+")
    host = models.CharField(max_length=200)
    by = models.CharField(max_length=200)
    flag_name = models.CharField(max_length=80, blank=True, default="")
    kind = models.CharField(max_length=10, choices=choices.KINDS)
    subject_kind = models.CharField(max_length=12, choices=choices.SUBJECTS)
    subject_id = models.CharField(max_length=256)
    subject_name = models.CharField(max_length=256)
    level = models.CharField(max_length=8, choices=choices.LEVELS, default="full")
    on = models.BooleanField(default=True)
    reason = models.CharField(max_length=300)
    made_at = models.DateTimeField()
    until = models.DateTimeField()
    proxies = models.JSONField(default=list)
    seen_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-made_at"]
