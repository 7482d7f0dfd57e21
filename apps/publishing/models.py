"""Published config: versions, the temporal store of fragments, marks of what changed, and the proxies that read it.

SQL functions in schema ``proxy_api`` read and write these tables on behalf of the proxies (migrations of this app).
"""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.db import models

from apps.contracts.identifiers import uuid7
from apps.publishing.managed_models import ManagedThing

__all__ = ["FragmentRow", "ManagedThing", "ProxyProcess", "Submission", "TouchedFragment", "Version"]


class Version(models.Model):
    """One published config: author, reason, what differs from the version before.

    lineage: random per version. A restored database may give a number again; number and lineage together never repeat.
    manifest: section -> the last version that changed it. counts: section -> objects added, changed, removed.
    diff: see ``apps.publishing.diff``; of a large version the first objects only.
    restores: the version whose content a rollback brought back.
    """

    number = models.BigIntegerField(primary_key=True)
    lineage = models.UUIDField(default=uuid.uuid4, editable=False)
    actor_kind = models.CharField(max_length=20)
    actor_id = models.CharField(max_length=500)
    actor_name = models.CharField(max_length=500)
    reason = models.CharField(max_length=2000, blank=True, default="")
    restores = models.BigIntegerField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    counts = models.JSONField(default=dict)
    diff = models.JSONField(default=dict)
    manifest = models.JSONField(default=dict)

    class Meta:
        db_table = "publishing_version"
        ordering: ClassVar[list[str]] = ["-number"]

    def __str__(self) -> str:
        return f"v{self.number}"


class FragmentRow(models.Model):
    """A fragment as it is from ``version`` on, until a later row of the same object; ``body`` NULL: gone."""

    id = models.BigAutoField(primary_key=True)
    section = models.CharField(max_length=40)
    object_id = models.CharField(max_length=400)
    version = models.BigIntegerField()
    body = models.BinaryField(null=True)

    class Meta:
        db_table = "publishing_fragment"
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["section", "object_id", "version"], name="publishing_fragment_once"),
        ]
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["version"], name="publishing_fragment_version")]

    def __str__(self) -> str:
        return f"{self.section}/{self.object_id} v{self.version}"


class TouchedFragment(models.Model):
    """A mark that an object changed since it was last published. Written by ``section_touch`` in the change's transaction.

    Never unique: two transactions that touch one object must not wait for each other.
    """

    id = models.BigAutoField(primary_key=True)
    section = models.CharField(max_length=40)
    object_id = models.CharField(max_length=400)
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "publishing_touched"

    def __str__(self) -> str:
        return f"{self.section}/{self.object_id}"


class ProxyProcess(models.Model):
    """One proxy process, from its registration to its proven end (``gone_at``).

    version: the config it runs, as of its last heartbeat; acked_at: when it first said so.
    """

    boot_id = models.UUIDField(primary_key=True, default=uuid7)
    name = models.CharField(max_length=200)
    host = models.CharField(max_length=300)
    pid = models.IntegerField()
    public_url = models.CharField(max_length=500)
    admin_url = models.CharField(max_length=500)
    state = models.CharField(max_length=20, default="starting")
    detail = models.JSONField(default=dict)
    version = models.BigIntegerField(default=0)
    acked_at = models.DateTimeField(null=True)
    registered_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    gone_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "publishing_proxy"
        ordering: ClassVar[list[str]] = ["name", "registered_at"]

    def __str__(self) -> str:
        return f"{self.name} ({self.boot_id})"


class Submission(models.Model):
    """A form that was sent and done, so that sending it twice does it once. Kept for a day."""

    id = models.BigAutoField(primary_key=True)
    user_id = models.UUIDField()
    nonce = models.CharField(max_length=64)
    url = models.CharField(max_length=500, blank=True, default="")
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "publishing_submission"
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["user_id", "nonce"], name="publishing_submission_once"),
        ]

    def __str__(self) -> str:
        return f"{self.nonce} of {self.user_id}"
