"""Incidents: what went wrong, who works on it, what was said of it, and its timeline."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from apps.contracts.identifiers import uuid7
from apps.postmortems import incident_choices as choices


def _names() -> Any:
    """A list of names; the order is the person's."""
    return ArrayField(models.CharField(max_length=200), default=list, blank=True)


class IncidentSeverity(models.Model):
    """What a severity means in one organisation; without a row ``incident_choices.MEANINGS`` holds. level: ``sev1`` to ``sev4``."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organisation = models.ForeignKey("accounts.Organisation", on_delete=models.CASCADE, related_name="incident_severities")
    level = models.CharField(max_length=4, choices=[(value, status.label) for value, status in choices.SEVERITIES.items()])
    title = models.CharField(max_length=60)
    meaning = models.CharField(max_length=1000)
    postmortem = models.BooleanField()
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["level"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organisation", "level"], name="incident_severity_once"),
        ]

    def __str__(self) -> str:
        return f"{self.level.upper()} {self.title}"


class Incident(models.Model):
    """Something went wrong, from the first sign until everything about it is done.

    number: ``INC-<number>``, from 1 in each organisation. source: a key of ``incident_choices.SOURCES``. declared_by: as the audit names
    who did. simulated: whose traffic its impact is measured of. alerts: those that belong to it. commander, scribe, liaison: people.
    routes, providers, regions, services: names as requests carry them (a service: its short name), so that they stay readable after the
    things are gone; empty ``routes``: all of them. started_at: when what went wrong began. detected_at: when a person or an alert saw it.
    impact_from, impact_until: the window in which people felt it; impact_set_by: the person who set it, empty while it follows the data.
    impact: the last measurement (``apps.postmortems.impact.Impact`` as a document), of ``impact_at``; impact_progress: percent while one
    runs, None when none does. filled_until: until when the timeline was filled, by the clock of recording.
    summary: for people inside, Markdown. public_summary: what a status page may say.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organisation = models.ForeignKey("accounts.Organisation", on_delete=models.CASCADE, related_name="incidents")
    number = models.PositiveIntegerField()
    title = models.CharField(max_length=200)
    severity = models.CharField(max_length=4, choices=[(value, status.label) for value, status in choices.SEVERITIES.items()])
    state = models.CharField(max_length=10, choices=[(value, status.label) for value, status in choices.STATES.items()])
    source = models.CharField(max_length=10, choices=list(choices.SOURCES.items()))
    simulated = models.BooleanField()
    declared_at = models.DateTimeField()
    declared_by = models.CharField(max_length=500)
    declarer = models.ForeignKey("accounts.User", on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    commander = models.ForeignKey("accounts.User", on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    scribe = models.ForeignKey("accounts.User", on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    liaison = models.ForeignKey("accounts.User", on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    alerts = models.ManyToManyField("alerts.Alert", blank=True, related_name="incidents")
    routes = _names()
    providers = _names()
    regions = _names()
    services = _names()
    summary = models.TextField(blank=True, default="")
    public_summary = models.TextField(blank=True, default="")
    started_at = models.DateTimeField()
    detected_at = models.DateTimeField()
    acknowledged_at = models.DateTimeField(null=True, blank=True)
    mitigated_at = models.DateTimeField(null=True, blank=True)
    resolved_at = models.DateTimeField(null=True, blank=True)
    closed_at = models.DateTimeField(null=True, blank=True)
    impact_from = models.DateTimeField(null=True, blank=True)
    impact_until = models.DateTimeField(null=True, blank=True)
    impact_set_by = models.CharField(max_length=500, blank=True, default="")
    impact = models.JSONField(default=dict, blank=True)
    impact_at = models.DateTimeField(null=True, blank=True)
    impact_progress = models.PositiveSmallIntegerField(null=True, blank=True)
    filled_until = models.DateTimeField(null=True, blank=True)
    merged_into = models.ForeignKey("self", on_delete=models.PROTECT, null=True, blank=True, related_name="merged")
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["-number"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organisation", "number"], name="incident_number_once"),
            models.CheckConstraint(condition=Q(severity__in=list(choices.SEVERITIES)), name="incident_severity_known"),
            models.CheckConstraint(condition=Q(state__in=list(choices.STATES)), name="incident_state_known"),
            models.CheckConstraint(
                condition=Q(state=choices.MERGED, merged_into__isnull=False) | (~Q(state=choices.MERGED) & Q(merged_into=None)),
                name="incident_merged_into",
            ),
            models.CheckConstraint(condition=Q(merged_into=None) | ~Q(merged_into=F("id")), name="incident_not_into_itself"),
            models.CheckConstraint(
                condition=Q(impact_until=None) | Q(impact_from__isnull=False, impact_until__gt=F("impact_from")), name="incident_window"
            ),
            models.CheckConstraint(
                condition=Q(detected_at__gte=F("started_at"))
                & (Q(acknowledged_at=None) | Q(acknowledged_at__gte=F("detected_at")))
                & (Q(mitigated_at=None) | Q(mitigated_at__gte=F("started_at")))
                & (Q(resolved_at=None) | Q(resolved_at__gte=F("detected_at")))
                & (Q(resolved_at=None) | Q(mitigated_at=None) | Q(resolved_at__gte=F("mitigated_at")))
                & (Q(closed_at=None) | Q(closed_at__gte=F("detected_at"))),
                name="incident_times_ordered",
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["organisation", "state"], condition=Q(state__in=choices.OPEN), name="incident_open_of"),
        ]

    def __str__(self) -> str:
        return f"{self.reference} {self.title}"

    @property
    def reference(self) -> str:
        """``INC-12``."""
        return f"INC-{self.number}"

    @property
    def began_at(self) -> datetime:
        """When it began, as far as is known: an alert's word is a minute late at best, what people felt may have begun earlier."""
        began: datetime = min(self.started_at, self.impact_from or self.started_at)
        return began

    @property
    def name(self) -> str:
        """What the audit calls it."""
        return self.reference

    @property
    def open(self) -> bool:
        """Whether somebody is at work on it."""
        return self.state in choices.OPEN


class IncidentUpdate(models.Model):
    """What was said of an incident's standing, newest last. state: as it stood with it. public: for the status page, too."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    incident = models.ForeignKey(Incident, on_delete=models.CASCADE, related_name="updates")
    at = models.DateTimeField()
    state = models.CharField(max_length=10, choices=[(value, status.label) for value, status in choices.STATES.items()])
    text = models.TextField()
    public = models.BooleanField(default=False)
    by = models.CharField(max_length=500)

    class Meta:
        ordering: ClassVar[list[str]] = ["at", "id"]

    def __str__(self) -> str:
        return f"{self.incident_id} {self.at:%Y-%m-%d %H:%M}"


class TimelineEntry(models.Model):
    """One line of a timeline.

    source: what it was made of (``fact:<id>``, ``alert:<event's id>`` and the like), at most one entry of each; empty for what people
    write. recorded_at: when it came here; later than ``at`` for what was learnt late. hidden: left out by a person as not part of the
    story; it stays.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    incident = models.ForeignKey(Incident, on_delete=models.CASCADE, related_name="entries")
    at = models.DateTimeField()
    recorded_at = models.DateTimeField(auto_now_add=True)
    kind = models.CharField(max_length=12, choices=list(choices.ENTRY_KINDS.items()))
    source = models.CharField(max_length=80, blank=True, default="")
    title = models.CharField(max_length=300)
    text = models.TextField(blank=True, default="")
    tone = models.CharField(max_length=10, default="neutral")
    url = models.CharField(max_length=500, blank=True, default="")
    by = models.CharField(max_length=500, blank=True, default="")
    pinned = models.BooleanField(default=False)
    hidden = models.BooleanField(default=False)

    class Meta:
        ordering: ClassVar[list[str]] = ["at", "id"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["incident", "source"], condition=~Q(source=""), name="timeline_source_once"),
        ]
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["incident", "at"], name="timeline_of_incident")]

    def __str__(self) -> str:
        return f"{self.at:%H:%M:%S} {self.title}"


class IncidentAttachment(models.Model):
    """A file beside a timeline's entry: a log, a picture. kind: its media type, as its bytes say, never as its sender did."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    entry = models.OneToOneField(TimelineEntry, on_delete=models.CASCADE, related_name="attachment")
    name = models.CharField(max_length=200)
    kind = models.CharField(max_length=100)
    size = models.PositiveIntegerField()
    sha256 = models.CharField(max_length=64)
    body = models.BinaryField()

    def __str__(self) -> str:
        return self.name


class IncidentChat(models.Model):
    """An organisation's slash command. secret: a reference (``env:NAME``, ``file:name``) to the signing secret, never the secret.

    workspace: the workspace's id (``T0123``) that may call, empty: the first that calls with the right signature is kept.
    """

    organisation = models.OneToOneField("accounts.Organisation", on_delete=models.CASCADE, primary_key=True, related_name="incident_chat")
    secret = models.CharField(max_length=300)
    workspace = models.CharField(max_length=60, blank=True, default="")
    enabled = models.BooleanField(default=True)
    changed_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return f"slash command of {self.organisation_id}"


class ChatCall(models.Model):
    """A slash command that was taken, by its signature, so that none is taken twice; forgotten once its timestamp is too old anyway."""

    signature = models.CharField(max_length=80, primary_key=True)
    at = models.DateTimeField()

    def __str__(self) -> str:
        return self.signature
