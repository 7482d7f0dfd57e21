"""Forgetting an organisation: every request, sum and rollup of it, in short steps."""

from __future__ import annotations

from collections.abc import Callable

from django.db import connection, transaction

from apps.usage.capture_services import captures_forget
from apps.usage.services import rollups_fold

STEP_ROWS = 20_000
TABLES = (
    "usage_request", "usage_summary", "usage_rollup_10s", "usage_rollup_1m", "usage_rollup_1h", "usage_spend", "usage_spend_counted",
    "usage_spendforecast", "usage_spendanomaly", "usage_feedback", "usage_gauge",
    "usage_feature",
)  # fmt: skip
_KEYS = {
    "usage_request": "id, started_at",
    "usage_summary": "organisation, simulated, seconds, dimension, bucket, value",
    "usage_spend": "organisation, simulated, seconds, dimension, bucket, value",
    "usage_spend_counted": "organisation, simulated, bucket",
    "usage_spendforecast": "id",
    "usage_spendanomaly": "id",
    "usage_feedback": "request_id, key_id",
    "usage_gauge": "name, organisation, subject, bucket",
    "usage_feature": "organisation, day, feature",
}

_OWNERS = {"usage_spendforecast": "organisation_id", "usage_spendanomaly": "organisation_id"}


def usage_forget(*, organisation: str, said: Callable[[str, int], None] = lambda table, rows: None) -> dict[str, int]:
    """Delete all usage of one organisation; table -> rows. ``said`` is called after each step with the table and its rows so far.

    Sums that wait to be added are added first, or they would come back. Safe to run again: records that a proxy still writes are
    found by the next run.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        while rollups_fold(cursor=cursor):
            pass
    captures_forget(organisation=organisation)
    deleted = dict.fromkeys(TABLES, 0)
    for table in TABLES:
        keys, owner = _KEYS.get(table, "bucket, dimensions"), _OWNERS.get(table, "organisation")
        while True:
            with connection.cursor() as cursor:
                cursor.execute(
                    f"DELETE FROM {table} WHERE ({keys}) IN (SELECT {keys} FROM {table} WHERE {owner} = %s LIMIT %s)",
                    [organisation, STEP_ROWS],
                )
                rows = cursor.rowcount
            deleted[table] += rows
            said(table, deleted[table])
            if rows < STEP_ROWS:
                break
    return deleted
