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

from apps.usage.documents import attempt_of_columns
from apps.usage.fields import ChargesField, DocumentField


class UsageRequest(models.Model):
    """One request, once. Written only by the shipper (``services.requests_store``); dropped by whole days.

    Filter by a range of ``started_at`` whenever possible: it selects the partitions. ``provider``, ``endpoint`` and
    ``model`` are those of the attempt that answered, or of the last one, and so are ``region`` to ``charges`` (lease, reserved
    nano-dollars, in turn). ``attempts`` gives every attempt (``apps.usage.documents.AttemptDocument``); stored it is NULL for no
    attempt and for a single one that the columns tell, which ``from_db``, and ``usage_attempts(usage_request)`` in SQL, make whole.
    ``first_token_us`` is -1 where no token came.
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
    """Ten seconds by route and target: live rates and alerts. Kept 48 hours."""

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
    """One hour by all dimensions. Kept for good: bills and year-long plots."""

    class Meta(WideRollup.Meta):
        abstract = False
        db_table = "usage_rollup_1h"
