"""What lies in the database: sizes by groups of tables, sampled each day, and how they grow."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

from django.db import connection, transaction

from apps.usage.retention import Retention, retention
from apps.usage.selectors import rows_of
from apps.usage.storage_rules import LOOKED_DAYS, Held, growth_of

KEPT_SAMPLES = 800
"""Days of samples."""
GROUPS: tuple[tuple[str, str, str], ...] = (
    ("requests", "Requests, one by one", r"usage_request"),
    ("live", "Totals by ten seconds", r"usage_rollup_10s|usage_rollup_pending"),
    ("minutes", "Totals by the minute", r"usage_rollup_1m"),
    ("hours", "Totals by the hour", r"usage_rollup_1h"),
    ("summaries", "Summaries that pages read", r"usage_summary"),
    ("spend", "Spend by dimension", r"usage_spend.*"),
    ("gauges", "Queues, breakers and lag", r"usage_gauge"),
    ("usage", "Other usage: feedback, samples, exports", r"usage_.*"),
    ("audit", "Audit and facts", r"audit_.*"),
    ("config", "Config and its history", r"publishing_.*"),
    ("other", "Everything else", r".*"),
)
"""(name, what people call it, its tables): the first that matches. Partitions count at their table."""
LABELS = {name: label for name, label, _ in GROUPS}

_SIZES = """
    SELECT coalesce(parent.relname, own.relname), sum(pg_total_relation_size(own.oid))::bigint, sum(greatest(own.reltuples, 0))::bigint
    FROM pg_class own LEFT JOIN pg_inherits ON inhrelid = own.oid LEFT JOIN pg_class parent ON parent.oid = inhparent
    WHERE own.relkind = 'r' AND own.relnamespace = 'public'::regnamespace GROUP BY 1
"""
_DAYS = """
    SELECT pg_total_relation_size(own.oid) FROM pg_inherits JOIN pg_class own ON own.oid = inhrelid
    WHERE inhparent = 'usage_request'::regclass AND own.relname < %s AND own.reltuples > 0 ORDER BY own.relname DESC LIMIT 7
"""


def group_of(table: str) -> str:
    """The group that a table belongs to."""
    return next(name for name, _, pattern in GROUPS if re.fullmatch(pattern, table))


def sizes_now() -> dict[str, tuple[int, int]]:
    """Group -> (bytes with indexes and TOAST, rows as Postgres estimates them): one query."""
    found: dict[str, tuple[int, int]] = {}
    for table, size, rows in rows_of(_SIZES, []):
        name = group_of(table)
        known = found.get(name, (0, 0))
        found[name] = (known[0] + size, known[1] + rows)
    return found


@transaction.atomic
def storage_sample(*, today: date | None = None) -> int:
    """Keep today's sizes, in place of an earlier look at the same day; old samples go. Returns how many groups. Safe to run again."""
    today = today or datetime.now(UTC).date()
    sizes = sizes_now()
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO usage_storage (day, name, bytes, rows) VALUES (%s, %s, %s, %s) "
            "ON CONFLICT (day, name) DO UPDATE SET bytes = excluded.bytes, rows = excluded.rows",
            [(today, name, size, rows) for name, (size, rows) in sizes.items()],
        )
        cursor.execute("DELETE FROM usage_storage WHERE day < %s", [today - timedelta(days=KEPT_SAMPLES)])
    return len(sizes)


def held(*, kept: Retention | None = None, today: date | None = None) -> list[Held]:
    """Every group with its growth, the largest first: three queries, four where retention is not given."""
    kept, today = kept or retention(), today or datetime.now(UTC).date()
    samples: dict[str, list[tuple[date, int]]] = {}
    for day, name, size in rows_of("SELECT day, name, bytes FROM usage_storage WHERE day > %s", [today - timedelta(days=LOOKED_DAYS)]):
        samples.setdefault(name, []).append((day, size))
    whole_days = [size for (size,) in rows_of(_DAYS, [f"usage_request_{today:%Y%m%d}"])]
    per_day = sum(whole_days) / len(whole_days) if whole_days else None
    kept_days = {"requests": kept.request_days, "minutes": kept.minute_days, "hours": kept.hour_days, "live": 2, "gauges": 30}
    found = [
        Held(
            name=name,
            bytes=size,
            rows=rows,
            growth=growth_of(samples.get(name, [])),
            kept_days=kept_days.get(name),
            per_day=per_day if name == "requests" else None,
        )
        for name, (size, rows) in sizes_now().items()
    ]
    return sorted(found, key=lambda group: group.bytes, reverse=True)


def history(names: Iterable[str] | None = None, *, days: int = 90, today: date | None = None) -> dict[date, int]:
    """Bytes in all by day, of the last so many days: one query. names: of some groups alone."""
    today = today or datetime.now(UTC).date()
    wanted = list(LABELS if names is None else names)
    rows = rows_of(
        "SELECT day, sum(bytes)::bigint FROM usage_storage WHERE day > %s AND name = ANY (%s) GROUP BY day ORDER BY day",
        [today - timedelta(days=days), wanted],
    )
    return dict(rows)
