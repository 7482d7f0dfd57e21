"""Personal tokens, and the answers that are kept for a write that is sent again."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models

from apps.contracts.identifiers import uuid7


class PersonalToken(models.Model):
    """What a person's programs present to the API. Only a hash of the secret is kept.

    hint: its last characters, to tell tokens apart. scopes: grants of ``apps.accounts.scopes``. used_at, used_from: the last use,
    to the minute.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="tokens")
    name = models.CharField(max_length=80)
    secret_hash = models.CharField(max_length=64, unique=True)
    hint = models.CharField(max_length=8)
    scopes = ArrayField(models.CharField(max_length=40))
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True)
    used_from = models.CharField(max_length=64, blank=True, default="")
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["-created_at"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["user", "name"], condition=models.Q(revoked_at=None), name="accounts_token_name_once")
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def via(self) -> str:
        """What the audit says of a call that came with it."""
        return f"token {self.name} (…{self.hint})"

    @property
    def grants(self) -> frozenset[str]:
        """What it narrows its person to."""
        return frozenset(self.scopes)


class StoredAnswer(models.Model):
    """The answer to a write that carried an ``Idempotency-Key``, for whoever sends the same again.

    owner: the token's id, or the person's for a browser's session. fingerprint: of method, path and body. body: under the master key,
    because an answer may hold a secret that is shown once; empty while the write has not finished.
    """

    id = models.BigAutoField(primary_key=True)
    owner = models.UUIDField()
    key = models.CharField(max_length=200)
    fingerprint = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField(default=0)
    headers = models.JSONField(default=dict)
    body = models.TextField(blank=True, default="")
    at = models.DateTimeField()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["owner", "key"], name="accounts_stored_answer_once")
        ]
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["at"], name="accounts_stored_answer_at")]

    def __str__(self) -> str:
        return f"{self.status} for {self.key}"
