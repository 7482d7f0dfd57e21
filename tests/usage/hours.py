"""Hours of usage written directly: one row by all dimensions, and the day's summary of its provider; requests that are settled."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from django.db import connection

from apps.accounts.models import Organisation
from apps.contracts.identifiers import uuid7_bytes
from apps.contracts.usage import Attempt, Tokens, UsageRecord
from apps.usage import services
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


def spent_add(
    organisation: Organisation, day: date, *, hour: int = 9, cost_nano: int, provider: str = "openai", model: str = "gpt-4o", **facts: Any
) -> None:
    """One request of that hour, settled as the shipper does it. facts: other fields of the record (``team``, ``feature`` ...)."""
    at = datetime(day.year, day.month, day.day, hour, tzinfo=UTC)
    tokens = Tokens(input=5, output=10)
    attempt = Attempt(provider=provider, endpoint="main", model=model, outcome="ok", tokens=tokens, cost_nano=cost_nano)
    record = UsageRecord(
        id=uuid7_bytes(),
        started_us=int(at.timestamp() * 1e6),
        organisation=str(organisation.pk),
        simulated=facts.pop("simulated", False),
        key_id=facts.pop("key_id", "key"),
        kind="chat",
        route="chat",
        requested_model="chat",
        stream=False,
        outcome="ok",
        status=200,
        attempts=[attempt],
        tokens=tokens,
        cost_nano=cost_nano,
        **facts,
    )
    with connection.cursor() as cursor:
        services.partitions_ensure(cursor=cursor, days=[services.record_day(record)])
        services.usage_settle(cursor=cursor, records=[record])


def summaries_add() -> None:
    """The summaries that pages read, made from the rollups."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT usage_summary_rebuild()")
