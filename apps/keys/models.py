"""Virtual keys: what apps present to the proxy. Only HMACs of tokens are stored."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from apps.contracts.identifiers import uuid7
from apps.keys import choices
from apps.keys.template_models import KeyTemplate

__all__ = ["KeyDigest", "KeyHandover", "KeyRequest", "KeyTemplate", "VirtualKey"]


class VirtualKey(models.Model):
    """A virtual key. A revoked key stays as a tombstone, so that it is refused as revoked.

    enabled: a disabled key is refused until it is enabled again.
    source: where its token was read from or written to (``file:path``, ``env:NAME``), empty where it was shown once.
    routes: names of the routes it may use; ``["*"]`` means all of its organisation.
    team: set where no service is; a service brings its own team.
    priority: whose requests are served first where they wait, and shed last. explain: may ask for a dry run.
    addresses: ranges (CIDR, canonical) that it may be used from; empty: from everywhere.
    holder_id: of the person, as the audit has it, to whom alone its present secret was shown; empty: nobody knows who has it.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organisation = models.ForeignKey("accounts.Organisation", on_delete=models.PROTECT, related_name="keys")
    name = models.CharField(max_length=80)
    public_id = models.CharField(max_length=20, unique=True)
    state = models.CharField(max_length=10, choices=choices.STORED_STATES, default="active")
    enabled = models.BooleanField(default=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    environment = models.CharField(max_length=20, choices=choices.ENVIRONMENTS, default="production")
    feature = models.CharField(max_length=80, blank=True, default="")
    tags = ArrayField(models.CharField(max_length=80), default=list, blank=True)
    routes = ArrayField(models.CharField(max_length=120), default=choices.all_routes, blank=True)
    team = models.ForeignKey("ownership.Team", on_delete=models.PROTECT, null=True, blank=True, related_name="keys")
    service = models.ForeignKey("ownership.Service", on_delete=models.PROTECT, null=True, blank=True, related_name="keys")
    priority = models.CharField(max_length=10, choices=choices.PRIORITIES, default="normal")
    explain = models.BooleanField(default=False)
    addresses = ArrayField(models.CharField(max_length=50), default=list, blank=True)
    source = models.CharField(max_length=500, blank=True, default="")
    holder_id = models.CharField(max_length=64, blank=True, default="", db_default="")
    created_at = models.DateTimeField(auto_now_add=True)
    changed_at = models.DateTimeField(auto_now=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["name"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            # A name is free again once its key is revoked: the tombstone keeps its own.
            models.UniqueConstraint(fields=["organisation", "name"], condition=Q(state="active"), name="key_name_once"),
            models.CheckConstraint(
                condition=Q(state="active", revoked_at=None) | Q(state="revoked", revoked_at__isnull=False), name="key_revoked_at"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class KeyDigest(models.Model):
    """Hex digest of one token that opens a key; unique over the whole installation.

    kind: ``hmac`` under the installation's pepper, as every token that Bulkhead has seen; ``sha256`` bare, of a token that another
    gateway kept so and nobody has. expires_at: until when a token opens the key that was replaced since; None for the present one.
    """

    digest = models.CharField(max_length=64, primary_key=True)
    kind = models.CharField(max_length=10, choices=choices.DIGESTS, default="hmac")
    key = models.ForeignKey(VirtualKey, on_delete=models.CASCADE, related_name="digest_rows")
    expires_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"digest of {self.key_id}"


class KeyRequest(models.Model):
    """A key that somebody asked a team for. What they wished is kept as they wrote it, also once it was decided.

    facts: ``apps.keys.wishes.Wish`` as JSON. outside: what of it lay outside the team's bounds when it was asked for, in words.
    requester_id: of the person, as the audit has it. key: what came of it, once it was approved.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organisation = models.ForeignKey("accounts.Organisation", on_delete=models.CASCADE, related_name="key_requests")
    team = models.ForeignKey("ownership.Team", on_delete=models.CASCADE, related_name="key_requests")
    name = models.CharField(max_length=80)
    facts = models.JSONField(default=dict)
    outside = models.JSONField(default=list)
    reason = models.CharField(max_length=2000)
    requester_id = models.CharField(max_length=64)
    requester_email = models.CharField(max_length=254)
    state = models.CharField(max_length=10, choices=choices.REQUEST_STORED_STATES, default="open")
    decided_by = models.CharField(max_length=254, blank=True, default="")
    decided_at = models.DateTimeField(null=True, blank=True)
    answer = models.CharField(max_length=2000, blank=True, default="")
    key = models.ForeignKey(VirtualKey, on_delete=models.SET_NULL, null=True, blank=True, related_name="requests")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["-created_at"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(condition=Q(state="open", decided_at=None) | ~Q(state="open"), name="key_request_decided_at"),
        ]
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["organisation", "state", "created_at"], name="key_request_state")]

    def __str__(self) -> str:
        return self.name


class KeyHandover(models.Model):
    """Secrets of new keys that wait for one person, who sees them once. Encrypted under the master key until then, erased after.

    person_id: who may fetch them, as the audit has it. key_ids: of the keys they open. request: what it answers.
    sealed: a JSON list of (name, public id, token), encrypted; empty once fetched or expired.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organisation = models.ForeignKey("accounts.Organisation", on_delete=models.CASCADE, related_name="key_handovers")
    person_id = models.CharField(max_length=64)
    request = models.OneToOneField(KeyRequest, on_delete=models.CASCADE, null=True, blank=True, related_name="handover")
    key_ids = models.JSONField(default=list)
    count = models.PositiveIntegerField()
    sealed = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    fetched_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.count} secrets"
