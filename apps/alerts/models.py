"""Rules, the alerts that they raise, SLOs, silences, what a person said of a provider, and how far evaluation has come.

How people are told is ``channel_models``.

Written by ``services`` (people, audited) and ``evaluation`` (the machine). An alert is an *episode*: from the minute in which its rule
first held for a subject to the one in which it was over. Times are UTC and the data's own: of the minute that was judged, not of the
clock of whoever judged it.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from django.db import models
from django.db.models import Q

from apps.alerts import choices
from apps.alerts.channel_models import (
    AlertChannel,
    Delivery,
    EscalationStep,
    Notification,
    NotificationAlert,
    NotificationPolicy,
    Unreachable,
)
from apps.contracts.identifiers import uuid7

__all__ = [
    "Alert",
    "AlertChannel",
    "AlertEvaluation",
    "AlertEvent",
    "AlertRule",
    "Delivery",
    "EscalationStep",
    "Notification",
    "NotificationAlert",
    "NotificationPolicy",
    "ProviderNote",
    "Silence",
    "Slo",
    "Unreachable",
]


class AlertRule(models.Model):
    """When somebody is to be told of a series.

    scope: ``{"by": "route", "values": ["chat"]}``; ``by`` of ``choices.SCOPES``; no values: all there are, the busiest by themselves and
    the rest as ``choices.OTHER``. warn, critical: in the series' unit (``apps.alerts.series``), or times the baseline; None: no such
    severity. window_s: how far a value looks back. for_s: how long it must hold before it fires. hold_s: how long it must be over before
    the alert is. min_samples: fewer measurements say nothing. labels: for routing and silences, text to text. runbook: an address, or the
    id or short name of a runbook. opens_incident: severity of the incident that an alert of it opens, empty: it opens none; a key of
    ``choices.INCIDENTS``. slo: of the rule that an SLO has. A default rule comes back when it is lost: switch it off instead.
    A deleted rule keeps its row, so that its alerts stay readable.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organisation = models.ForeignKey("accounts.Organisation", on_delete=models.CASCADE, related_name="alert_rules")
    name = models.SlugField(max_length=60)
    title = models.CharField(max_length=200)
    series = models.CharField(max_length=40)
    scope = models.JSONField(default=dict, blank=True)
    comparison = models.CharField(max_length=20, choices=list(choices.COMPARISONS.items()), default=choices.ABOVE)
    warn = models.FloatField(null=True, blank=True)
    critical = models.FloatField(null=True, blank=True)
    window_s = models.PositiveIntegerField(default=300)
    for_s = models.PositiveIntegerField(default=60)
    hold_s = models.PositiveIntegerField(default=300)
    min_samples = models.PositiveIntegerField(default=0)
    on_missing = models.CharField(max_length=10, choices=list(choices.ON_MISSING.items()), default="hold")
    labels = models.JSONField(default=dict, blank=True)
    owner = models.ForeignKey("ownership.Team", on_delete=models.SET_NULL, null=True, blank=True, related_name="alert_rules")
    runbook = models.CharField(max_length=300, blank=True, default="")
    opens_incident = models.CharField(max_length=4, choices=list(choices.INCIDENTS.items()), blank=True, default="", db_default="")
    enabled = models.BooleanField(default=True)
    is_default = models.BooleanField(default=False)
    slo = models.OneToOneField("alerts.Slo", on_delete=models.CASCADE, null=True, blank=True, related_name="rule")
    created_at = models.DateTimeField(auto_now_add=True)
    changed_at = models.DateTimeField(auto_now=True)
    deleted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["title", "name"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organisation", "name"], condition=Q(deleted_at=None), name="alert_rule_name_once"),
            models.CheckConstraint(condition=Q(comparison__in=list(choices.COMPARISONS)), name="alert_rule_comparison"),
            models.CheckConstraint(condition=~Q(warn=None, critical=None), name="alert_rule_has_threshold"),
        ]

    def __str__(self) -> str:
        return self.title or self.name

    @property
    def by(self) -> str:
        """What it looks at one by one; a key of ``choices.SCOPES``."""
        return str(self.scope.get("by", ""))

    @property
    def values(self) -> tuple[str, ...]:
        """The subjects that it names; none: all there are."""
        return tuple(str(value) for value in self.scope.get("values", ()))


class Alert(models.Model):
    """One episode of one rule for one subject.

    fingerprint: of rule and subject; at most one open alert has it. by: what kind of thing ``subject`` is. value, threshold: of the last
    judgement, in the series' unit. evidence: ``apps.alerts.series.Sample.evidence`` of the worst judgement so far and of the last one.
    clear_since: since when the rule holds no more; it is over after the rule's ``hold_s``. no_data_since: since when nothing was measured.
    inhibited_by: the worse alert that explains this one. silenced_until: nobody is told before. told: somebody was told that it fired,
    so they are told of its end, too. group_key: alerts that are told together. flaps: how many episodes came shortly before.
    fired_at empty and resolved: it was over before it fired.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organisation = models.ForeignKey("accounts.Organisation", on_delete=models.CASCADE, related_name="alerts")
    rule = models.ForeignKey(AlertRule, on_delete=models.CASCADE, related_name="alerts")
    fingerprint = models.CharField(max_length=32)
    by = models.CharField(max_length=20, blank=True, default="")
    subject = models.CharField(max_length=300, blank=True, default="")
    state = models.CharField(max_length=20, choices=[(value, status.label) for value, status in choices.STATES.items()])
    severity = models.CharField(max_length=20, choices=[(value, status.label) for value, status in choices.SEVERITIES.items()])
    value = models.FloatField(null=True, blank=True)
    threshold = models.FloatField(null=True, blank=True)
    evidence = models.JSONField(default=dict, blank=True)
    started_at = models.DateTimeField()
    fired_at = models.DateTimeField(null=True, blank=True)
    judged_at = models.DateTimeField()
    clear_since = models.DateTimeField(null=True, blank=True)
    eased_since = models.DateTimeField(null=True, blank=True)
    no_data_since = models.DateTimeField(null=True, blank=True)
    resolved_at = models.DateTimeField(null=True, blank=True)
    resolved_by = models.CharField(max_length=500, blank=True, default="")
    acked_by = models.CharField(max_length=500, blank=True, default="")
    acked_at = models.DateTimeField(null=True, blank=True)
    silenced_until = models.DateTimeField(null=True, blank=True)
    inhibited_by = models.ForeignKey("self", on_delete=models.SET_NULL, null=True, blank=True, related_name="inhibits")
    group_key = models.CharField(max_length=200, blank=True, default="")
    flaps = models.PositiveSmallIntegerField(default=0)
    told = models.BooleanField(default=False)

    class Meta:
        ordering: ClassVar[list[str]] = ["-started_at", "-id"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["fingerprint"], condition=~Q(state=choices.RESOLVED), name="alert_open_once"),
            models.CheckConstraint(condition=Q(state__in=list(choices.STATES)), name="alert_state_known"),
            models.CheckConstraint(condition=Q(severity__in=list(choices.SEVERITIES)), name="alert_severity_known"),
            models.CheckConstraint(
                condition=Q(state=choices.RESOLVED, resolved_at__isnull=False) | (~Q(state=choices.RESOLVED) & Q(resolved_at=None)),
                name="alert_resolved_has_time",
            ),
            models.CheckConstraint(
                condition=Q(state=choices.RESOLVED)
                | Q(state=choices.PENDING, fired_at=None)
                | Q(state__in=choices.FIRED, fired_at__isnull=False),
                name="alert_fired_has_time",
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["organisation", "state"], condition=~Q(state=choices.RESOLVED), name="alert_open_of"),
            models.Index(fields=["organisation", "-started_at"], name="alert_recent_of"),
            models.Index(fields=["fingerprint", "-resolved_at"], name="alert_before"),
        ]

    def __str__(self) -> str:
        return f"{self.rule_id} {self.subject}"

    def silenced(self, at: datetime) -> bool:
        """Whether nobody is told at that moment."""
        return self.silenced_until is not None and at < self.silenced_until

    @property
    def open(self) -> bool:
        """Whether it is not over."""
        return self.state != choices.RESOLVED


class AlertEvent(models.Model):
    """Something that happened to an alert; rows are only ever added.

    at: by the data's clock, or the clock of the person who did it. kind: a key of ``choices.EVENT_KINDS``. actor: a person as the audit
    names them; empty: evaluation. muted: nobody is told, because of a silence, a worse alert, or another part that tells it already.
    handed_at: when it was handed to ``apps.alerts.notifying``; without it, evaluation hands it over again.
    """

    id = models.BigAutoField(primary_key=True)
    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, related_name="events")
    at = models.DateTimeField()
    kind = models.CharField(max_length=20, choices=list(choices.EVENT_KINDS.items()))
    actor = models.CharField(max_length=500, blank=True, default="")
    note = models.CharField(max_length=2000, blank=True, default="")
    severity = models.CharField(max_length=20, blank=True, default="")
    value = models.FloatField(null=True, blank=True)
    muted = models.BooleanField(default=False)
    handed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["id"]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["id"], condition=Q(handed_at=None), name="alert_event_unhanded"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.alert_id}"


class Slo(models.Model):
    """A promise about a share of requests over some days, for whoever ``by`` and ``subject`` name (empty: the whole organisation).

    objective: the share that is good, in 1/100,000 (99.9 % is 99,900). threshold_ms: of *ttft* and *latency*: slower is not good.
    min_requests: with fewer in a window nothing is said. Its alerts come from ``rule``, made with it.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organisation = models.ForeignKey("accounts.Organisation", on_delete=models.CASCADE, related_name="slos")
    name = models.SlugField(max_length=60)
    title = models.CharField(max_length=200)
    indicator = models.CharField(max_length=20, choices=list(choices.INDICATORS.items()))
    objective = models.PositiveIntegerField()
    threshold_ms = models.PositiveIntegerField(null=True, blank=True)
    window_days = models.PositiveSmallIntegerField(default=30)
    by = models.CharField(max_length=20, blank=True, default="")
    subject = models.CharField(max_length=300, blank=True, default="")
    min_requests = models.PositiveIntegerField(default=100)
    owner = models.ForeignKey("ownership.Team", on_delete=models.SET_NULL, null=True, blank=True, related_name="slos")
    runbook = models.CharField(max_length=300, blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)
    changed_at = models.DateTimeField(auto_now=True)
    deleted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["title", "name"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organisation", "name"], condition=Q(deleted_at=None), name="slo_name_once"),
            models.CheckConstraint(condition=Q(indicator__in=list(choices.INDICATORS)), name="slo_indicator_known"),
            models.CheckConstraint(condition=Q(objective__gt=0, objective__lt=100_000), name="slo_objective"),
            models.CheckConstraint(
                condition=Q(indicator=choices.AVAILABILITY, threshold_ms=None)
                | (~Q(indicator=choices.AVAILABILITY) & Q(threshold_ms__gt=0)),
                name="slo_threshold",
            ),
            models.CheckConstraint(condition=Q(window_days__in=list(choices.SLO_WINDOWS)), name="slo_window_known"),
        ]

    def __str__(self) -> str:
        return self.title or self.name

    @property
    def objective_text(self) -> str:
        """``99.9``."""
        return f"{self.objective / 1000:.3f}".rstrip("0").rstrip(".")


class Silence(models.Model):
    """Nobody is told of some alerts until a time; they fire and resolve all the same.

    alert: one alert, whatever becomes of it. matcher: for others, those of which everything holds that it says:
    ``{"rule": "<short name>", "subject": "chat", "severity": "warning", "labels": {"layer": "provider"}}``; a subject may end in ``*``.
    ended_at: a person ended it before ``until``.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organisation = models.ForeignKey("accounts.Organisation", on_delete=models.CASCADE, related_name="silences")
    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, null=True, blank=True, related_name="silences")
    matcher = models.JSONField(default=dict, blank=True)
    starts_at = models.DateTimeField()
    until = models.DateTimeField()
    reason = models.CharField(max_length=2000)
    by = models.CharField(max_length=500)
    created_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    ended_by = models.CharField(max_length=500, blank=True, default="")

    class Meta:
        ordering: ClassVar[list[str]] = ["-starts_at", "-id"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(condition=Q(until__gt=models.F("starts_at")), name="silence_has_length"),
            models.CheckConstraint(condition=Q(alert__isnull=False) | ~Q(matcher={}), name="silence_of_something"),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["organisation", "until"], condition=Q(ended_at=None), name="silence_running"),
        ]

    def __str__(self) -> str:
        return f"silence until {self.until:%Y-%m-%d %H:%M}"

    def holds(self, at: datetime) -> bool:
        """Whether it is in force at that moment."""
        return self.starts_at <= at < self.until and (self.ended_at is None or at < self.ended_at)


class ProviderNote(models.Model):
    """What a person knows of a provider before any figure shows it, such as what its status page says. state: of
    ``choices.NOTE_WORDS``. until: None: until somebody ends it."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organisation = models.ForeignKey("accounts.Organisation", on_delete=models.CASCADE, related_name="provider_notes")
    provider = models.ForeignKey("providers.Provider", on_delete=models.CASCADE, related_name="notes")
    state = models.CharField(max_length=10, choices=list(choices.NOTE_WORDS.items()))
    text = models.CharField(max_length=2000)
    by = models.CharField(max_length=500)
    at = models.DateTimeField()
    until = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    ended_by = models.CharField(max_length=500, blank=True, default="")

    class Meta:
        ordering: ClassVar[list[str]] = ["-at", "-id"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(condition=Q(state__in=list(choices.NOTE_WORDS)), name="provider_note_state"),
        ]

    def __str__(self) -> str:
        return f"{self.provider_id}: {self.state}"

    def holds(self, at: datetime) -> bool:
        """Whether it is in force at that moment."""
        return self.at <= at and (self.until is None or at < self.until) and (self.ended_at is None or at < self.ended_at)


class AlertEvaluation(models.Model):
    """How far the rules of an organisation are evaluated; written in the transaction that writes its alerts.

    judged_until: by the data's clock: the end of the last minute that was judged. finished_at: by the database's clock: what the dead
    man's switch looks at. skipped_minutes: that nobody judged, because evaluation was away for longer than it catches up. error: why the
    last try failed, empty when it did not.
    """

    organisation = models.OneToOneField(
        "accounts.Organisation", on_delete=models.CASCADE, primary_key=True, related_name="alert_evaluation"
    )
    judged_until = models.DateTimeField()
    finished_at = models.DateTimeField()
    took_ms = models.PositiveIntegerField(default=0)
    rules = models.PositiveIntegerField(default=0)
    skipped_minutes = models.PositiveIntegerField(default=0)
    error = models.CharField(max_length=500, blank=True, default="")

    def __str__(self) -> str:
        return f"{self.organisation_id} until {self.judged_until:%Y-%m-%d %H:%M}"
