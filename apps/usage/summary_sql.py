"""The summaries in SQL: whose rows, of which buckets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from django.db import connection

from apps.accounts.scope import Scope
from apps.usage.covering import Segment

Dimension = Literal["route", "provider", "endpoint", "model", "key_id", "team"]
"""An endpoint's value is ``<provider>/<endpoint>`` (``apps.usage.summaries.endpoint_value``)."""
EVERYTHING: Literal[""] = ""


def rows_of(sql: str, parameters: Sequence[Any] | Mapping[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchall()


WHERE = "organisation = %s AND simulated = %s AND seconds = %s AND dimension = %s AND bucket >= %s AND bucket < %s"
_BUCKETS = "ARRAY(SELECT generate_series(%s::timestamptz, %s::timestamptz - interval '1 second', make_interval(secs => %s)))"
WHERE_VALUES = (
    f"organisation = %s AND simulated = %s AND seconds = %s AND dimension = %s AND bucket = ANY ({_BUCKETS}) AND value = ANY (%s)"
)


def covered(
    scope: Scope, segments: Sequence[Segment], dimensions: Sequence[str], values: Sequence[str] | None = None
) -> tuple[str, list[Any]]:
    """The rows of ``usage_summary`` in some segments, as SQL for FROM, and its parameters. One index range each; of some values
    alone, one look-up for each bucket and value."""
    parts, parameters = [], []
    for segment in segments:
        for dimension in dimensions:
            owner = [scope.organisation, scope.simulated, segment.seconds, dimension]
            if values is None:
                parts.append(f"SELECT * FROM usage_summary WHERE {WHERE}")
                parameters += [*owner, segment.start, segment.end]
            else:
                parts.append(f"SELECT * FROM usage_summary WHERE {WHERE_VALUES}")
                parameters += [*owner, segment.start, segment.end, segment.seconds, list(values)]
    return f"({' UNION ALL '.join(parts)}) AS covered", parameters
