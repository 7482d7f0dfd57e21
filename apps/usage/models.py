"""Usage as Postgres keeps it: one row per request in day partitions, and rollups.

The tables are made by SQL (``migrations/0001_tables.py``): partitions, fill factors and index orders are beyond
Django's schema editor, so the models are unmanaged and only describe. Money is nano-dollars, durations are
microseconds, ``started_at`` is database time as the proxy measured it. Every row carries ``organisation`` and
``simulated``; no total may mix two of either.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, ClassVar

from django.db import models
from django.db.models import F, Q

from apps.contracts.identifiers import uuid7
from apps.usage.capture_models import CapturePatterns, CaptureRule, CaptureSample
from apps.usage.choices import ANOMALY_KINDS
from apps.usage.documents import attempt_of_columns
from apps.usage.fields import ChargesField, DocumentField
from apps.usage.reconciliation_models import ProviderExport, ProviderExportLine

__all__ = [
    "CapturePatterns",
    "CaptureRule",
    "CaptureSample",
    "ProviderExport",
    "ProviderExportLine",
    "Rollup",
    "UsageRequest",
    "UsageRollup1h",
    "UsageRollup1m",
    "UsageRollup10s",
    "WideRollup",
]


class UsageRequest(models.Model):
    """One request, once. Written only by the shipper (``services.requests_store``); dropped by whole days.

    Filter by a range of ``started_at`` whenever possible: it selects the partitions. ``provider``, ``endpoint`` and
    ``model`` are those of the attempt that answered, or of the last one, and so are ``region`` to ``charges`` (lease, reserved
    nano-dollars, in turn). ``attempts`` gives every attempt (``apps.usage.documents.AttemptDocument``); stored it is NULL for no
    attempt and for a single one that the columns tell, which ``from_db``, and ``usage_attempts(usage_request)`` in SQL, make whole.
    ``first_token_us`` is -1 where no token came. ``trace_id`` (32 hex digits), ``parent_span`` (16) and ``trace_sampled`` are those of the
    caller's trace, NULL where it sent none (``apps.contracts.traceparent``).
    """

    pk = models.CompositePrimaryKey("started_at", "id")
    id = models.UUIDField()
    started_at = models.DateTimeField()
    settled_at = models.DateTimeField()
    organisation = models.TextField()
    simulated = models.BooleanField()
    key_id = models.TextField()
    kind = models.TextField()
    route = models.TextField()
    requested_model = models.TextField()
    stream = models.BooleanField()
    outcome = models.TextField()
    status = models.IntegerField()
    error_code = models.TextField()
    error_step = models.TextField()
    environment = models.TextField()
    feature = models.TextField()
    tags = DocumentField(default=list)
    user = models.TextField()
    metadata = DocumentField(default=dict)
    team = models.TextField()
    service = models.TextField()
    config_version = models.BigIntegerField()
    flags = DocumentField(default=list)
    input_hash = models.TextField()
    provider = models.TextField()
    endpoint = models.TextField()
    model = models.TextField()
    attempt_count = models.IntegerField()
    region = models.TextField()
    price_version = models.TextField()
    upstream_status = models.IntegerField()
    upstream_sent_us = models.BigIntegerField()
    upstream_first_byte_us = models.BigIntegerField()
    upstream_ended_us = models.BigIntegerField()
    upstream_request_id = models.TextField()
    charges = ChargesField()
    attempts = models.JSONField(null=True)
    tokens_input = models.BigIntegerField()
    tokens_output = models.BigIntegerField()
    tokens_cache_read = models.BigIntegerField()
    tokens_cache_write = models.BigIntegerField()
    tokens_reasoning = models.BigIntegerField()
    cost_nano = models.BigIntegerField()
    estimated = models.BooleanField()
    first_token_us = models.BigIntegerField()
    total_us = models.BigIntegerField()
    upstream_us = models.BigIntegerField()
    bytes_in = models.BigIntegerField()
    bytes_out = models.BigIntegerField()
    proxy = models.TextField()
    trace_id = models.TextField(null=True)
    parent_span = models.TextField(null=True)
    trace_sampled = models.BooleanField(null=True)

    class Meta:
        managed = False
        db_table = "usage_request"
        ordering: ClassVar[list[str]] = ["-started_at", "-id"]

    def __str__(self) -> str:
        return str(self.id)

    @classmethod
    def from_db(cls, db: str | None, field_names: Collection[str], values: Sequence[Any]) -> UsageRequest:
        """The row with all its attempts; a row without the column ``attempts`` stays without."""
        row: UsageRequest = super().from_db(db, field_names, values)
        if row.__dict__.get("attempts", ()) is None:
            row.attempts = [attempt_of_columns(row)] if row.attempt_count else []
        return row


class Rollup(models.Model):
    """Sums over one bucket of time and one combination of dimensions.

    A request is counted (``requests``, the outcome's column, ``total_us``, ``upstream_us``, bytes, histograms) at the
    target that answered it, or was tried last; tokens, cost and attempts are counted at the target that used them. So each
    column's sum over any set of rows that covers all targets equals the sum over the requests.
    ``h_total`` holds the durations of requests that were answered or failed, ``h_first_token`` the
    times to the first token where one came: ``{index: count}``, see ``apps.contracts.histogram``.
    """

    pk = models.CompositePrimaryKey("bucket", "dimensions")
    bucket = models.DateTimeField()
    """Start of the interval, UTC."""
    dimensions = models.UUIDField()
    """MD5 of the dimension columns: keeps the unique index narrow."""
    organisation = models.TextField()
    simulated = models.BooleanField()
    route = models.TextField()
    provider = models.TextField()
    endpoint = models.TextField()
    model = models.TextField()
    requests = models.BigIntegerField()
    ok = models.BigIntegerField()
    error = models.BigIntegerField()
    cancelled = models.BigIntegerField()
    refused = models.BigIntegerField()
    unknown = models.BigIntegerField()
    estimated = models.BigIntegerField()
    attempts = models.BigIntegerField()
    attempt_errors = models.BigIntegerField()
    tokens_input = models.BigIntegerField()
    tokens_output = models.BigIntegerField()
    tokens_cache_read = models.BigIntegerField()
    tokens_cache_write = models.BigIntegerField()
    tokens_reasoning = models.BigIntegerField()
    cost_nano = models.BigIntegerField()
    total_us = models.BigIntegerField()
    upstream_us = models.BigIntegerField()
    bytes_in = models.BigIntegerField()
    bytes_out = models.BigIntegerField()
    h_total = models.JSONField()
    h_first_token = models.JSONField()

    class Meta:
        abstract = True
        managed = False

    def __str__(self) -> str:
        return f"{self.bucket:%Y-%m-%d %H:%M:%S} {self.route} {self.provider}/{self.model}"


class UsageRollup10s(Rollup):
    """Ten seconds by route and target: live rates and alerts. Kept 48 hours.

    ``h_gap``: mean gaps between tokens (microseconds) of finished streams whose answer was counted.
    """

    h_gap = models.JSONField()

    class Meta(Rollup.Meta):
        abstract = False
        db_table = "usage_rollup_10s"


class WideRollup(Rollup):
    """A rollup by all dimensions."""

    key_id = models.TextField()
    team = models.TextField()
    service = models.TextField()
    feature = models.TextField()
    environment = models.TextField()

    class Meta(Rollup.Meta):
        abstract = True


class UsageRollup1m(WideRollup):
    """One minute by all dimensions. Kept as long as the requests."""

    class Meta(WideRollup.Meta):
        abstract = False
        db_table = "usage_rollup_1m"


class UsageRollup1h(WideRollup):
    """One hour by all dimensions. Kept for good: bills and year-long plots. ``h_gap``: as in the ten-second rollup."""

    h_gap = models.JSONField()

    class Meta(WideRollup.Meta):
        abstract = False
        db_table = "usage_rollup_1h"


class SpendForecast(models.Model):
    """What a day and its month were forecast to cost, by the whole days before it; made once, as the day begins, and never changed.

    Compared with what came of it, it says how good forecasts are. spent_nano: of the month before that day. days: whole days that the
    forecast was made from. Days are UTC, amounts nano-dollars; low and high: between them with a probability of 80 percent.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organisation = models.ForeignKey("accounts.Organisation", on_delete=models.CASCADE, related_name="spend_forecasts")
    simulated = models.BooleanField()
    made_on = models.DateField()
    made_at = models.DateTimeField(auto_now_add=True)
    days = models.PositiveIntegerField()
    spent_nano = models.BigIntegerField()
    day_nano = models.BigIntegerField()
    day_low_nano = models.BigIntegerField()
    day_high_nano = models.BigIntegerField()
    month_nano = models.BigIntegerField()
    month_low_nano = models.BigIntegerField()
    month_high_nano = models.BigIntegerField()

    class Meta:
        ordering: ClassVar[list[str]] = ["-made_on"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organisation", "simulated", "made_on"], name="spend_forecast_once"),
            models.CheckConstraint(
                condition=Q(
                    day_low_nano__lte=F("day_nano"),
                    day_nano__lte=F("day_high_nano"),
                    month_low_nano__lte=F("month_nano"),
                    month_nano__lte=F("month_high_nano"),
                ),
                name="spend_forecast_ordered",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.made_on}"


class SpendAnomaly(models.Model):
    """Spend, or a price, that is not as it was: from ``starts_at`` to ``ends_at``, with the figures that say so. Kept for good.

    subject: a key's id, or ``provider/model``. One that goes on is one row whose end and evidence follow. acknowledged_at: when a person
    said why it is all right or what was done; empty while it is open. evidence: ``apps.usage.anomaly_rules.KeyEvidence`` or
    ``apps.prices.changes.PriceEvidence`` as a document.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organisation = models.ForeignKey("accounts.Organisation", on_delete=models.CASCADE, related_name="spend_anomalies")
    simulated = models.BooleanField()
    kind = models.CharField(max_length=20, choices=[(kind, status.label) for kind, status in ANOMALY_KINDS.items()])
    subject = models.CharField(max_length=300)
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    evidence = models.JSONField()
    found_at = models.DateTimeField(auto_now_add=True)
    acknowledged_at = models.DateTimeField(null=True, blank=True)
    acknowledged_by = models.CharField(max_length=300, blank=True, default="")
    reason = models.CharField(max_length=2000, blank=True, default="")

    class Meta:
        ordering: ClassVar[list[str]] = ["-starts_at", "-id"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organisation", "simulated", "kind", "subject", "starts_at"], name="spend_anomaly_once")
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.subject}"
