"""Hours of usage written directly: one row by all dimensions, and the day's summary of its provider."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.db import connection

from apps.accounts.models import Organisation
from apps.usage.rollups import COUNTERS, HISTOGRAMS, WIDE

DAY = "%Y-%m-%d"


def hour_add(organisation: Organisation, day: str, *, hour: int = 9, **facts: Any) -> None:
    """facts: dimensions (``provider``, ``model``, ``team`` ...), ``simulated``, and counters; one attempt and request unless said."""
    bucket = datetime.strptime(day, DAY).replace(hour=hour, tzinfo=UTC)
    values: dict[str, Any] = dict.fromkeys(WIDE, "") | dict.fromkeys(COUNTERS, 0) | dict.fromkeys(HISTOGRAMS, "{}")  # type: ignore[operator]
    values |= {"organisation": str(organisation.pk), "simulated": False, "provider": "openai", "model": "gpt-4o"}
    values |= {"requests": 1, "ok": 1, "attempts": 1, "bucket": bucket} | facts
    names = list(values)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO usage_rollup_1h ({', '.join(names)}, dimensions) VALUES ({', '.join(['%s'] * len(names))}, gen_random_uuid())",
            list(values.values()),
        )


def summaries_add() -> None:
    """The summaries that pages read, made from the rollups."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT usage_summary_rebuild()")
