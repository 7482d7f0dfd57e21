"""The audit trail (decisions, hash-chained, append-only) and the event log (facts)."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import models

from apps.audit.rules import content_hash, timestamp_text
from apps.contracts.identifiers import uuid7

CONTENT_FIELDS = (
    "id",
    "actor_kind",
    "actor_id",
    "actor_name",
    "actor_role",
    "actor_address",
    "action",
    "subject_kind",
    "subject_id",
    "subject_name",
    "before",
    "after",
    "reason",
    "config_version",
)
LATER_FIELDS = ("actor_agent", "actor_via")
"""Fields that came later: part of the content where they say something, so that older links hash as they did."""


class AuditEvent(models.Model):
    """One link of the chain.

    Written without its place (``seq`` NULL); the deferred trigger ``audit_seal`` gives it ``seq``, ``prev_hash`` and ``hash``
    while its transaction commits, so a committed row always has them. Postgres refuses every other UPDATE, and DELETE and TRUNCATE.
    Not managed by Django, so that ``flush`` (also between tests) never tries to empty it; migration 0001 creates it.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    seq = models.BigIntegerField(null=True, unique=True, editable=False)
    at = models.DateTimeField()
    actor_kind = models.TextField()
    actor_id = models.TextField()
    actor_name = models.TextField()
    actor_role = models.TextField(blank=True, default="")
    actor_address = models.TextField(blank=True, default="")
    actor_agent = models.TextField(blank=True, default="")
    actor_via = models.TextField(blank=True, default="")
    action = models.TextField()
    subject_kind = models.TextField()
    subject_id = models.TextField()
    subject_name = models.TextField(blank=True, default="")
    before = models.JSONField(null=True)
    after = models.JSONField(null=True)
    reason = models.TextField(blank=True, default="")
    config_version = models.BigIntegerField(null=True)
    content_hash = models.CharField(max_length=64)
    prev_hash = models.CharField(max_length=64, null=True)
    hash = models.CharField(max_length=64, null=True)

    class Meta:
        managed = False
        db_table = "audit_event"
        ordering: ClassVar[list[str]] = ["-seq"]

    def __str__(self) -> str:
        return f"#{self.seq} {self.actor_name}: {self.action} {self.subject_name}"

    def content(self) -> dict[str, Any]:
        """What ``content_hash`` covers, in JSON-ready form."""
        values: dict[str, Any] = {name: getattr(self, name) for name in CONTENT_FIELDS}
        values["id"] = str(self.id)
        values["at"] = timestamp_text(self.at)
        values |= {name: said for name in LATER_FIELDS if (said := getattr(self, name))}
        return values

    def compute_content_hash(self) -> str:
        """Hex SHA-256 of ``content()``."""
        return content_hash(self.content())


class Event(models.Model):
    """A fact for timelines, plots' markers and notifications: kind, subject, time, data. Kinds are registered in
    ``apps.audit.registry``; facts are not chained and may be pruned."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    kind = models.CharField(max_length=80)
    at = models.DateTimeField()
    recorded_at = models.DateTimeField(auto_now_add=True)
    subject_kind = models.CharField(max_length=80)
    subject_id = models.CharField(max_length=200)
    subject_name = models.CharField(max_length=300, blank=True, default="")
    data = models.JSONField(default=dict)

    class Meta:
        db_table = "audit_fact"
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["at"], name="audit_fact_at"),
            models.Index(fields=["subject_kind", "subject_id", "at"], name="audit_fact_subject"),
        ]
        ordering: ClassVar[list[str]] = ["at", "id"]

    def __str__(self) -> str:
        return f"{self.kind} {self.subject_name or self.subject_id}"


class ChainCheck(models.Model):
    """One walk along the chain. ``head``, ``head_hash``: the newest link reached; ``broken``: what is wrong first, empty when nothing
    is; ``whole``: from the first link, else from the head of the check before."""

    id = models.BigAutoField(primary_key=True)
    at = models.DateTimeField()
    links = models.BigIntegerField()
    head = models.BigIntegerField()
    head_hash = models.CharField(max_length=64)
    broken = models.TextField(blank=True, default="")
    whole = models.BooleanField()

    class Meta:
        db_table = "audit_chain_check"
        ordering: ClassVar[list[str]] = ["-id"]

    def __str__(self) -> str:
        return f"{self.links} links to #{self.head}: {self.broken or 'unbroken'}"
