"""Samples of requests that somebody asked for: who is captured, what was kept, what is taken out of it."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q

from apps.contracts.identifiers import uuid7

_RUNS = Q(ended_at=None)
_OF_ROUTE = ~Q(route_id="") & Q(key_id="")
_OF_KEY = Q(route_id="") & ~Q(key_id="") & Q(until__isnull=False)


class CaptureRule(models.Model):
    """A wish for samples: ``percent`` of a route's requests, or the next ``wanted`` of a key until ``until``.

    route_id, key_id: of one of the two; route_name, key_name: as it was called then. days: how long each sample is kept. taken: samples
    stored so far. ended_at: None while it holds; a rule that ended stays, as its samples name it.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organisation = models.ForeignKey("accounts.Organisation", on_delete=models.CASCADE, related_name="+")
    route_id = models.CharField(max_length=36, blank=True, default="")
    route_name = models.CharField(max_length=120, blank=True, default="")
    key_id = models.CharField(max_length=36, blank=True, default="")
    key_name = models.CharField(max_length=80, blank=True, default="")
    percent = models.FloatField(default=0)
    wanted = models.PositiveIntegerField(default=0)
    taken = models.PositiveIntegerField(default=0)
    until = models.DateTimeField(null=True, blank=True)
    days = models.PositiveSmallIntegerField()
    reason = models.CharField(max_length=2000, blank=True, default="")
    by = models.CharField(max_length=300)
    created_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["-created_at"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organisation", "route_id"], condition=_RUNS & ~Q(route_id=""), name="capture_route_once"),
            models.UniqueConstraint(fields=["organisation", "key_id"], condition=_RUNS & ~Q(key_id=""), name="capture_key_once"),
            models.CheckConstraint(condition=_OF_ROUTE | _OF_KEY, name="capture_of_one"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def name(self) -> str:
        """For people and the audit: ``route chat`` or ``key search-backend``."""
        return f"route {self.route_name}" if self.route_id else f"key {self.key_name}"


class CaptureSample(models.Model):
    """What was kept of one request: redacted by the proxy, then encrypted under the master key (``body``: a JSON object with ``request``
    and ``answer``). size: characters of it. found: what was taken out, by kind. cut: it was longer than what is kept."""

    request_id = models.UUIDField(primary_key=True, editable=False)
    organisation = models.ForeignKey("accounts.Organisation", on_delete=models.CASCADE, related_name="+")
    rule = models.ForeignKey(CaptureRule, on_delete=models.SET_NULL, null=True, related_name="samples")
    route = models.CharField(max_length=200, blank=True)
    key_id = models.CharField(max_length=36, blank=True)
    at = models.DateTimeField()
    status = models.IntegerField()
    body = models.TextField()
    size = models.IntegerField()
    found = models.JSONField(default=dict)
    cut = models.BooleanField(default=False)
    expires_at = models.DateTimeField()

    class Meta:
        ordering: ClassVar[list[str]] = ["-at"]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["expires_at"], name="capture_sample_expires"),
            models.Index(fields=["organisation", "at"], name="capture_sample_of"),
        ]

    def __str__(self) -> str:
        return str(self.request_id)


class CapturePatterns(models.Model):
    """What an organisation wants taken out of its samples beside what always is: ``[[kind, template], ...]``."""

    organisation = models.OneToOneField("accounts.Organisation", on_delete=models.CASCADE, primary_key=True, related_name="+")
    patterns = models.JSONField(default=list)
    changed_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return f"patterns of {self.organisation_id}"
