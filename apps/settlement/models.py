"""How far each journal is settled, and what of it must be remembered. Written in the settling transactions only."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from apps.settlement.choices import DRAINED, LIVE, WRITTEN_OFF


class SettlementJournal(models.Model):
    """One proxy process's journal. ``(segment, offset)`` is the watermark: everything before it is in Postgres,
    nothing after it is; it moves by compare-and-set in the transaction that stores what it passes.

    first_segment: opens of earlier segments are closed or in ``SettlementOpen``; those files may be deleted.
    records: full records settled, unknown outcomes included. lag_ms: how long the oldest record of the last batch had waited.
    lost_bytes: bytes after the last whole record of a dead journal that could not be read (a power loss).
    """

    boot_id = models.UUIDField(primary_key=True)
    name = models.TextField()
    host = models.TextField()
    state = models.TextField(default=LIVE)
    segment = models.IntegerField()
    offset = models.BigIntegerField()
    first_segment = models.IntegerField()
    records = models.BigIntegerField(default=0)
    unknown = models.BigIntegerField(default=0)
    lag_ms = models.BigIntegerField(default=0)
    lost_bytes = models.BigIntegerField(default=0)
    started_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    class Meta:
        db_table = "settlement_journal"
        ordering: ClassVar[list[str]] = ["-started_at"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(condition=models.Q(state__in=[LIVE, DRAINED, WRITTEN_OFF]), name="settlement_journal_state"),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["state", "-updated_at"], name="settlement_journal_recent"),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.boot_id})"


class SettlementOpen(models.Model):
    """An open record whose segment is deleted while its request still runs: carried here until it is closed."""

    pk = models.CompositePrimaryKey("boot_id", "request_id", "ordinal")
    boot_id = models.UUIDField()
    request_id = models.UUIDField()
    ordinal = models.IntegerField()
    payload = models.BinaryField()

    class Meta:
        db_table = "settlement_open"

    def __str__(self) -> str:
        return f"{self.request_id} #{self.ordinal}"


class SettlementReject(models.Model):
    """A journalled record that could not be stored as usage, kept whole: nothing is dropped silently.

    Its charges are settled all the same where it could be decoded.
    """

    boot_id = models.UUIDField()
    segment = models.IntegerField()
    offset = models.BigIntegerField()
    payload = models.BinaryField()
    error = models.TextField()
    at = models.DateTimeField()

    class Meta:
        db_table = "settlement_reject"
        ordering: ClassVar[list[str]] = ["-at"]

    def __str__(self) -> str:
        return f"{self.boot_id} {self.segment}:{self.offset}"


class SettlementShipper(models.Model):
    """A shipper, one for each host and journal directory, as it last said: where it is scraped, and how far behind it is.

    id: host and directory. metrics_url: empty where it serves no metrics. seen_at: when, by the database's clock. It says so every ten
    seconds while Postgres answers: an old row is a shipper that died, or cannot reach Postgres.
    """

    id = models.TextField(primary_key=True)
    host = models.TextField()
    pid = models.IntegerField()
    metrics_url = models.TextField(default="")
    state = models.TextField()
    lag_ms = models.BigIntegerField(default=0)
    records = models.BigIntegerField(default=0)
    seen_at = models.DateTimeField()

    class Meta:
        db_table = "settlement_shipper"
        ordering: ClassVar[list[str]] = ["host", "id"]

    def __str__(self) -> str:
        return self.id
