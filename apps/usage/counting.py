"""Spend by one dimension at a time, and by who and what together, counted from the requests: hour by hour, and each day from its hours.

The rollups know neither users nor regions nor what was paid for in vain, and have a row for every combination; a page over a month wants
one dimension. So a task counts each hour's requests once it is over, and the running hour every minute or so.

Invariants. For every hour and dimension, each column's sum equals the sum over the hour's requests; a day's equals its hours'. An hour
that was counted with fewer requests than the summaries know is counted again, whatever the reason: records that came late, a worker that
died. Nothing depends on a task having run at some time.

As in the rollups, a request counts at the attempt that answered it (or the last); the tokens and cost of each other attempt at its own
target. ``waste_nano`` is the part of ``cost_nano`` that reached nobody (``apps.usage.choices.WASTE``); dimension ``waste`` has it by why.
Of a dimension's values in a bucket the costliest are kept, and the others are one row of the dimension ``<name>_rest``: an app may send
another user with every request.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.db import connection, transaction

from apps.accounts.models import Organisation
from apps.usage.choices import COMBINED, COMBINED_OF, SPEND_DIMENSIONS
from apps.usage.covering import DAY, HOUR, floor
from apps.usage.selectors import rows_of

MOST_HOUR_VALUES = 2_000
MOST_DAY_VALUES = 5_000
REST_FACTOR = 20
"""An hour is counted again only after so many times as long as counting it took: at most a twentieth of a backend, at any traffic."""
RUN_SECONDS = 25.0
"""So long one run goes on; what is left waits for the next."""
REST = "_rest"

_AMOUNTS = ("requests", "attempts", "tokens_input", "tokens_output", "cost_nano", "waste_nano")
_SETS = ", ".join(f'("{name}")' for name in SPEND_DIMENSIONS)
_NAME = " ".join(f"WHEN grouping(\"{name}\") = 0 THEN '{name}'" for name in SPEND_DIMENSIONS)
_VALUE = ", ".join(f'"{name}"' for name in SPEND_DIMENSIONS)
_TOGETHER = ", ".join(f'"{name}"' for name in COMBINED_OF)
_IS_TOGETHER = f"grouping({_TOGETHER}) = 0"

_SERVED = """
    SELECT r.team, r.service, r.feature, r."user", r.key_id, r.route, r.model, r.provider, r.region, 1 AS requests,
           least(r.attempt_count, 1) AS attempts, r.tokens_input, r.tokens_output, r.cost_nano,
           CASE WHEN r.route LIKE '%%~mirror' THEN 'mirror' WHEN r.outcome IN ('error', 'unknown') THEN 'failed'
                WHEN r.outcome = 'cancelled' THEN 'cancelled' ELSE '' END AS waste
    FROM usage_request r
    WHERE r.organisation = %(organisation)s AND r.simulated = %(simulated)s AND r.started_at >= %(start)s AND r.started_at < %(end)s
      AND (r.attempts IS NULL OR jsonb_array_length(r.attempts) < 2)
"""
_SPREAD = """
    SELECT r.team, r.service, r.feature, r."user", r.key_id, r.route, a.model, a.provider, a.region, a.served::int AS requests,
           1 AS attempts,
           CASE WHEN a.served THEN r.tokens_input - a.all_input + a.input ELSE a.input END AS tokens_input,
           CASE WHEN a.served THEN r.tokens_output - a.all_output + a.output ELSE a.output END AS tokens_output,
           CASE WHEN a.served THEN r.cost_nano - a.all_cost + a.cost ELSE a.cost END AS cost_nano,
           CASE WHEN r.route LIKE '%%~mirror' OR a.role = 'mirror' THEN 'mirror'
                WHEN a.served AND r.outcome IN ('error', 'unknown') THEN 'failed'
                WHEN a.served AND r.outcome = 'cancelled' THEN 'cancelled'
                WHEN a.served THEN ''
                WHEN a.outcome = 'cancelled' THEN 'hedge' ELSE 'replaced' END AS waste
    FROM usage_request r CROSS JOIN LATERAL (
        SELECT model, provider, region, outcome, role, input, output, cost,
               n = coalesce(min(n) FILTER (WHERE outcome = 'ok') OVER (), max(n) OVER ()) AS served,
               sum(input) OVER () AS all_input, sum(output) OVER () AS all_output, sum(cost) OVER () AS all_cost
        FROM (
            SELECT coalesce(one ->> 'model', '') AS model, coalesce(one ->> 'provider', '') AS provider,
                   coalesce(one ->> 'region', '') AS region, one ->> 'outcome' AS outcome, coalesce(one ->> 'role', 'first') AS role,
                   (one -> 'tokens' ->> 'input')::bigint AS input,
                   (one -> 'tokens' ->> 'output')::bigint AS output, (one ->> 'cost_nano')::bigint AS cost, n
            FROM jsonb_array_elements(r.attempts) WITH ORDINALITY AS listed (one, n)
        ) AS told
    ) AS a
    WHERE r.organisation = %(organisation)s AND r.simulated = %(simulated)s AND r.started_at >= %(start)s AND r.started_at < %(end)s
      AND jsonb_array_length(r.attempts) >= 2
"""
_MOST = 2**63 - 1
"""A nonsensical figure of a provider must not stop the counting: sums end here."""
_SUMMED = ", ".join(f"least(coalesce(sum({name}), 0), {_MOST})::bigint AS {name}" for name in _AMOUNTS if name != "waste_nano")
_KEPT = f"""
    ranked AS (
        SELECT *, row_number() OVER (PARTITION BY dimension ORDER BY cost_nano DESC, requests DESC, value) > %(most)s AND dimension <> ''
               AS over FROM grouped
    )
    INSERT INTO usage_spend (organisation, simulated, seconds, dimension, bucket, value, {", ".join(_AMOUNTS)})
    SELECT %(organisation)s, %(simulated)s, %(seconds)s, CASE WHEN over THEN dimension || '{REST}' ELSE dimension END, %(start)s,
           CASE WHEN over THEN '' ELSE value END, {", ".join(f"least(sum({name}), {_MOST})::bigint" for name in _AMOUNTS)}
    FROM ranked GROUP BY 4, 6
"""
COUNT_HOUR = f"""
    WITH parts AS ({_SERVED} UNION ALL {_SPREAD}),
    grouped AS (
        SELECT CASE WHEN {_IS_TOGETHER} THEN '{COMBINED}' {_NAME} WHEN grouping(waste) = 0 THEN 'waste' ELSE '' END AS dimension,
               CASE WHEN {_IS_TOGETHER} THEN json_build_array({_TOGETHER})::text ELSE coalesce({_VALUE}, waste, '') END AS value,
               {_SUMMED}, least(coalesce(sum(cost_nano) FILTER (WHERE why <> ''), 0), {_MOST})::bigint AS waste_nano
        FROM (SELECT *, waste AS why FROM parts) AS parts
        GROUP BY GROUPING SETS ((), {_SETS}, ({_TOGETHER}), (waste))
        HAVING grouping(waste) = 1 OR waste <> ''
    ), {_KEPT}
"""
# A dimension's rest is summed into the day's rest, never ranked among the values.
COUNT_DAY = f"""
    WITH grouped AS (
        SELECT dimension, value, {", ".join(f"least(sum({name}), {_MOST})::bigint AS {name}" for name in _AMOUNTS)} FROM usage_spend
        WHERE organisation = %(organisation)s AND simulated = %(simulated)s AND seconds = {HOUR} AND dimension = ANY (%(dimensions)s)
          AND bucket >= %(start)s AND bucket < %(end)s
        GROUP BY dimension, value
    ), {_KEPT}
    ON CONFLICT (organisation, simulated, seconds, dimension, bucket, value) DO UPDATE
    SET {", ".join(f"{name} = least(usage_spend.{name}::numeric + excluded.{name}, {_MOST})::bigint" for name in _AMOUNTS)}
"""
_COUNTED = ["", "waste", COMBINED, *SPEND_DIMENSIONS]
_RESTS = [f"{name}{REST}" for name in _COUNTED]
_CLEAR = (
    "DELETE FROM usage_spend WHERE organisation = %(organisation)s AND simulated = %(simulated)s AND seconds = %(seconds)s "
    "AND dimension = ANY (%(dimensions)s) AND bucket = %(start)s"
)
_DUE = f"""
    SELECT kept.organisation, kept.simulated, kept.bucket FROM unnest(%s::text[]) AS own (id)
    CROSS JOIN (VALUES (false), (true)) AS kind (real_or_not)
    CROSS JOIN LATERAL (
        SELECT organisation, simulated, bucket, requests FROM usage_summary
        WHERE organisation = own.id AND simulated = kind.real_or_not AND seconds = {HOUR} AND dimension = '' AND bucket >= %s
    ) AS kept
    LEFT JOIN usage_spend_counted AS counted USING (organisation, simulated, bucket)
    WHERE kept.requests IS DISTINCT FROM counted.requests
      AND (counted.counted_at IS NULL OR counted.counted_at + make_interval(secs => counted.took_ms * {REST_FACTOR} / 1000.0) < %s)
    ORDER BY kept.bucket DESC
"""


@dataclass(frozen=True, slots=True)
class Hour:
    """An hour of one organisation's real or simulated requests. ``start``: UTC."""

    organisation: str
    simulated: bool
    start: datetime


def hours_due(*, retention_days: int, now: datetime | None = None) -> list[Hour]:
    """The hours whose requests are not all counted, newest first; of days that all requests are still kept of. One query."""
    now = now or datetime.now(UTC)
    oldest = floor(now, DAY) - timedelta(days=retention_days - 1)
    organisations = [str(pk) for pk in Organisation.objects.values_list("pk", flat=True)]
    return [Hour(*row) for row in rows_of(_DUE, [organisations, oldest, now])]


@transaction.atomic
def hour_count(*, hour: Hour, now: datetime | None = None) -> bool:
    """Count one hour, and its day from its hours. False where another worker counts this organisation's at the moment."""
    began = time.monotonic()
    day = floor(hour.start, DAY)
    whose = {"organisation": hour.organisation, "simulated": hour.simulated}
    of_hour = {**whose, "seconds": HOUR, "start": hour.start, "end": hour.start + timedelta(hours=1), "most": MOST_HOUR_VALUES}
    of_day = {**whose, "seconds": DAY, "start": day, "end": day + timedelta(days=1), "most": MOST_DAY_VALUES}
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(hashtextextended(%s, %s))", [f"spend {hour.organisation}", int(hour.simulated)])
        if not cursor.fetchone()[0]:
            return False
        cursor.execute(_CLEAR, {**of_hour, "dimensions": [*_COUNTED, *_RESTS]})
        cursor.execute(COUNT_HOUR, of_hour)
        cursor.execute(_CLEAR, {**of_day, "dimensions": [*_COUNTED, *_RESTS]})
        for dimensions in (_COUNTED, _RESTS):
            cursor.execute(COUNT_DAY, {**of_day, "dimensions": dimensions})
        cursor.execute(
            "INSERT INTO usage_spend_counted (organisation, simulated, bucket, requests, counted_at, took_ms) "
            f"SELECT %s, %s, %s, coalesce(sum(requests), 0)::bigint, %s, %s FROM usage_spend WHERE organisation = %s AND simulated = %s "
            f"AND seconds = {HOUR} AND dimension = '' AND bucket = %s "
            "ON CONFLICT (organisation, simulated, bucket) DO UPDATE "
            "SET requests = excluded.requests, counted_at = excluded.counted_at, took_ms = excluded.took_ms",
            [*whose.values(), hour.start, now or datetime.now(UTC), int((time.monotonic() - began) * 1000), *whose.values(), hour.start],
        )
    return True


def spend_count(*, retention_days: int, seconds: float = RUN_SECONDS, now: datetime | None = None) -> int:
    """Count what is due, newest hours first, for about so many seconds; returns how many hours were counted.

    Hours that no request is kept of any more are forgotten; their days stay.
    """
    until = time.monotonic() + seconds
    counted = 0
    for hour in hours_due(retention_days=retention_days, now=now):
        counted += hour_count(hour=hour, now=now)
        if time.monotonic() > until:
            break
    with transaction.atomic():
        _hours_drop(before=floor(now or datetime.now(UTC), DAY) - timedelta(days=retention_days + 1))
    return counted


def _hours_drop(*, before: datetime) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM usage_spend_counted WHERE bucket < %s RETURNING organisation, simulated, bucket", [before])
        for organisation, simulated, bucket in cursor.fetchall():
            cursor.execute(
                "DELETE FROM usage_spend WHERE organisation = %s AND simulated = %s AND seconds = %s AND dimension = ANY (%s) "
                "AND bucket = %s",
                [organisation, simulated, HOUR, [*_COUNTED, *_RESTS], bucket],
            )
