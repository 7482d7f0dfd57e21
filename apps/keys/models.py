"""Virtual keys: what apps present to the proxy. Only HMACs of tokens are stored."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from apps.contracts.identifiers import uuid7
from apps.keys import choices


class VirtualKey(models.Model):
    """A virtual key. A revoked key stays as a tombstone, so that it is refused as revoked.

    enabled: a disabled key is refused until it is enabled again.
    source: where its token was read from or written to (``file:path``, ``env:NAME``), empty where it was shown once.
    routes: names of the routes it may use; ``["*"]`` means all of its organisation.
    team: set where no service is; a service brings its own team.
    priority: whose requests are served first where they wait, and shed last. explain: may ask for a dry run.
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
    source = models.CharField(max_length=500, blank=True, default="")
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
    """Hex HMAC-SHA256 of one token that opens a key; unique over the whole installation.

    expires_at: until when a token opens the key that was replaced since; None for the present one.
    """

    digest = models.CharField(max_length=64, primary_key=True)
    key = models.ForeignKey(VirtualKey, on_delete=models.CASCADE, related_name="digest_rows")
    expires_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"digest of {self.key_id}"
